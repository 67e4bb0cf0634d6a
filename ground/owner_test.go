//go:build ground

package ground

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownerVariable makes the test program the owner of the ground that it describes.
const ownerVariable = "NINES_TEST_OWNER"

// ownerMain says "watched" when the ground has an owner and "ready" when it is.
func ownerMain(text string) int {
	var c struct {
		Name, Cache, Engines string
		Regions              []Region
		Stores               []string
		Namespace            string
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	_ = os.Unsetenv(ownerVariable)
	config := Config{Name: c.Name, Cache: c.Cache, Engines: c.Engines, Regions: c.Regions, Stores: c.Stores}
	config.Files = func(context.Context) (map[string][]File, error) {
		body := fmt.Appendf(nil, "{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", c.Name)
		return map[string][]File{c.Regions[0].Name: {{Path: "namespace.yaml", Body: body}}}, nil
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	err := Up(ctx, config, func(o *Owner) {
		fmt.Println("watched")
		go func() {
			select {
			case <-o.Ready():
				fmt.Println("ready")
			case <-ctx.Done():
			}
		}()
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// ownerProcess is an owner that can be killed.
type ownerProcess struct {
	footprint
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	ended chan struct{}
	err   strings.Builder
}

func startOwner(t *testing.T, state string, config Config) *ownerProcess {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"Name": config.Name, "Cache": config.Cache, "Engines": config.Engines, "Regions": config.Regions, "Stores": config.Stores,
	})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := &ownerProcess{footprint: footprint{name: config.Name, state: state}, t: t, lines: make(chan string, 8), ended: make(chan struct{})}
	o.cmd = exec.Command(self)
	o.cmd.Env = append(os.Environ(), ownerVariable+"="+string(text))
	o.cmd.Stderr = &o.err
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := o.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for scan := bufio.NewScanner(out); scan.Scan(); {
			o.lines <- scan.Text()
		}
		_, _ = io.Copy(io.Discard, out)
		_ = o.cmd.Wait()
		close(o.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-o.ended:
		default:
			o.signal(syscall.SIGKILL)
			<-o.ended
			o.expectGone(t, "the end of a failed test")
		}
	})
	return o
}

func (o *ownerProcess) signal(s syscall.Signal) { _ = o.cmd.Process.Signal(s) }

// wait waits for a line of the owner's.
func (o *ownerProcess) wait(line string, within time.Duration) {
	o.t.Helper()
	timer := time.After(within)
	for {
		select {
		case l := <-o.lines:
			if l == line {
				return
			}
		case <-o.ended:
			o.t.Fatalf("the owner ended before it was %s: %s", line, o.err.String())
		case <-timer:
			o.t.Fatalf("the owner is not %s after %s", line, within)
		}
	}
}

func (o *ownerProcess) waitEnd(within time.Duration) {
	o.t.Helper()
	select {
	case <-o.ended:
	case <-time.After(within):
		o.t.Fatalf("the owner has not ended after %s", within)
	}
}
