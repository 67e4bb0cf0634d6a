package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nines-ha/nines/service"
)

const childVariable = "SERVICE_TEST_CHILD"

// The test binary is also the services that the tests below send signals to.
func TestMain(m *testing.M) {
	if kind := os.Getenv(childVariable); kind != "" {
		service.Main("child", child(kind))
	}
	goleak.VerifyTestMain(m)
}

func child(kind string) func(context.Context, *service.Service) error {
	return func(ctx context.Context, s *service.Service) error {
		s.Handle("/", http.NotFoundHandler())
		switch kind {
		case "broken":
			return errors.New("no luck")
		case "slow setup":
			fmt.Fprintln(os.Stderr, "in setup")
			<-ctx.Done()
			return ctx.Err()
		case "unclean":
			s.OnStop("hook", func(context.Context) error { return errors.New("no luck") })
		case "failing work":
			s.Go("work", func(context.Context) error { return errors.New("no luck") })
		}
		return nil
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	cases := []struct {
		kind    string
		env     []string
		await   string // what to see before signalling; empty for no signal
		signals int
		want    int
	}{
		{kind: "clean", await: `"serving"`, signals: 1, want: 0},
		{kind: "unclean", await: `"serving"`, signals: 1, want: 1},
		{kind: "broken", want: 2},
		{kind: "failing work", want: 2},
		{kind: "clean", env: []string{"DRAIN_DELAY=soon"}, want: 2},
		{kind: "clean", env: []string{"HTTP_ADDR=no address"}, want: 2},
		{kind: "slow setup", await: "in setup", signals: 1, want: 0},
		{kind: "clean", env: []string{"DRAIN_DELAY=10m"}, await: `"serving"`, signals: 2, want: 128 + int(syscall.SIGTERM)},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.kind, c.env), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, os.Args[0])
			command.Env = append([]string{childVariable + "=" + c.kind, "HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "DRAIN_DELAY=0s"}, c.env...)
			reader, writer := io.Pipe()
			command.Stdout, command.Stderr = writer, writer
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			output := make(chan string, 1)
			seen, draining := make(chan bool, 1), make(chan bool, 1)
			go func() {
				var all strings.Builder
				for lines := bufio.NewScanner(reader); lines.Scan(); {
					fmt.Fprintln(&all, lines.Text())
					if c.await != "" && strings.Contains(lines.Text(), c.await) {
						seen <- true
					}
					if strings.Contains(lines.Text(), `"draining"`) {
						draining <- true
					}
				}
				output <- all.String()
			}()
			for n := range c.signals {
				ready := seen
				if n > 0 {
					ready = draining
				}
				select {
				case <-ready:
				case <-ctx.Done():
					t.Fatal("the child did not get that far")
				}
				if err := command.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			_ = command.Wait()
			writer.Close()
			text := <-output
			if got := command.ProcessState.ExitCode(); got != c.want {
				t.Errorf("exit code %d, want %d\n%s", got, c.want, text)
			}
		})
	}
}

func listenerAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
