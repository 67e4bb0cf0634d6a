// Command nines runs a described system on a proving ground of real
// Kubernetes nodes, breaks it, and renders it for AKS. Start with
// "nines up"; each command lives in a file of its own name. The command
// holds words and wiring only: what it does is in the packages it calls.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/ground"
)

// version is set by the build.
var version = "devel"

// Exit codes, the same for every command: 0 done or held, 1 the answer is
// "no" (refuted, invalid, different), 2 trouble, usage included.
const (
	exitNo      = 1
	exitTrouble = 2
)

// errNo ends a command with exit code 1 after it has printed its answer.
var errNo = errors.New("no")

// errInconclusive ends a command with exit code 2 after it has printed its answer.
var errInconclusive = errors.New("inconclusive")

func main() {
	// A ground starts this program again for its machines, a drill for what heals;
	// nothing may come before.
	for _, stage := range []func([]string, io.Writer) (int, bool){ground.Stage, fault.Stage} {
		if code, ok := stage(os.Args[1:], os.Stderr); ok {
			os.Exit(code)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return exitNo
	case errors.Is(err, errInconclusive):
		return exitTrouble
	}
	fmt.Fprintf(stderr, "nines: %v\n", err)
	return exitTrouble
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "nines",
		Short:         "Prove on one machine that microservices on AKS do not go down",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(
		newDoctorCommand(),
		newEnginesCommand(),
		newImagesCommand(),
		newUpCommand(),
		newDownCommand(),
		newStatusCommand(),
		newLogsCommand(),
		newKubeconfigCommand(),
		newGitCommand(),
		newApplyCommand(),
		newInitCommand(),
		newRenderCommand(buildImages, engineFile),
		newValidateCommand(),
		newSchemaCommand(),
		newReplayCommand(),
		newDrillCommand(),
		newDeployCommand(connectDelivery),
		newRollbackCommand(connectDelivery),
	)
	return root
}
