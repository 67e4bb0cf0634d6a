package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nines-ha/nines/fleet/replay"
	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/render/istio"
)

type replayFlags struct {
	file        string
	trips       int
	seed        uint64
	url         string
	speed       string
	max         bool
	vehicles    int
	limit       int
	concurrency int
	json        bool
	noVerify    bool
}

func newReplayCommand() *cobra.Command {
	var flags replayFlags
	var which groundFlags
	command := &cobra.Command{
		Use:   "replay --telemetry FILE | --generate TRIPS",
		Short: "Send vehicle telemetry to the vehicle service and read it back",
		Long: `Replay sends telemetry to the vehicle service, then reads back everything the
service accepted and compares it value by value.

FILE is one of two published data sets, plain or gzip, recognised by its first
line: fleet-austin-2016.csv (buses) or ev-twizy.csv (an electric car). They are
not part of nines. Units are converted to those of VSS, vehicles get synthetic
VINs (0SY...), and what is known to be wrong in a data set is refused and
counted. Without a file, --generate makes trips that are labelled synthetic.

Replaying the same telemetry again is safe: it is all duplicates.

With --json the answer is an object: "accepted" and "refused_rows" count rows
and add up to "rows"; "refused" counts refused values, "reasons" says which and
why; "readback" is the comparison. Fields are only added.

Exit status: 0 held as sent, 1 the read-back differs, 2 trouble.`,
		Example: `  nines replay --telemetry fleet-austin-2016.csv.gz --max
  nines replay --telemetry ev-twizy.csv.gz --speed 60x --limit 1000
  nines replay --generate 100 --vehicles 20 --json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return runReplay(command, flags, which) },
	}
	set := command.Flags()
	set.StringVar(&flags.file, "telemetry", "", "replay this `file`")
	set.IntVar(&flags.trips, "generate", 0, "replay so many generated `trips` of 240 rows")
	set.Uint64Var(&flags.seed, "seed", 1, "seed of generated trips; another one drives other vehicles")
	set.StringVar(&flags.url, "url", "", "the vehicle service (default: that of the running ground)")
	set.StringVar(&flags.speed, "speed", "600x", "times as fast as in the data")
	set.BoolVar(&flags.max, "max", false, "as fast as the service takes it")
	set.IntVar(&flags.vehicles, "vehicles", 0, "only the first so many vehicles; with --generate: vehicles that drive the trips")
	set.IntVar(&flags.limit, "limit", 0, "at most so many rows")
	set.IntVar(&flags.concurrency, "concurrency", 8, "requests at once")
	set.BoolVar(&flags.json, "json", false, "answer in JSON")
	set.BoolVar(&flags.noVerify, "no-verify", false, "do not read back")
	which.add(command)
	command.MarkFlagsOneRequired("telemetry", "generate")
	command.MarkFlagsMutuallyExclusive("telemetry", "generate")
	command.MarkFlagsMutuallyExclusive("speed", "max")
	return command
}

// vehicleURL is the way in to the vehicle service of a running ground.
func vehicleURL(ctx context.Context, which groundFlags) (string, error) {
	client, err := which.connect()
	if err != nil {
		return "", fmt.Errorf("%w, or name the service with --url", err)
	}
	status, err := client.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, e := range status.Endpoints {
		if strings.HasSuffix(e.Service, "/vehicle") || status.Mesh != "" && strings.HasSuffix(e.Service, "/"+istio.Ingress) {
			return e.URL, nil
		}
	}
	return "", fmt.Errorf("%s has no way in to a service called vehicle; name one with --url", status.Name)
}

func runReplay(command *cobra.Command, flags replayFlags, which groundFlags) error {
	plan, err := flags.plan()
	if err != nil {
		return err
	}
	if flags.file != "" {
		file, err := os.Open(flags.file)
		if err != nil {
			return fmt.Errorf("open telemetry: %w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("open %s: it is a directory; name a file", flags.file)
		}
		if plan.Source, err = telemetry.Open(file); err != nil {
			return fmt.Errorf("open %s: %w", flags.file, err)
		}
	} else if plan.Source, err = telemetry.Generate(telemetry.Trips{Count: flags.trips, Vehicles: flags.vehicles, Seed: flags.seed}); err != nil {
		return err
	}
	if plan.URL == "" {
		if plan.URL, err = vehicleURL(command.Context(), which); err != nil {
			return err
		}
	}
	story := command.ErrOrStderr()
	fmt.Fprintf(story, "replaying %s to %s\n", plan.Source.Name, plan.URL)
	for _, note := range plan.Source.Notes {
		fmt.Fprintf(story, "  %s\n", note)
	}
	plan.Progress, plan.Every = progressLine(story)
	report, err := replay.Run(command.Context(), plan)
	if err != nil {
		if report.Accepted > 0 {
			err = fmt.Errorf("%w; %d rows were accepted before, and sending them again is safe", err, report.Accepted)
		}
		return err
	}
	if flags.json {
		err = printJSON(command.OutOrStdout(), report)
	} else {
		err = printReport(command.OutOrStdout(), report, plan.Verify)
	}
	if err == nil && plan.Verify && !report.ReadBack.Equal {
		return errNo
	}
	return err
}

func (f replayFlags) plan() (replay.Plan, error) {
	plan := replay.Plan{URL: f.url, Vehicles: f.vehicles, Limit: f.limit, Concurrency: f.concurrency, Verify: !f.noVerify}
	if f.vehicles < 0 || f.limit < 0 || f.trips < 0 {
		return plan, errors.New("--vehicles, --limit and --generate take no negative number")
	}
	const mostRequests = 256
	if f.concurrency < 1 || f.concurrency > mostRequests {
		return plan, fmt.Errorf("--concurrency is %d; use 1 to %d", f.concurrency, mostRequests)
	}
	if f.max {
		return plan, nil
	}
	speed, err := strconv.ParseFloat(strings.TrimSuffix(f.speed, "x"), 64)
	if err != nil || !(speed > 0) || speed > 1e9 {
		return plan, fmt.Errorf("--speed is %q; write 600x for 600 times as fast as in the data, or use --max", f.speed)
	}
	plan.Speed = speed
	return plan, nil
}

// progressLine rewrites one line on a terminal, and elsewhere writes a line
// every five seconds.
func progressLine(story io.Writer) (func(replay.Progress), time.Duration) {
	text := func(p replay.Progress) string {
		line := fmt.Sprintf("%s: %d rows, %d accepted, %d read back, %d retries, %s", p.Phase, p.Rows, p.Accepted, p.Checked, p.Retries, p.Elapsed.Round(100*time.Millisecond))
		if !p.At.IsZero() {
			line += ", at " + p.At.Format("2006-01-02 15:04:05")
		}
		return line
	}
	if file, ok := story.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return func(p replay.Progress) { fmt.Fprintf(story, "\r\033[K%s", text(p)) }, 200 * time.Millisecond
	}
	return func(p replay.Progress) { fmt.Fprintln(story, text(p)) }, 5 * time.Second
}

func printReport(out io.Writer, report replay.Report, verified bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d rows of %d vehicles in %.1f s (%.0f rows/s, %d requests, %d repeated)\n",
		report.Rows, report.Vehicles, report.Seconds, report.RowsPerSecond, report.Requests, report.Retries)
	fmt.Fprintf(&b, "accepted  %d rows, %d of them held before\n", report.Accepted, report.Duplicates)
	fmt.Fprintf(&b, "refused   %d values, %d whole rows\n", report.Refused, report.RefusedRows)
	for _, reason := range slices.Sorted(maps.Keys(report.Reasons)) {
		fmt.Fprintf(&b, "  %6d  %s\n", report.Reasons[reason], reason)
	}
	back := report.ReadBack
	switch {
	case !verified:
		b.WriteString("read back not asked for\n")
	case back.Equal:
		fmt.Fprintf(&b, "read back %d rows, %d values: all equal\n", back.Rows, back.Values)
	default:
		fmt.Fprintf(&b, "read back %d of %d rows, %d values: %d missing, %d different\n", back.Rows, report.Accepted, back.Values, back.Missing, back.Different)
		for _, example := range back.Examples {
			fmt.Fprintf(&b, "  %s\n", example)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}
