package doctor

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Write prints the report for a person: a line a check, with why and fix below
// one that did not hold, and a last line that says what to do next. Marks are
// repeated as words.
func (r Report) Write(w io.Writer) error {
	marks := map[Status]string{OK: "√", Warning: "!", Failed: "×", Skipped: "-"}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	count := map[Status]int{}
	for _, c := range r.Checks {
		count[c.Status]++
		fmt.Fprintf(table, "%s %s\t%s\t%s\n", marks[c.Status], c.Status, c.What, c.Found)
		if c.Why != "" {
			fmt.Fprintf(table, "\t  why\t%s\n\t  fix\t%s\n", c.Why, c.Fix)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if r.Ready {
		fmt.Fprintf(&text, "\nThis machine can run the ground%s. Next: nines up\n", counted(count[Warning], ", with %d warning", ", with %d warnings"))
	} else {
		fmt.Fprintf(&text, "\nThis machine cannot run the ground: %d failed%s%s. Fix them and run: nines doctor\n", count[Failed],
			counted(count[Warning], ", %d warning", ", %d warnings"), counted(count[Skipped], ", %d not tried", ", %d not tried"))
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func counted(n int, one, many string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(one, n)
	}
	return fmt.Sprintf(many, n)
}
