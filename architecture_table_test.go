package nines

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An importTable is the ```imports block of ARCHITECTURE.md: one row a package
// or pattern, with what it may import of ours. A row "NAME tests" adds what its
// tests alone may import.
type importTable struct {
	rows []*importRow
}

type importRow struct {
	pattern string
	tests   bool
	allowed []string
	used    map[string]bool // allowances in use
	matched bool
}

// A ban keeps an import path, with all below it when it ends in "/...", out of
// some packages.
type ban struct {
	pattern, path, reason string
}

func (b ban) covers(imported string) bool {
	return matches(b.path, imported)
}

func readImportTable(name string) (*importTable, error) {
	lines, err := readBlock(name, "imports")
	if err != nil {
		return nil, err
	}
	return parseImportTable(lines)
}

func parseImportTable(lines []string) (*importTable, error) {
	table := &importTable{}
	for _, line := range lines {
		left, right, found := strings.Cut(line, ":")
		words := strings.Fields(left)
		if !found || len(words) == 0 || len(words) > 2 || len(words) == 2 && words[1] != "tests" {
			return nil, fmt.Errorf("imports block: %q is not \"PACKAGE: IMPORTS\" or \"PACKAGE tests: IMPORTS\"", line)
		}
		row := &importRow{pattern: words[0], tests: len(words) == 2, allowed: strings.Fields(right), used: map[string]bool{}}
		for _, other := range table.rows {
			if other.pattern == row.pattern && other.tests == row.tests {
				return nil, fmt.Errorf("imports block: two rows for %q", left)
			}
		}
		table.rows = append(table.rows, row)
	}
	return table, nil
}

func readBans(name string) ([]ban, error) {
	lines, err := readBlock(name, "bans")
	if err != nil {
		return nil, err
	}
	var bans []ban
	for _, line := range lines {
		rule, reason, hasReason := strings.Cut(line, "#")
		pattern, paths, found := strings.Cut(rule, ":")
		if !found || !hasReason || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("bans block: %q is not \"PACKAGE: IMPORTS # reason\"", line)
		}
		for _, banned := range strings.Fields(paths) {
			bans = append(bans, ban{strings.TrimSpace(pattern), banned, strings.TrimSpace(reason)})
		}
	}
	return bans, nil
}

// readBlock returns the lines of one fenced block that are not empty.
func readBlock(name, language string) ([]string, error) {
	body, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$").FindSubmatch(body)
	if block == nil {
		return nil, fmt.Errorf("%s: no ```%s block", name, language)
	}
	var lines []string
	for line := range strings.Lines(string(block[1])) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// row finds the row of a package: its own name before a pattern.
func (table *importTable) row(dir string, tests bool) *importRow {
	for _, exact := range []bool{true, false} {
		for _, row := range table.rows {
			if row.tests == tests && (row.pattern == dir || !exact && matches(row.pattern, dir)) {
				return row
			}
		}
	}
	return nil
}

// check says what a package imports against the table, and marks what it uses.
func (table *importTable) check(p *sourcePackage) []string {
	row, testRow := table.row(p.dir, false), table.row(p.dir, true)
	if row == nil {
		return []string{fmt.Sprintf("%s: not in %s; say what it may import", p.dir, tableFile)}
	}
	row.matched = true
	var problems []string
	for imported, file := range p.imports {
		if name, ours := inModule(imported); ours && !row.allow(name) {
			problems = append(problems, fmt.Sprintf("%s imports %s; %s allows only %v", file, name, tableFile, row.allowed))
		}
	}
	if testRow != nil {
		testRow.matched = true
	}
	for imported, file := range p.testImports {
		name, ours := inModule(imported)
		if !ours || name == p.dir || p.imports[imported] != "" || testRow != nil && testRow.allow(name) {
			continue
		}
		// Not marked as used: an allowance that tests alone need belongs in a tests row.
		if !slices.ContainsFunc(row.allowed, func(a string) bool { return matches(a, name) }) {
			problems = append(problems, fmt.Sprintf("%s imports %s; %s has no row \"%s tests\" that allows it", file, name, tableFile, p.dir))
		}
	}
	slices.Sort(problems)
	return problems
}

// idle lists the rows and allowances that nothing used. Call it after check has
// seen every package.
func (table *importTable) idle() []string {
	var problems []string
	for _, row := range table.rows {
		name := row.pattern
		if row.tests {
			name += " tests"
		}
		if !row.matched {
			problems = append(problems, fmt.Sprintf("%s: row %q matches no package; take it out", tableFile, name))
			continue
		}
		for _, allowed := range row.allowed {
			if !row.used[allowed] {
				problems = append(problems, fmt.Sprintf("%s: row %q allows %s, which nothing there imports; take it out", tableFile, name, allowed))
			}
		}
	}
	return problems
}

func (row *importRow) allow(name string) bool {
	for _, allowed := range row.allowed {
		if matches(allowed, name) {
			row.used[allowed] = true
			return true
		}
	}
	return false
}

// matches knows path.Match's patterns, and "NAME/..." for NAME and all below.
func matches(pattern, dir string) bool {
	if root, below := strings.CutSuffix(pattern, "/..."); below {
		return dir == root || strings.HasPrefix(dir, root+"/")
	}
	ok, err := path.Match(pattern, dir)
	return err == nil && ok
}

func inModule(imported string) (name string, ours bool) {
	if imported == modulePath {
		return ".", true
	}
	return strings.CutPrefix(imported, modulePath+"/")
}

func TestArchitectureBanCovers(t *testing.T) {
	cases := []struct {
		banned, imported string
		want             bool
	}{
		{"log", "log", true}, {"log", "log/slog", false}, {"k8s.io/...", "k8s.io/api/core/v1", true},
		{"os/...", "os", true}, {"os/...", "os/exec", true}, {"os/...", "osutil", false},
	}
	for _, c := range cases {
		if got := (ban{path: c.banned}).covers(c.imported); got != c.want {
			t.Errorf("a ban of %s covers %s: %v", c.banned, c.imported, got)
		}
	}
}

// The table must be able to fail: each case breaks it in one way.
func TestArchitectureTableFails(t *testing.T) {
	const base = modulePath + "/"
	drawn := &sourcePackage{dir: "ground", imports: map[string]string{base + "record": "ground/up.go"}}
	cases := []struct {
		name    string
		rows    []string
		tests   map[string]string
		want    string
		invalid bool
	}{
		{name: "as drawn", rows: []string{"ground: record"}},
		{name: "by pattern", rows: []string{"gr*: rec*"}},
		{name: "with all below", rows: []string{"ground/...: record/..."}},
		{name: "not listed", rows: []string{"drill: record"}, want: "ground: not in ARCHITECTURE.md; say what it may import"},
		{name: "not allowed", rows: []string{"ground: system"}, want: "ground/up.go imports record; ARCHITECTURE.md allows only [system]"},
		{name: "own name before pattern", rows: []string{"*: record", "ground:"}, want: "ground/up.go imports record; ARCHITECTURE.md allows only []"},
		{name: "allowance not used", rows: []string{"ground: record system"}, want: "ARCHITECTURE.md: row \"ground\" allows system, which nothing there imports; take it out"},
		{name: "row not used", rows: []string{"ground: record", "drill:"}, want: "ARCHITECTURE.md: row \"drill\" matches no package; take it out"},
		{name: "test not allowed", rows: []string{"ground: record"}, tests: map[string]string{base + "render": "ground/up_test.go"}, want: "ground/up_test.go imports render; ARCHITECTURE.md has no row \"ground tests\" that allows it"},
		{name: "test allowed", rows: []string{"ground: record", "ground tests: render"}, tests: map[string]string{base + "render": "ground/up_test.go"}},
		{name: "itself", rows: []string{"ground: record"}, tests: map[string]string{base + "ground": "ground/up_test.go"}},
		{name: "for tests alone", rows: []string{"ground: record render"}, tests: map[string]string{base + "render": "ground/up_test.go"}, want: "ARCHITECTURE.md: row \"ground\" allows render, which nothing there imports; take it out"},
		{name: "not a row", rows: []string{"ground record"}, invalid: true},
		{name: "twice", rows: []string{"ground: record", "ground: render"}, invalid: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			table, err := parseImportTable(c.rows)
			if (err != nil) != c.invalid {
				t.Fatalf("parse: %v", err)
			}
			if c.invalid {
				return
			}
			p := *drawn
			p.testImports = c.tests
			got := strings.Join(append(table.check(&p), table.idle()...), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
