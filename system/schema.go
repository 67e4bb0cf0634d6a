package system

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/invopop/jsonschema"
)

// Schema is the JSON Schema (draft 2020-12) of the file, for editors. It says
// what is well-formed; Parse also says what makes sense.
func Schema() ([]byte, error) {
	s := reflectSchema(reflect.TypeFor[System]())
	s.Title = "nines.yaml"
	s.Description = "One description of a system: what runs where, and what it promises."
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the schema: %w", err)
	}
	return append(body, '\n'), nil
}

func reflectSchema(t reflect.Type) *jsonschema.Schema {
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		ExpandedStruct:             true,
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		Mapper:                     mapType,
	}
	s := r.ReflectFromType(t)
	addDefaults(t, s)
	return s
}

// mapType describes the types that the file writes in a way of their own.
func mapType(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern}
	}
	or := func(list ...*jsonschema.Schema) *jsonschema.Schema {
		return &jsonschema.Schema{OneOf: list}
	}
	number := &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: json.Number(strconv.Itoa(maxReplicas))}
	switch t {
	case reflect.TypeFor[Name]():
		return text(namePattern)
	case reflect.TypeFor[Source]():
		return text(sourcePattern)
	case reflect.TypeFor[HTTPPath]():
		return text(pathPattern)
	case reflect.TypeFor[Host]():
		return text(hostPattern)
	case reflect.TypeFor[OperationName]():
		return text(operationPattern)
	case reflect.TypeFor[Span]():
		return text(spanPattern)
	case reflect.TypeFor[Registry]():
		return text(registryPattern)
	case reflect.TypeFor[Image]():
		return text("")
	case reflect.TypeFor[Percent]():
		return text(percentPattern)
	case reflect.TypeFor[time.Duration]():
		return text(durationPattern)
	case reflect.TypeFor[Range]():
		return or(number, text(rangePattern))
	case reflect.TypeFor[Amount]():
		return or(number, text(amountPattern))
	case reflect.TypeFor[Quantity]():
		return or(&jsonschema.Schema{Type: "number", Minimum: "0"}, text(quantityPattern))
	case reflect.TypeFor[Order]():
		return &jsonschema.Schema{Enum: []any{string(OneAtATime), string(Together)}}
	case reflect.TypeFor[Exposure]():
		return &jsonschema.Schema{Enum: []any{string(Public), true}}
	case reflect.TypeFor[Environment](), reflect.TypeFor[Headers]():
		value := or(&jsonschema.Schema{Type: "string"}, &jsonschema.Schema{Type: "number"}, &jsonschema.Schema{Type: "boolean"})
		name := variablePattern
		if t == reflect.TypeFor[Headers]() {
			name = headerPattern
		}
		return &jsonschema.Schema{Type: "object", PropertyNames: text(name), AdditionalProperties: value}
	}
	switch {
	case isKeyed(t):
		least := uint64(1)
		name, _ := t.Elem().FieldByName("Name")
		return &jsonschema.Schema{Type: "object", MinProperties: &least, PropertyNames: mapType(name.Type), AdditionalProperties: elementSchema(t.Elem())}
	case t == reflect.TypeFor[[]Name]():
		return &jsonschema.Schema{Type: "array", UniqueItems: true, Items: text(namePattern)}
	case t == reflect.TypeFor[[]Percent]():
		return &jsonschema.Schema{Type: "array", UniqueItems: true, Items: text(percentPattern)}
	}
	return nil
}

func elementSchema(t reflect.Type) *jsonschema.Schema {
	s := reflectSchema(t)
	s.Version = ""
	if t == reflect.TypeFor[Service]() {
		s.OneOf = []*jsonschema.Schema{{Required: []string{"source"}}, {Required: []string{"image"}}}
	}
	return s
}

// addDefaults copies what setDefaults sets, so that the two cannot differ.
func addDefaults(t reflect.Type, s *jsonschema.Schema) {
	v := reflect.New(t)
	if target, ok := v.Interface().(defaulter); ok {
		target.setDefaults()
	}
	describeFields(v.Elem(), s)
}

func describeFields(v reflect.Value, s *jsonschema.Schema) {
	if s == nil || s.Properties == nil {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		property, ok := s.Properties.Get(f.name)
		if !ok {
			continue
		}
		value := v.Field(f.index)
		if value.Kind() == reflect.Struct && property.Properties != nil {
			describeFields(value, property)
			continue
		}
		if value.Kind() != reflect.Slice && value.Kind() != reflect.Map && !value.IsZero() {
			property.Default = defaultOf(value.Interface())
		}
	}
}

func defaultOf(value any) any {
	switch value := value.(type) {
	case int:
		return value
	case Range:
		if !value.Scales() {
			return value.Min
		}
		return value.String()
	case time.Duration:
		return shortDuration(value)
	}
	return fmt.Sprint(value)
}

// shortDuration writes 1m0s as people do.
func shortDuration(d time.Duration) string {
	if d >= time.Minute && d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	return d.String()
}
