package system

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxSize  = 256 << 10
	maxDepth = 32
)

// Parse reads one description. The name is shown in errors, and sources are
// relative to its folder. An error is always of type Errors and holds every
// problem that could be found: a file that is not YAML gets no further than
// that, everything else is told at once.
func Parse(body []byte, filename string) (*System, error) {
	d := newDecoder(body, filename)
	root := d.read(body)
	if len(d.errs) > 0 {
		return nil, d.sorted()
	}
	sys := &System{}
	sys.setDefaults()
	d.decode(root, "", reflect.ValueOf(sys).Elem(), "name: fleet")
	sys.File = filename
	if len(sys.Regions) == 0 && !d.given("regions") {
		region := Region{Name: "westeurope"}
		region.setDefaults()
		sys.Regions = []Region{region}
	}
	for i := range sys.Services {
		service := &sys.Services[i]
		service.finish(sys.Clients, func(fields ...string) bool {
			return d.given(join("services", append([]string{string(service.Name)}, fields...)...))
		})
	}
	d.finishDelivery(sys)
	d.check(sys)
	if len(d.errs) > 0 {
		return nil, d.sorted()
	}
	return sys, nil
}

// read turns the file into one tree, or says why not.
func (d *decoder) read(body []byte) (root ast.Node) {
	if len(body) > maxSize {
		d.report(start, "", fmt.Sprintf("the file has more than %d bytes; a description is a page", maxSize), "")
		return nil
	}
	if at := invalidByte(body); at >= 0 {
		line := bytes.Count(body[:at], []byte("\n"))
		column := utf8.RuneCount(body[bytes.LastIndexByte(body[:at], '\n')+1 : at])
		d.report(place{line + 1, column + 1}, "", "the file is not plain text in UTF-8", "")
		return nil
	}
	// Input that nobody has thought of must not take the caller down.
	defer func() {
		if recover() != nil {
			d.report(start, "", "the file is not YAML", "")
			root = nil
		}
	}()
	tokens := lexer.Tokenize(string(body))
	if d.checkTokens(tokens); len(d.errs) > 0 {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	var documents []ast.Node
	for _, document := range file.Docs {
		if document.Body != nil && document.Body.Type() != ast.CommentGroupType {
			documents = append(documents, document.Body)
		}
	}
	switch len(documents) {
	case 0:
		d.report(start, "", "the file is empty; nines init writes one to begin with", "name: fleet")
		return nil
	case 1:
		return documents[0]
	}
	d.report(d.place(documents[1]), "", "a second document begins here; one file describes one system", "")
	return nil
}

func invalidByte(body []byte) int {
	for at := 0; at < len(body); {
		r, size := utf8.DecodeRune(body[at:])
		if r == utf8.RuneError && size == 1 || r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f {
			return at
		}
		at += size
	}
	return -1
}

// checkTokens refuses what makes a YAML file mean something other than what
// it shows, and nesting that no description has.
func (d *decoder) checkTokens(tokens token.Tokens) {
	depth, line, entries := 0, 0, 0
	for _, t := range tokens {
		at := place{t.Position.Line, t.Position.Column}
		if at.line != line {
			line, entries = at.line, 0
		}
		trick := ""
		switch t.Type {
		case token.AnchorType:
			trick = "an anchor (&)"
		case token.AliasType:
			trick = "an alias (*)"
		case token.TagType:
			trick = "a tag (!)"
		case token.MergeKeyType:
			trick = "a merge key (<<)"
		case token.MappingKeyType:
			trick = "a complex key (?)"
		case token.DirectiveType:
			trick = "a directive (%)"
		case token.SequenceEntryType, token.MappingValueType:
			entries++
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		}
		switch {
		case trick != "":
			d.report(at, "", trick+" stands here, and the file does without; write the value out, in quotes if the sign belongs to it", "")
		case depth > maxDepth || entries > maxSize/1000 && t.Type == token.SequenceEntryType:
			d.report(at, "", "the file nests deeper than any description does", "")
			return
		}
	}
}

func (d *decoder) syntax(err error) {
	var problem yaml.Error
	if !errors.As(err, &problem) || problem.GetToken() == nil {
		d.report(start, "", "the file is not YAML", "")
		return
	}
	position := problem.GetToken().Position
	message, _, _ := strings.Cut(problem.GetMessage(), "\n")
	if strings.Contains(message, "\t") {
		message = "a tab stands here; indent with spaces"
	}
	d.report(place{position.Line, position.Column}, "", "the file is not YAML: "+message, "")
}
