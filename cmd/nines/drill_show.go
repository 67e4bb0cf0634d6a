package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/drill/report"
	"github.com/nines-ha/nines/record"
)

func newDrillShowCommand() *cobra.Command {
	var flags drillFlags
	var request string
	cmd := &cobra.Command{
		Use:   "show RECORD",
		Short: "Judge a record again, without a ground",
		Long: `Show judges the record of a drill again, from the file alone. The same record gives
the same verdict. With --request it tells all that is known of one request, and of
the attempts that were made of it, station by station; the verdict names the worst.

Exit status: 0 held, 1 refuted, 2 inconclusive or trouble.`,
		Example: `  nines drill show 20260102-150405-zone-loss.jsonl
  nines drill show --json RECORD | jq .attribution
  nines drill show --html report.html RECORD
  nines drill show --request 5c783e4d-0000000000000a01 RECORD`,
		Args: recordArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			verdict, rec, err := judgeFile(args[0])
			if err != nil {
				return err
			}
			if request != "" {
				return showRequest(cmd, rec, request, flags.json)
			}
			var page error
			if flags.html != "" {
				page = writeFile(flags.html, func(w *os.File) error { return report.HTML(w, verdict, rec) })
			}
			if err := errors.Join(page, flags.show(cmd, verdict)); err != nil {
				return err
			}
			return outcome(verdict.Verdict)
		},
	}
	cmd.Flags().StringVar(&request, "request", "", "tell the whole story of the request with this `id`, and exit 0")
	cmd.Flags().StringVar(&flags.html, "html", "", "write a report for a browser to this `file`")
	cmd.Flags().StringVar(&flags.junit, "junit", "", "write JUnit XML to this `file`")
	cmd.Flags().BoolVar(&flags.json, "json", false, "print the verdict as JSON")
	return cmd
}

// showRequest prints one request and its attempts. There is no verdict about one,
// and so no exit status.
func showRequest(cmd *cobra.Command, rec *record.Record, id string, asJSON bool) error {
	accounts, err := claim.Tell(rec, id)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), accounts)
	}
	width, colour := screen(cmd.OutOrStdout())
	return report.Request(cmd.OutOrStdout(), accounts, width, colour)
}

func newDrillCompareCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "compare RECORD RECORD",
		Short: "Put two records side by side",
		Args:  recordArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, _, err := judgeFile(args[0])
			if err != nil {
				return err
			}
			b, _, err := judgeFile(args[1])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), report.NewComparison(a, b))
			}
			return report.Compare(cmd.OutOrStdout(), a, b)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// show prints one verdict as it was asked for, also when a file cannot be written.
func (f *drillFlags) show(cmd *cobra.Command, verdict *claim.Verdict) error {
	junit := f.writeJUnit([]*claim.Verdict{verdict})
	if f.json {
		return errors.Join(junit, printJSON(cmd.OutOrStdout(), verdict))
	}
	width, colour := screen(cmd.OutOrStdout())
	return errors.Join(junit, report.Text(cmd.OutOrStdout(), verdict, width, colour))
}

func (f *drillFlags) writeJUnit(verdicts []*claim.Verdict, others ...report.Untold) error {
	if f.junit == "" {
		return nil
	}
	return writeFile(f.junit, func(w *os.File) error { return report.JUnit(w, verdicts, others...) })
}

// recordArgs wants the files of so many records.
func recordArgs(want int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != want {
			return fmt.Errorf("want the files of %d records, and got %d; drills leave them in ~/.local/state/nines/NAME/drills", want, len(args))
		}
		return nil
	}
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// screen is the width of a terminal, and whether it may be coloured.
func screen(w io.Writer) (width int, colour bool) {
	const narrow, wide = 60, 120
	file, ok := w.(interface{ Fd() uintptr })
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 100, false
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		width = 100
	}
	return max(narrow, min(width, wide)), os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
