package part

import (
	"strings"
	"testing"
)

func names(parts []Part) string {
	var list []string
	for _, p := range parts {
		list = append(list, p.Name)
	}
	return strings.Join(list, " ")
}

func TestOrder(t *testing.T) {
	for _, test := range []struct {
		name  string
		parts []Part
		want  string
		err   string
	}{
		{"nothing", nil, "", ""},
		{"keeps the given order", []Part{{Name: "b"}, {Name: "a"}, {Name: "c"}}, "b a c", ""},
		{"what is needed comes first", []Part{{Name: "c", Needs: []string{"b"}}, {Name: "b", Needs: []string{"a"}}, {Name: "a"}}, "a b c", ""},
		{"a diamond", []Part{{Name: "d", Needs: []string{"b", "c"}}, {Name: "b", Needs: []string{"a"}}, {Name: "c", Needs: []string{"a"}}, {Name: "a"}}, "a b c d", ""},
		{"a circle", []Part{{Name: "a", Needs: []string{"b"}}, {Name: "b", Needs: []string{"c"}}, {Name: "c", Needs: []string{"a"}}}, "", "parts need each other in a circle: a → b → c → a"},
		{"itself", []Part{{Name: "a", Needs: []string{"a"}}}, "", "circle: a → a"},
		{"nobody", []Part{{Name: "a", Needs: []string{"z"}}}, "", "part a needs z, which no part provides"},
		{"twice", []Part{{Name: "a"}, {Name: "a"}}, "", "two parts are called a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Order(test.parts)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error = %v, want %s", err, test.err)
				}
				if _, err := NewRunner(test.parts, func(Event) {}); err == nil {
					t.Error("a runner takes it")
				}
				return
			}
			if err != nil || names(got) != test.want {
				t.Errorf("order = %s, %v, want %s", names(got), err, test.want)
			}
		})
	}
}
