package system

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// A scalar is one value of the file. Its error says what is wrong with the
// text; the decoder adds where, and an example.
type scalar interface {
	parse(text string, kind ast.NodeType) error
}

// A Name is a DNS label that begins with a letter. It leaves room for what
// others append: pods, zones and replicas derive their names from it.
type Name string

// Source is a folder with a Go main package, relative to the file.
type Source string

// HTTPPath is the path of a probe.
type HTTPPath string

// Registry is host[:port][/path].
type Registry string

// Exposure says from where a service is reached.
type Exposure string

const (
	Hidden Exposure = ""       // only from inside
	Public Exposure = "public" // from anywhere, through a load balancer
)

// Host is the name in the Host header of a request: a DNS name with a dot.
type Host string

// Environment is what a service reads at its start.
type Environment map[string]string

const (
	nameLength      = 40
	namePattern     = `^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`
	variablePattern = `^[A-Za-z_][A-Za-z0-9_]*$`
	sourcePattern   = `^\.{1,2}(/[A-Za-z0-9._-]+)*/?$`
	pathPattern     = `^/[A-Za-z0-9._~/-]*$`
	hostPattern     = `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$`
	registryPattern = `^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-][a-z0-9]+)*)*$`
	wholePattern    = `^(0|[1-9][0-9]*)$`
)

var patterns = compile(namePattern, variablePattern, sourcePattern, pathPattern, hostPattern, registryPattern, wholePattern,
	percentPattern, rangePattern, amountPattern, quantityPattern, durationPattern,
	spanPattern, operationPattern, headerPattern, finePattern, largePattern)

func compile(list ...string) map[string]*regexp.Regexp {
	compiled := map[string]*regexp.Regexp{}
	for _, p := range list {
		compiled[p] = regexp.MustCompile(p)
	}
	return compiled
}

func is(pattern, text string) bool {
	return patterns[pattern].MatchString(text)
}

func (n *Name) parse(text string, kind ast.NodeType) error {
	if err := checkName(text); err != nil {
		return err
	}
	if kind != ast.StringType {
		return fmt.Errorf("%s is read as a %s, not as a name; put it in quotes", text, kindName(kind))
	}
	*n = Name(text)
	return nil
}

func checkName(text string) error {
	switch {
	case is(namePattern, text):
		return nil
	case len(text) > nameLength:
		return fmt.Errorf("%s has %d characters; a name has at most %d", quote(text), len(text), nameLength)
	}
	return fmt.Errorf("%s is not a name: lower-case letters, digits and dashes, beginning with a letter and ending with a letter or digit", quote(text))
}

func (s *Source) parse(text string, kind ast.NodeType) error {
	switch {
	case kind != ast.StringType:
		return fmt.Errorf("%s is not a folder", describe(text, kind))
	case strings.HasPrefix(text, "/"):
		return fmt.Errorf("%s is absolute, and would be right on one machine only; write it relative to this file", quote(text))
	case !is(sourcePattern, text):
		return fmt.Errorf("%s is not a folder relative to this file; begin it with ./ or ../", quote(text))
	}
	*s = Source(text)
	return nil
}

func (p *HTTPPath) parse(text string, kind ast.NodeType) error {
	if kind != ast.StringType || !is(pathPattern, text) {
		return fmt.Errorf("%s is not the path of a URL; begin it with /", quote(text))
	}
	*p = HTTPPath(text)
	return nil
}

func (r *Registry) parse(text string, kind ast.NodeType) error {
	switch {
	case strings.Contains(text, "://"):
		return fmt.Errorf("%s is a URL; a registry is a host without a scheme", quote(text))
	case kind != ast.StringType || !is(registryPattern, text):
		return fmt.Errorf("%s is not a registry: HOST, HOST:PORT or HOST/PATH", quote(text))
	}
	*r = Registry(text)
	return nil
}

func (e *Exposure) parse(text string, kind ast.NodeType) error {
	switch {
	case kind == ast.BoolType && text == "true", kind == ast.StringType && text == string(Public):
		*e = Public
		return nil
	case kind == ast.BoolType:
		return fmt.Errorf("%s is what holds without the field; leave it out", text)
	}
	return fmt.Errorf("%s is no exposure; there is public", quote(text))
}

func (h *Host) parse(text string, kind ast.NodeType) error {
	if kind != ast.StringType || !is(hostPattern, text) || len(text) > 253 {
		return fmt.Errorf("%s is not the name of a host: lower-case labels with dots between them, no port and no scheme", describe(text, kind))
	}
	*h = Host(text)
	return nil
}

func parseInt(text string, kind ast.NodeType) (int, error) {
	if kind != ast.IntegerType || !is(wholePattern, text) {
		return 0, fmt.Errorf("%s is not a whole number", describe(text, kind))
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s is too large", text)
	}
	return n, nil
}

func parseBool(text string, kind ast.NodeType) (bool, error) {
	if kind != ast.BoolType {
		return false, fmt.Errorf("%s is neither true nor false", describe(text, kind))
	}
	return text == "true", nil
}

// describe shows a value as the reader of the file sees it.
func describe(text string, kind ast.NodeType) string {
	switch kind {
	case ast.StringType:
		return quote(text)
	case ast.IntegerType, ast.FloatType, ast.BoolType:
		return text
	}
	return "a " + kindName(kind)
}

const longest = 60

func quote(text string) string {
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return strconv.Quote(text)
}

func kindName(kind ast.NodeType) string {
	switch kind {
	case ast.MappingType, ast.MappingValueType:
		return "mapping"
	case ast.SequenceType:
		return "list"
	case ast.StringType, ast.LiteralType:
		return "text"
	case ast.BoolType:
		return "truth value"
	case ast.NullType:
		return "nothing"
	}
	return "number"
}
