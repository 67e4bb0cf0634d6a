package engine

import "strings"

// tail keeps the last lines of an output.
type tail struct {
	keep  int
	lines []string
}

func (t *tail) add(line string) {
	if len(t.lines) == t.keep {
		t.lines = t.lines[1:]
	}
	t.lines = append(t.lines, line)
}

func (t *tail) String() string {
	var b strings.Builder
	for _, l := range t.lines {
		b.WriteString("  " + l + "\n")
	}
	return b.String()
}

func quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\n\"'$&|;<>()*?[]{}#~`\\!") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}
