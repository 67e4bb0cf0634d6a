package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/drill/twin"
)

// drillFlags say how a drill is run. They are the same for one, a suite and a proof.
type drillFlags struct {
	file, region, service string

	rate      float64
	steps     []float64
	arrivals  string
	clients   int
	deadline  time.Duration
	declared  load.Retry // of the description
	attempts  int
	timeout   time.Duration // of one attempt
	backoff   string
	budget    string
	window    time.Duration
	steady    time.Duration
	telemetry string
	seed      uint64
	quick     bool

	kubeconfig, context, url string
	yes                      bool

	record, html, junit string
	json                bool
}

func (f *drillFlags) add(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVarP(&f.file, "file", "f", descriptionFile, "the description: its objective is what is judged")
	set.StringVar(&f.region, "region", "", "the region that is drilled (default: the only one)")
	set.StringVar(&f.service, "service", "", "the exposed service that gets the load (default: the only one)")
	set.Float64Var(&f.rate, "rate", 50, "requests a second")
	set.Float64SliceVar(&f.steps, "steps", nil, "`rates` of equal parts of the judged window, such as 100,400,100 (default: --rate all along)")
	set.StringVar(&f.arrivals, "arrivals", string(load.Poisson), "how requests are spread: poisson or constant")
	set.IntVar(&f.clients, "clients", 50, "vehicles that send; each has connections of its own")
	set.DurationVar(&f.deadline, "deadline", 0, "when a client gives a request up, with all its attempts (default: clients.deadline)")
	set.IntVar(&f.attempts, "attempts", 0, "how often a client sends a request at most until it is answered well; 1: once (default: clients.attempts)")
	set.DurationVar(&f.timeout, "attempt-timeout", 0, "when a client gives one attempt up (default: clients.timeout)")
	set.StringVar(&f.backoff, "backoff", "", "how long a client waits between two attempts, at random: `MIN..MAX` (default: clients.backoff)")
	set.StringVar(&f.budget, "retry-budget", "", "the `share` of its requests that are answered well by which a client may try again, beside ten times, such as 20%; or none (default: clients.budget)")
	set.DurationVar(&f.window, "window", 0, "judge so long from the fault on (default: the drill's own)")
	set.DurationVar(&f.steady, "steady", 8*time.Second, "load before the fault")
	set.StringVar(&f.telemetry, "telemetry", "", "send the rows of this `file` (see nines replay); generated if not given")
	set.Uint64Var(&f.seed, "seed", 0, "seed of arrivals and victims (default: from the clock; the record tells it)")
	set.BoolVar(&f.quick, "quick", false, "half the load, and a shorter time before the fault")
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "drill another cluster: its kubeconfig; needs --context, --url and --yes")
	set.StringVar(&f.context, "context", "", "drill another cluster: this context of the kubeconfig")
	set.StringVar(&f.url, "url", "", "drill another cluster: where the service is reached, http://HOST:PORT")
	set.BoolVar(&f.yes, "yes", false, "drill another cluster: yes, break it")
	set.StringVar(&f.record, "record", "", "write the record here (default: the ground's folder of drills)")
	set.StringVar(&f.html, "html", "", "write a report for a browser to this `file` (default: beside the record)")
	set.StringVar(&f.junit, "junit", "", "write JUnit XML to this `file`")
	set.BoolVar(&f.json, "json", false, "print the verdict as JSON")
}

func newDrillCommand() *cobra.Command {
	var flags drillFlags
	var prove string
	cmd := &cobra.Command{
		Use:   "drill NAME",
		Short: "Break the running system under load and give a verdict that accounts for every request",
		Long: `Drill sends load from outside the region as vehicles would, breaks something, mends
it, reads back what was written, and judges the record of all that by the objective
in the description. Before it breaks anything it says what it will touch. It mends
what it broke also when it is interrupted or killed.

What it sends are requests to the API of fleet/vehicle: another service has to
answer that API to be drilled.

It breaks a ground. Another cluster is refused unless --context NAME --yes says that
it is meant; then only the faults that Kubernetes' own API can make are available.

With --prove TWIN the drill is run twice: on the system as it is, and with a known
mistake patched in, which it must find for the right reason.

Exit status: 0 held, or proven; 1 refuted, or not proven; 2 inconclusive, or trouble.`,
		Example: `  nines drill list
  nines drill rolling-restart
  nines drill zone-loss --json | jq .attribution
  nines drill node-loss --telemetry fleet-austin-2016.csv.gz --rate 100
  nines drill scale-down --rate 100 --steps 100,300,600
  nines drill node-loss --attempts 3 --attempt-timeout 1s --backoff 200ms..2s
  nines drill --prove no-drain
  nines drill suite --quick
  nines drill show RECORD`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case prove != "" && len(args) > 0:
				return errors.New("--prove names the twin, and the twin its drill: give no other name")
			case prove == "" && len(args) != 1:
				return errors.New("name one drill; \"nines drill list\" explains each")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return drillNames(args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if prove != "" {
				return flags.prove(cmd, prove)
			}
			return flags.one(cmd, args[0])
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&prove, "prove", "", "run the drill of this known-bad `twin` on the system as it is and on the twin")
	_ = cmd.RegisterFlagCompletionFunc("prove", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, t := range twin.All() {
			names = append(names, t.Name+"\t"+t.About)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	cmd.AddCommand(newDrillListCommand(), newDrillShowCommand(), newDrillCompareCommand(), newDrillSuiteCommand())
	return cmd
}

func drillNames(given []string) []string {
	if len(given) > 0 {
		return nil
	}
	var names []string
	for _, d := range drill.All() {
		names = append(names, d.Name+"\t"+d.About[0])
	}
	return names
}

// one runs one drill, shows its verdict and ends with the exit code it asks for.
func (f *drillFlags) one(cmd *cobra.Command, name string) error {
	d, err := drill.Find(name)
	if err != nil {
		return err
	}
	stage, err := f.stage(cmd)
	if err != nil {
		return err
	}
	defer stage.close()
	verdict, _, err := stage.run(cmd.Context(), d, "", nil)
	if err != nil {
		return err
	}
	if err := f.show(cmd, verdict); err != nil {
		return err
	}
	return outcome(verdict.Verdict)
}

// outcome is the verdict as an exit code: 0 held, 1 refuted, 2 inconclusive.
func outcome(o claim.Outcome) error {
	switch o {
	case claim.Held:
		return nil
	case claim.Refuted:
		return errNo
	}
	return errInconclusive
}

// elsewhere says whether a drill is for a cluster that is no ground.
func (f *drillFlags) elsewhere() (bool, error) {
	if f.context == "" && f.kubeconfig == "" && f.url == "" {
		if f.yes {
			return false, errors.New("--yes is for another cluster, with --context and --url; a ground needs no leave")
		}
		return false, nil
	}
	switch {
	case f.context == "":
		return true, errors.New("name the cluster's --context: a drill never takes the current one")
	case f.url == "":
		return true, errors.New("say with --url where the service of that cluster is reached")
	case !f.yes:
		return true, fmt.Errorf("context %s is no ground: a drill would break what runs there; say --yes if that is meant", f.context)
	}
	return true, nil
}

func writeFile(name string, write func(*os.File) error) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}
