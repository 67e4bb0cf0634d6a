package system

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// A decoder fills a System from a tree, and goes on after a problem.
type decoder struct {
	file   string
	widths []int // characters in each line
	errs   Errors
	marks  map[string]place // what the file gives, and where it names it
	values map[string]place // where what it gives is
	failed map[string]bool  // paths whose value is wrong, so that it is not judged twice
}

// A place is a line and a column, both from 1.
type place struct {
	line, column int
}

var start = place{1, 1}

type defaulter interface {
	setDefaults()
}

func newDecoder(body []byte, file string) *decoder {
	d := &decoder{file: file, marks: map[string]place{}, values: map[string]place{}, failed: map[string]bool{}}
	for line := range strings.SplitSeq(string(body), "\n") {
		d.widths = append(d.widths, utf8.RuneCountInString(line))
	}
	return d
}

func (d *decoder) sorted() Errors {
	d.errs.sort()
	return d.errs
}

// report keeps the position inside of the file, wherever the YAML library
// thinks it is.
func (d *decoder) report(at place, path, message, example string) {
	line := min(max(at.line, 1), len(d.widths))
	column := min(max(at.column, 1), d.widths[line-1]+1)
	d.errs = append(d.errs, Error{File: d.file, Line: line, Column: column, Path: oneLine(path), Message: oneLine(message), Example: oneLine(example)})
}

// oneLine keeps what the file says from breaking the line of an error, or
// from steering the terminal that shows it.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}

// fail reports that the value at a path is wrong as a whole.
func (d *decoder) fail(at place, path, message, example string) {
	d.failed[path] = true
	d.report(at, path, message, example)
}

func (d *decoder) place(n ast.Node) place {
	t := n.GetToken()
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			t = n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		t = n.Key.GetToken()
	}
	if t == nil || t.Position == nil {
		return start
	}
	return place{t.Position.Line, t.Position.Column}
}

func (d *decoder) given(path string) bool {
	_, ok := d.marks[path]
	return ok
}

// at is where a path is in the file, or the nearest thing around it.
func (d *decoder) at(path string) place {
	for path != "" {
		if at, ok := d.marks[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return start
}

func join(path string, fields ...string) string {
	return strings.TrimPrefix(strings.Join(append([]string{path}, fields...), "."), ".")
}

// decode fills v from n. The example is what the field may look like.
func (d *decoder) decode(n ast.Node, path string, v reflect.Value, example string) {
	if n == nil || n.Type() == ast.NullType {
		at := d.at(path)
		if n != nil && path == "" {
			at = d.place(n)
		}
		d.fail(at, path, "has no value; give it one, or leave it out", example)
		return
	}
	switch target := v.Addr().Interface().(type) {
	case scalar:
		text, kind := scalarOf(n)
		d.value(n, path, target.parse(text, kind), example)
		return
	case *time.Duration:
		duration, err := parseDuration(scalarOf(n))
		d.value(n, path, err, example)
		*target = duration
		return
	case *int:
		number, err := parseInt(scalarOf(n))
		d.value(n, path, err, example)
		*target = number
		return
	case *bool:
		truth, err := parseBool(scalarOf(n))
		d.value(n, path, err, example)
		*target = truth
		return
	case *Environment:
		*target = d.texts(n, path, example, variablePattern, "the name of a variable: letters, digits and underscores, not beginning with a digit")
		return
	case *Headers:
		*target = d.texts(n, path, example, headerPattern, "the name of a header: letters, digits and dashes, beginning with a letter")
		return
	}
	switch {
	case v.Kind() == reflect.Struct:
		d.structure(n, path, v, example)
	case isKeyed(v.Type()):
		d.keyed(n, path, v, example)
	default:
		d.list(n, path, v, example)
	}
}

func (d *decoder) value(n ast.Node, path string, err error, example string) {
	if err != nil {
		d.fail(d.place(n), path, err.Error(), example)
	}
}

func scalarOf(n ast.Node) (string, ast.NodeType) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, ast.StringType
	case *ast.LiteralNode:
		return n.Value.Value, ast.StringType
	case ast.ScalarNode:
		return n.GetToken().Value, n.Type()
	}
	return "", n.Type()
}

func (d *decoder) structure(n ast.Node, path string, v reflect.Value, example string) {
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	d.pairs(n, path, example, func(key string, at place, value ast.Node) {
		f, ok := fields.find(key)
		if !ok {
			near, message := fields.suggest(key)
			d.report(at, path, message, near.example)
			seen[near.name] = true
			d.marks[join(path, near.name)] = at
			d.failed[join(path, near.name)] = true
			return
		}
		seen[key] = true
		errors := len(d.errs)
		d.decode(value, join(path, key), v.Field(f.index), f.example)
		if len(d.errs) == errors {
			d.value(value, join(path, key), f.check(v.Field(f.index)), f.example)
		}
	})
	for _, f := range fields {
		if !f.required || seen[f.name] || !isMapping(n) {
			continue
		}
		at := d.at(path)
		if path == "" {
			at = d.place(n)
		}
		d.report(at, path, f.name+" is missing", f.example)
	}
}

// keyed fills a list whose elements the file gives by name.
func (d *decoder) keyed(n ast.Node, path string, v reflect.Value, example string) {
	d.pairs(n, path, example, func(key string, at place, value ast.Node) {
		element := reflect.New(v.Type().Elem())
		name := element.Elem().FieldByName("Name").Addr().Interface().(scalar)
		if err := name.parse(key, ast.StringType); err != nil {
			d.report(at, path, err.Error(), example)
		}
		if target, ok := element.Interface().(defaulter); ok {
			target.setDefaults()
		}
		d.decode(value, join(path, key), element.Elem(), example)
		element.Elem().FieldByName("Name").SetString(key)
		v.Set(reflect.Append(v, element.Elem()))
	})
	if v.Len() == 0 && isMapping(n) {
		d.report(d.place(n), path, "is empty; name at least one, or leave it out", example)
	}
}

func (d *decoder) list(n ast.Node, path string, v reflect.Value, example string) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(d.place(n), path, "is "+describeNode(n)+"; a list is meant", example)
		return
	}
	seen := map[string]bool{}
	for i, item := range sequence.Values {
		element := reflect.New(v.Type().Elem()).Elem()
		errors, itemPath := len(d.errs), join(path, strconv.Itoa(i))
		if item != nil {
			d.marks[itemPath] = d.place(item)
		}
		d.decode(item, itemPath, element, example)
		v.Set(reflect.Append(v, element))
		text := fmt.Sprint(element.Interface())
		if len(d.errs) == errors && seen[text] {
			d.report(d.place(item), itemPath, quote(text)+" is in the list twice", "")
		}
		seen[text] = true
	}
}

// texts are names that a pattern admits, each with a text.
func (d *decoder) texts(n ast.Node, path, example, pattern, meant string) map[string]string {
	list := map[string]string{}
	d.pairs(n, path, example, func(key string, at place, value ast.Node) {
		text, kind := "", ast.NullType
		if value != nil {
			text, kind = scalarOf(value)
		}
		switch {
		case !is(pattern, key):
			d.fail(at, path, quote(key)+" is not "+meant, example)
		case kind == ast.NullType:
			d.failed[path] = true
			d.report(at, join(path, key), `has no value; an empty one is ""`, example)
		case kind != ast.StringType && kind != ast.IntegerType && kind != ast.FloatType && kind != ast.BoolType:
			d.failed[path] = true
			d.report(d.place(value), join(path, key), "is a "+kindName(kind)+"; text is meant", example)
		default:
			list[key] = text
		}
	})
	return list
}

// pairs calls do for each entry of a mapping, once for each key.
func (d *decoder) pairs(n ast.Node, path, example string, do func(key string, at place, value ast.Node)) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.fail(d.place(n), path, "is "+describeNode(n)+"; fields are meant", example)
		return
	}
	first := map[string]place{}
	for _, pair := range values {
		key, kind := scalarOf(pair.Key)
		at := d.place(pair.Key)
		if key == "" && kind != ast.StringType {
			d.report(at, path, "a "+kindName(kind)+" is no name for a field", example)
			continue
		}
		if before, twice := first[key]; twice {
			d.report(at, path, fmt.Sprintf("%s is given twice; the first is in line %d", quote(key), before.line), "")
			continue
		}
		first[key] = at
		d.marks[join(path, key)] = at
		if pair.Value != nil {
			d.values[join(path, key)] = d.place(pair.Value)
		}
		do(key, at, pair.Value)
	}
}

func describeNode(n ast.Node) string {
	text, kind := scalarOf(n)
	return describe(text, kind)
}

func isMapping(n ast.Node) bool {
	return n.Type() == ast.MappingType || n.Type() == ast.MappingValueType
}

func isKeyed(t reflect.Type) bool {
	if t.Kind() != reflect.Slice || t.Elem().Kind() != reflect.Struct {
		return false
	}
	f, ok := t.Elem().FieldByName("Name")
	return ok && f.Tag.Get("system") == "key"
}
