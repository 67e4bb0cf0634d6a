package record

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every kind of line has a section with an example, which a reader takes as it
// is and which has no field that the types do not know.
func TestDocumentedExamples(t *testing.T) {
	document, err := os.ReadFile("../docs/record.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile(`(?m)^## (\S+)$`).FindAllSubmatch(document, -1)
	examples := regexp.MustCompile("(?s)```json\n(.*?)\n```").FindAllSubmatch(document, -1)
	if len(sections) != len(examples) {
		t.Fatalf("%d sections, %d examples", len(sections), len(examples))
	}
	var told []string
	for i := range sections {
		name := string(sections[i][1])
		told = append(told, name)
		var line Line
		decoder := json.NewDecoder(bytes.NewReader(examples[i][1]))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&line); err != nil {
			t.Errorf("section %s: its example: %v", name, err)
			continue
		}
		if n, set := line.set(); n != 1 || set != name {
			t.Errorf("section %s: its example is a line of %s", name, set)
		}
	}
	var kinds []string
	for field := range reflect.TypeFor[Line]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		kinds = append(kinds, name)
	}
	if !slices.Equal(told, kinds) {
		t.Errorf("sections %v, lines %v", told, kinds)
	}
	var file bytes.Buffer
	for _, example := range examples {
		file.Write(append(example[1], '\n'))
	}
	rec, err := ReadFrom(&file)
	if err != nil || rec.End == nil || rec.Cut {
		t.Errorf("the examples are no record: %+v, %v", rec, err)
	}
}

// Names that the code gives to states and errors are in the document.
func TestDocumentedNames(t *testing.T) {
	document, err := os.ReadFile("../docs/record.md")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{
		Warm, Steady, Inject, Injected, Heal, Healed, Restored, ReadBack,
		Pod, Endpoint, NodeKind, Machine, Zone, Backend, Part, Fault, GatewayKind, AtGateway, Inbound, Outbound, AtService, AtStore,
	}
	for _, c := range []Class{ConnectTimeout, ConnectRefused, ConnectFailed, Reset, Closed, Timeout, Malformed, WrongAnswer, NotSent} {
		names = append(names, string(c))
	}
	for _, name := range names {
		if !bytes.Contains(document, []byte("`"+name+"`")) {
			t.Errorf("docs/record.md does not name %q", name)
		}
	}
}
