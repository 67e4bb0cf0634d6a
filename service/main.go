package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// ErrUnclean is what Run returns, wrapped, when the service stopped as asked but
// had to cut something off: a request, background work or an OnStop hook.
var ErrUnclean = errors.New("stopped before everything had ended")

// Main runs the service called name until a signal stops it, and exits the
// process: 0 clean, 1 stopped but not cleanly, 2 could not start or serve, 128
// plus the number of a second signal. It is all that a main function needs.
func Main(name string, setup func(context.Context, *Service) error) {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		stop()
		os.Exit(secondSignalCode(<-signals))
	}()
	os.Exit(exitCode(Runner{Name: name, whole: true}.Run(ctx, setup)))
}

func secondSignalCode(s os.Signal) int {
	fmt.Fprintf(os.Stderr, "second signal (%s): exiting at once\n", s)
	const signalled = 128
	if number, ok := s.(syscall.Signal); ok {
		return signalled + int(number)
	}
	return signalled
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrUnclean):
		return 1
	}
	return 2
}
