package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// drillVariable makes the test program a drill that breaks something, says so and
// waits to be killed.
const drillVariable = "FAULT_TEST_DRILL"

func TestMain(m *testing.M) {
	for _, stage := range []func([]string, io.Writer) (int, bool){ground.Stage, Stage} {
		if code, ok := stage(os.Args[1:], os.Stderr); ok {
			os.Exit(code)
		}
	}
	if text := os.Getenv(drillVariable); text != "" {
		_ = os.Unsetenv(drillVariable)
		if err := drillMain(text); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// drillPlan is what such a drill does: a fault on a ground, or nothing but to
// hold a healer.
type drillPlan struct {
	Fault  string
	Site   Site
	Access Access
	Heals  []Heal
}

func drillMain(text string) error {
	var p drillPlan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	inject := func() error { return nil }
	if p.Fault != "" {
		s := p.Site
		s.Access = p.Access
		if err := enter(&s); err != nil {
			return err
		}
		f, err := Find(p.Fault)
		if err != nil {
			return err
		}
		i, err := f.Prepare(ctx, &s)
		if err != nil {
			return err
		}
		p.Heals = i.Heals
		inject = func() error { return i.Inject(ctx, func(record.Event) {}) }
	}
	if _, err := StartHealer(ctx, p.Access, p.Heals); err != nil {
		return err
	}
	if err := inject(); err != nil {
		return err
	}
	fmt.Println("injected")
	<-ctx.Done()
	return ctx.Err()
}

// enter connects a site with what its Access leads to.
func enter(s *Site) (err error) {
	if s.Access.Ground != "" {
		if s.Ground, err = ground.Connect(s.Access.Ground); err != nil {
			return err
		}
	}
	config, err := s.Access.config()
	if err != nil {
		return err
	}
	config.QPS, config.Burst, config.Timeout = 50, 100, 10*time.Second
	s.Kube, err = kubernetes.NewForConfig(config)
	return err
}

// killedDrill runs a drill in a process of its own, kills it when it has broken
// what it was to break, and leaves the rest to its healer.
func killedDrill(t *testing.T, p drillPlan) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), drillVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if line != "injected\n" {
		t.Fatalf("the drill said %q, %v", line, err)
	}
}

// eventually asks until the answer is nil, and fails the test with the last one.
func eventually(t *testing.T, within time.Duration, what string, ask func() error) {
	t.Helper()
	began, last := time.Now(), ""
	for {
		err := ask()
		if err != nil && err.Error() != last {
			last = err.Error()
			t.Logf("%s: %s: %s", what, time.Since(began).Round(10*time.Millisecond), last)
		}
		if err == nil {
			t.Logf("%s after %s", what, time.Since(began).Round(10*time.Millisecond))
			return
		}
		if time.Since(began) > within {
			t.Fatalf("not within %s: %s: %v", within, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// told keeps the events of an injection, as "name state".
type told struct {
	mu    sync.Mutex
	lines []string
}

func (l *told) tell(e record.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, e.Name+" "+e.State)
}

func (l *told) read() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// unlocked says nil when no healer works there any more.
func unlocked(a Access) error {
	_, heal, err := lockFiles(a)
	if err != nil {
		return err
	}
	release, err := flock(heal, unix.LOCK_EX, "a healer")
	if err != nil {
		return errors.New("a healer is still at work")
	}
	release()
	return nil
}

func contextOf(t *testing.T, within time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), within)
}
