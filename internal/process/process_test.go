package process

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childVariable makes the test program the child, in the manner it names.
const childVariable = "PROCESS_TEST_CHILD"

func TestMain(m *testing.M) {
	if manner := os.Getenv(childVariable); manner != "" {
		child(manner)
	}
	goleak.VerifyTestMain(m)
}

func child(manner string) {
	switch manner {
	case "ends":
		fmt.Println("ended with 3")
		os.Exit(3)
	case "ends well":
		os.Exit(0)
	case "tells":
		status, _ := os.ReadFile("/proc/self/status")
		fmt.Println(string(status))
		os.Exit(0)
	case "ignores SIGTERM":
		signal.Ignore(syscall.SIGTERM)
	case "notes SIGINT":
		got := make(chan os.Signal, 1)
		signal.Notify(got, os.Interrupt)
		fmt.Println("up")
		<-got
		fmt.Println("interrupted")
		os.Exit(0)
	}
	fmt.Println("up")
	time.Sleep(time.Minute)
	os.Exit(9)
}

// spec is a child of some manner, which says "up" in its log.
func spec(t *testing.T, manner string) Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{
		Name: "child", Path: self, Env: []string{childVariable + "=" + manner},
		Dir: "/", LogFile: filepath.Join(t.TempDir(), "child.log"),
	}
}

func start(t *testing.T, s Spec) *Process {
	t.Helper()
	p, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.Background()) })
	return p
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func logHas(s Spec, text string, times int) func() bool {
	return func() bool {
		body, _ := os.ReadFile(s.LogFile)
		return strings.Count(string(body), text) >= times
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStopEndsTheChild(t *testing.T) {
	s := spec(t, "waits")
	p := start(t, s)
	eventually(t, "up", logHas(s, "up", 1))
	pid := p.PID()
	if !alive(pid) {
		t.Fatalf("process %d does not live", pid)
	}
	p.Stop(t.Context())
	if alive(pid) || p.PID() != 0 {
		t.Errorf("after Stop process %d lives, PID says %d", pid, p.PID())
	}
	select {
	case <-p.Done():
	default:
		t.Error("Done is still open")
	}
	if err := p.Signal(syscall.SIGTERM); err == nil {
		t.Error("a signal to an ended child is no error")
	}
	p.Stop(t.Context())
}

func TestStopSendsItsSignal(t *testing.T) {
	s := spec(t, "notes SIGINT")
	s.StopSignal = syscall.SIGINT
	p := start(t, s)
	eventually(t, "up", logHas(s, "up", 1))
	p.Stop(t.Context())
	if !logHas(s, "interrupted", 1)() {
		t.Error("the child did not get SIGINT")
	}
}

func TestStopKillsWhatRefuses(t *testing.T) {
	for name, stop := range map[string]func(*Process){
		"after StopWithin": func(p *Process) { p.Stop(context.Background()) },
		"when ctx is over": func(p *Process) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			p.spec.StopWithin = time.Hour
			p.Stop(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec(t, "ignores SIGTERM")
			s.StopWithin = 50 * time.Millisecond
			p := start(t, s)
			eventually(t, "up", logHas(s, "up", 1))
			pid := p.PID()
			stop(p)
			if alive(pid) {
				t.Error("it lives")
			}
			if _, last := p.Restarts(); last == nil || last.Error() != "signal: killed" {
				t.Errorf("it ended with %v", last)
			}
		})
	}
}

func TestChildThatEndsStaysEnded(t *testing.T) {
	for manner, want := range map[string]string{"ends": "exit status 3", "ends well": "exit status 0"} {
		ended := make(chan error, 1)
		s := spec(t, manner)
		s.OnExit = func(err error) { ended <- err }
		p := start(t, s)
		<-p.Done()
		if err := <-ended; err.Error() != want {
			t.Errorf("%s: OnExit got %v", manner, err)
		}
		if n, last := p.Restarts(); n != 0 || last.Error() != want {
			t.Errorf("%s: %d restarts, last %v", manner, n, last)
		}
	}
}

func TestChildThatEndsStartsAgain(t *testing.T) {
	s := spec(t, "ends")
	s.RestartAfter = time.Millisecond
	p := start(t, s)
	eventually(t, "three lives in one log", logHas(s, "ended with 3", 3))
	if n, _ := p.Restarts(); n < 2 {
		t.Errorf("%d restarts", n)
	}
	p.Stop(t.Context())
	n, _ := p.Restarts()
	if p.PID() != 0 {
		t.Error("it runs after Stop")
	}
	if again, _ := p.Restarts(); again != n {
		t.Error("it starts again after Stop")
	}
}

func TestKilledChildIsAnother(t *testing.T) {
	s := spec(t, "waits")
	s.RestartAfter = time.Millisecond
	p := start(t, s)
	eventually(t, "up", logHas(s, "up", 1))
	first := p.PID()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process", func() bool { pid := p.PID(); return pid != 0 && pid != first })
}

// A child whose program is gone for a while is tried until it is back.
func TestChildThatCannotStartAgainIsTriedOn(t *testing.T) {
	s := spec(t, "waits")
	program := filepath.Join(t.TempDir(), "program")
	if err := os.Symlink(s.Path, program); err != nil {
		t.Fatal(err)
	}
	self := s.Path
	s.Path, s.RestartAfter = program, time.Millisecond
	p := start(t, s)
	eventually(t, "up", logHas(s, "up", 1))
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	_ = p.Signal(syscall.SIGKILL)
	eventually(t, "it says why", func() bool {
		_, last := p.Restarts()
		return last != nil && strings.Contains(last.Error(), "no such file")
	})
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	eventually(t, "up again", logHas(s, "up", 2))
}

func TestStopBetweenTwoLives(t *testing.T) {
	s := spec(t, "ends")
	s.RestartAfter = time.Hour
	p := start(t, s)
	eventually(t, "ended", func() bool { return p.PID() == 0 })
	p.Stop(t.Context())
}

func TestNoNewPrivileges(t *testing.T) {
	for _, none := range []bool{false, true} {
		s := spec(t, "tells")
		s.NoNewPrivileges = none
		p := start(t, s)
		<-p.Done()
		if want := map[bool]string{false: "NoNewPrivs:\t0", true: "NoNewPrivs:\t1"}[none]; !logHas(s, want, 1)() {
			t.Errorf("%t: the child is not told %q", none, want)
		}
	}
}

func TestStartThatFailsSaysWhat(t *testing.T) {
	s := spec(t, "waits")
	s.Path, s.Args = "/none/such", []string{"--a b", "c"}
	_, err := Start(s)
	if err == nil || !strings.Contains(err.Error(), "start child") || !strings.Contains(err.Error(), "command: /none/such '--a b' c") {
		t.Errorf("error = %v", err)
	}
	s.LogFile = "/none/such/log"
	if _, err := Start(s); err == nil || !strings.Contains(err.Error(), "log of child") {
		t.Errorf("error = %v", err)
	}
}

func TestLogIsPrivateAndAppended(t *testing.T) {
	s := spec(t, "ends")
	if err := os.WriteFile(s.LogFile, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, s)
	<-p.Done()
	body, err := os.ReadFile(s.LogFile)
	if err != nil || !strings.HasPrefix(string(body), "before\nended with 3") {
		t.Errorf("log = %q, %v", body, err)
	}
	if info, _ := os.Stat(s.LogFile); info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %s", info.Mode())
	}
}

func TestCommandIsPasteable(t *testing.T) {
	for _, test := range []struct{ word, want string }{
		{"plain-word_1.2/3:4=5,6", "plain-word_1.2/3:4=5,6"},
		{"", "''"},
		{"two words", "'two words'"},
		{"it's", `'it'\''s'`},
		{"$HOME", "'$HOME'"},
		{"a\nb", "'a\nb'"},
		{"*", "'*'"},
	} {
		if got := (Spec{Path: "p", Args: []string{test.word}}).Command(); got != "p "+test.want {
			t.Errorf("%q is quoted %s, want p %s", test.word, got, test.want)
		}
	}
}
