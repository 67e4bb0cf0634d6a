package fault

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nines-ha/nines/ground"
)

// Every pod is made to serve its share before the load begins, and healed.
func TestOverload(t *testing.T) {
	g := newFakeGround(t)
	s, _ := site(1, front(objects(3), intstr.FromString("http"))...)
	onSham(t, g, s)
	s.Overload = Overload{Serves: 100, Peak: 500, Length: time.Millisecond}
	i := prepare(t, "overload", s)
	if len(g.did()) != 0 {
		t.Errorf("preparing did %q", g.did())
	}
	if len(i.Touches) != 2 || !strings.Contains(i.Touches[0], "30ms each") || !strings.Contains(i.Touches[1], "500 requests a second for 1ms, 5 times") {
		t.Errorf("touches %q", i.Touches)
	}
	var l told
	if err := i.Before(t.Context(), l.tell); err != nil {
		t.Fatal(err)
	}
	orders := g.did()
	var healed, impaired []string
	for _, h := range i.Heals {
		if h.Do != "mend" || h.Region != "here" || h.Namespace != "fleet" {
			t.Errorf("heal %+v", h)
		}
		healed = append(healed, h.Name)
	}
	for _, order := range orders {
		var what ground.Impairment
		if err := json.Unmarshal([]byte(strings.TrimPrefix(order, "/impair/here ")), &what); err != nil {
			t.Fatal(err)
		}
		if err := what.Validate(); err != nil || what.AtOnce != 1 || what.Delay != 30*time.Millisecond || what.Port != 8080 {
			t.Errorf("%+v, %v", what, err)
		}
		impaired = append(impaired, what.Pod)
	}
	if len(impaired) != 3 || !slices.Equal(impaired, healed) {
		t.Errorf("impaired %v, healed %v", impaired, healed)
	}
	if err := i.Inject(t.Context(), l.tell); err != nil {
		t.Fatal(err)
	}
	if more := g.did(); len(more) != len(orders) {
		t.Errorf("the peak did %q", more)
	}
	if !strings.HasSuffix(l.read(), "web done\nweb undone") {
		t.Errorf("told %q", l.read())
	}
}

func TestNoOverload(t *testing.T) {
	g := newFakeGround(t)
	s, _ := site(1, front(objects(3), intstr.FromString("http"))...)
	onSham(t, g, s)
	f, err := Find("overload")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Overload{{}, {Serves: 100, Peak: 100}, {Peak: 5}} {
		s.Overload = o
		if _, err := f.Prepare(t.Context(), s); err == nil || !strings.Contains(err.Error(), "no overload") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
