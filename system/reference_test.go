package system_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nines-ha/nines/system"
)

const referenceFile = "../docs/nines-yaml.md"

// The tables of the reference are made from the schema, and its examples are
// parsed.
func TestReference(t *testing.T) {
	page := read(t, referenceFile)
	block := regexp.MustCompile(`(?s)(<!-- fields: begin -->\n).*(<!-- fields: end -->)`)
	if !block.Match(page) {
		t.Fatalf("%s has no place for the fields", referenceFile)
	}
	var root object
	if err := json.Unmarshal(read(t, schemaFile), &root); err != nil {
		t.Fatal(err)
	}
	var tables strings.Builder
	root.write(&tables, "")
	want := block.ReplaceAllString(string(page), "${1}\n"+strings.ReplaceAll(tables.String(), "$", "$$")+"${2}")
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, referenceFile, []byte(want))

	for _, example := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		if _, err := system.Parse(example[1], "nines.yaml"); err != nil {
			t.Errorf("%v in the example\n%s", err, example[1])
		}
	}
}

type object struct {
	Properties           properties      `json:"properties"`
	Required             []string        `json:"required"`
	Description          string          `json:"description"`
	Default              any             `json:"default"`
	AdditionalProperties json.RawMessage `json:"additionalProperties"`
}

// properties keep the order of the file.
type properties []property

type property struct {
	name string
	object
}

func (p *properties) UnmarshalJSON(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		one := property{name: fmt.Sprint(name)}
		if err := d.Decode(&one.object); err != nil {
			return err
		}
		*p = append(*p, one)
	}
	return nil
}

func (o object) write(b *strings.Builder, path string) {
	title := "The file"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(b, "### %s\n\n| field | without it | |\n|---|---|---|\n", title)
	for _, p := range o.Properties {
		without := "–"
		switch {
		case slices.Contains(o.Required, p.name):
			without = "required"
		case p.Default != nil:
			without = fmt.Sprintf("`%v`", p.Default)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", p.name, without, p.Description)
	}
	b.WriteString("\n")
	for _, p := range o.Properties {
		inner := strings.TrimPrefix(path+"."+p.name, ".")
		var element object
		if json.Unmarshal(p.AdditionalProperties, &element) == nil && element.Properties != nil {
			element.write(b, inner+".NAME")
		}
		if p.Properties != nil {
			p.object.write(b, inner)
		}
	}
}
