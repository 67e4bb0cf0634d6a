package system

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// A field is what the tags of one struct field say.
type field struct {
	name, example    string
	index            int
	required         bool
	minimum, maximum int
	typ              reflect.Type
}

type fields []field

func fieldsOf(t reflect.Type) fields {
	var list fields
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		f := field{name: tag.Get("yaml"), example: tag.Get("example"), index: i, minimum: math.MinInt, maximum: math.MaxInt, typ: t.Field(i).Type}
		if f.name == "-" {
			continue
		}
		for rule := range strings.SplitSeq(tag.Get("jsonschema"), ",") {
			key, value, _ := strings.Cut(rule, "=")
			switch number, _ := strconv.Atoi(value); key {
			case "required":
				f.required = true
			case "minimum":
				f.minimum = number
			case "maximum":
				f.maximum = number
			}
		}
		list = append(list, f)
	}
	return list
}

func (list fields) find(name string) (field, bool) {
	for _, f := range list {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func (f field) check(v reflect.Value) error {
	if v.Kind() != reflect.Int {
		return nil
	}
	n := int(v.Int())
	switch {
	case f.minimum == f.maximum && n != f.minimum:
		return fmt.Errorf("%d is not supported; %d is", n, f.minimum)
	case n < f.minimum || n > f.maximum:
		return fmt.Errorf("%d is not from %d to %d", n, f.minimum, f.maximum)
	}
	return nil
}

// suggest says what an unknown field may have been meant to be: one spelt
// nearly so, or one that belongs a level deeper.
func (list fields) suggest(unknown string) (near field, message string) {
	message = quote(unknown) + " is not a field"
	names := make([]string, len(list))
	for i, f := range list {
		names[i] = f.name
	}
	if name := nearest(unknown, names); name != "" {
		near, _ = list.find(name)
		return near, message + "; did you mean " + name + "?"
	}
	for _, outer := range list {
		if outer.typ.Kind() != reflect.Struct {
			continue
		}
		if inner, ok := fieldsOf(outer.typ).find(unknown); ok {
			return field{example: outer.name + ": {" + inner.example + "}"}, message + " here; it belongs into " + outer.name
		}
	}
	return field{}, message + "; the fields are " + strings.Join(names, ", ")
}

// nearest is the word that is spelt most like the unknown one, if any is
// spelt nearly so.
func nearest(unknown string, words []string) string {
	near, best := "", 2
	switch {
	case len(unknown) >= 9:
		best = 4
	case len(unknown) >= 4:
		best = 3
	}
	for _, word := range words {
		distance := levenshtein.ComputeDistance(strings.ToLower(unknown), strings.ToLower(word))
		if len(unknown) > 2 && strings.HasPrefix(word, unknown) {
			distance = 1
		}
		if distance < best {
			near, best = word, distance
		}
	}
	return near
}
