package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/git"
	"github.com/nines-ha/nines/ground/postgres"
)

func newEnginesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "engines",
		Short: "Build and list the upstream programs the ground runs",
		Long: `The ground runs stock upstream programs. Their versions are pinned in engines/;
they are compiled once into the cache and used by every run.`,
		Args: cobra.NoArgs,
	}
	source := cmd.PersistentFlags().String("engines", "", "folder with the pins (default: NINES_ENGINES, or engines/ beside the program, here or above)")
	cmd.AddCommand(newEnginesBuildCommand(source), newEnginesListCommand(source))
	return cmd
}

func newBuilder(source string) (*engine.Builder, error) {
	dir, err := engine.Source(source)
	if err != nil {
		return nil, err
	}
	cache, err := engine.CacheDir()
	if err != nil {
		return nil, err
	}
	return &engine.Builder{CacheDir: cache, Source: dir}, nil
}

func newEnginesBuildCommand(source *string) *cobra.Command {
	return &cobra.Command{
		Use:   "build [NAME...]",
		Short: "Compile the engines that are not in the cache",
		Long: `Compiles the engines that are not in the cache, all of them or the named ones,
and makes the Debian root file systems of PostgreSQL (postgresql-15) and of the
Git host (git), which needs root.
The first time takes half an hour or so on two cores. It may be stopped at any
time: the next build goes on from the packages that were compiled.`,
		Example: "  nines engines build\n  nines engines build kubernetes etcd",
		RunE: func(cmd *cobra.Command, names []string) error {
			b, err := newBuilder(*source)
			if err != nil {
				return err
			}
			story := newEngineStory(cmd.ErrOrStderr())
			b.Progress = story.tell
			roots := map[string][]string{postgres.RootName: postgres.RootPackages, git.RootName: git.RootPackages}
			compiled := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return roots[n] != nil })
			if len(names) == 0 || len(compiled) > 0 {
				if err := b.Build(cmd.Context(), compiled...); err != nil {
					return err
				}
			}
			for _, name := range slices.Sorted(maps.Keys(roots)) {
				if len(names) > 0 && !slices.Contains(names, name) {
					continue
				}
				if os.Geteuid() != 0 {
					return fmt.Errorf("making the Debian root %s needs root: run this with sudo", name)
				}
				if _, err := b.Root(cmd.Context(), name, roots[name]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// engineStory prints the progress of builds: each phase, and between two
// phases a line every few seconds at most.
type engineStory struct {
	out   io.Writer
	every time.Duration

	mu   sync.Mutex
	last map[string]engine.Event
}

func newEngineStory(out io.Writer) *engineStory {
	return &engineStory{out: out, every: 5 * time.Second, last: map[string]engine.Event{}}
}

func (s *engineStory) tell(ev engine.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, seen := s.last[ev.Engine]
	if seen && last.Phase == ev.Phase && ev.Elapsed-last.Elapsed < s.every {
		return
	}
	s.last[ev.Engine] = ev
	elapsed := ev.Elapsed.Round(time.Second)
	switch ev.Phase {
	case engine.Compiling:
		fmt.Fprintf(s.out, "%-16s compiling  %d of %d packages, %s\n", ev.Engine, ev.Done, ev.Total, elapsed)
	case engine.Failed:
		fmt.Fprintf(s.out, "%-16s failed after %s\n", ev.Engine, elapsed)
	case engine.Built, engine.Linking:
		fmt.Fprintf(s.out, "%-16s %-10s %s\n", ev.Engine, ev.Phase, elapsed)
	default:
		fmt.Fprintf(s.out, "%-16s %-10s %s\n", ev.Engine, ev.Phase, ev.Detail)
	}
}

// engineRow is one line of "engines list --json"; fields are only added.
type engineRow struct {
	Name     string   `json:"name"`
	Module   string   `json:"module"`
	Version  string   `json:"version"`
	Programs []string `json:"programs"`
	Built    bool     `json:"built"`
	Dir      string   `json:"dir"`
	Bytes    int64    `json:"bytes"`
	Seconds  float64  `json:"seconds"` // of compiling; 0 when not built
}

func newEnginesListCommand(source *string) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the engines, their versions and whether they are built",
		Example: "  nines engines list\n  nines engines list --json | jq -r '.[] | select(.built | not) | .name'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := newBuilder(*source)
			if err != nil {
				return err
			}
			rows, err := engineRows(b)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(rows)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(table, "NAME\tVERSION\tBUILT\tSIZE\tTOOK\tPROGRAMS")
			for _, r := range rows {
				built, size, took := "no", "-", "-"
				if r.Built {
					built, size = "yes", fmt.Sprintf("%d MB", r.Bytes/1e6)
					took = time.Duration(r.Seconds * float64(time.Second)).Round(time.Second).String()
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\n", r.Name, r.Version, built, size, took, len(r.Programs))
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func engineRows(b *engine.Builder) ([]engineRow, error) {
	engines, err := b.Catalog()
	if err != nil {
		return nil, err
	}
	rows := make([]engineRow, 0, len(engines))
	for _, e := range engines {
		s, err := b.Status(e)
		if err != nil {
			return nil, err
		}
		r := engineRow{
			Name: e.Name, Module: e.Module, Version: e.Version,
			Built: s.Built, Dir: s.Dir, Bytes: s.Bytes, Seconds: s.Took.Seconds(),
		}
		for _, p := range e.Programs {
			r.Programs = append(r.Programs, p.Name)
		}
		rows = append(rows, r)
	}
	return rows, nil
}
