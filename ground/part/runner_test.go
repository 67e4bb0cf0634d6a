package part

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nines-ha/nines/internal/process"
)

// childVariable makes the test program the program of a part.
const childVariable = "PART_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "":
		goleak.VerifyTestMain(m)
	case "ends":
		for i := range 30 {
			fmt.Println("line", i)
		}
		os.Exit(4)
	default:
		fmt.Println("up")
		time.Sleep(time.Minute)
	}
}

func program(t *testing.T, manner string) *process.Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &process.Spec{
		Name: manner, Path: self, Args: []string{"--flag"}, Env: []string{childVariable + "=" + manner},
		Dir: "/", LogFile: filepath.Join(t.TempDir(), manner+".log"), StopWithin: 10 * time.Second,
	}
}

// diary notes what happens in which order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

// step is a part that notes its start and its undoing.
func (d *diary) step(name string, needs ...string) Part {
	return Part{
		Name: name, Needs: needs,
		Prepare: func(context.Context) error { d.note("do " + name); return nil },
		Undo:    func(context.Context) error { d.note("undo " + name); return nil },
	}
}

func runner(t *testing.T, parts []Part) (*Runner, *diary) {
	t.Helper()
	events := &diary{}
	r, err := NewRunner(parts, func(e Event) { events.note(e.Part + " " + string(e.State)) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop(context.Background()) })
	return r, events
}

func TestStartByNeedsStopInReverse(t *testing.T) {
	d := &diary{}
	r, events := runner(t, []Part{d.step("c", "b"), d.step("b", "a"), d.step("a")})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"do a", "do b", "do c", "undo c", "undo b", "undo a"}; !slices.Equal(d.read(), want) {
		t.Errorf("did %q", d.read())
	}
	want := []string{"a starting", "a ready", "b starting", "b ready", "c starting", "c ready", "c stopped", "b stopped", "a stopped"}
	if !slices.Equal(events.read(), want) {
		t.Errorf("told %q", events.read())
	}
	if err := r.Stop(t.Context()); err != nil || len(d.read()) != 6 {
		t.Errorf("a second Stop gives %v and did %q", err, d.read()[6:])
	}
}

// Parts that do not need each other start at the same time.
func TestStartAtOnce(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	meet := func(ctx context.Context) error {
		both.Done()
		met := make(chan struct{})
		go func() { both.Wait(); close(met) }()
		select {
		case <-met:
			return nil
		case <-ctx.Done():
			return errors.New("it was alone")
		}
	}
	r, _ := runner(t, []Part{{Name: "a", Prepare: meet}, {Name: "b", Prepare: meet}})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestFailureUndoesInReverse(t *testing.T) {
	d := &diary{}
	bad := d.step("bad", "b")
	bad.Prepare = func(context.Context) error { d.note("do bad"); return errors.New("no disk") }
	r, events := runner(t, []Part{d.step("a"), d.step("b", "a"), bad, d.step("never", "bad")})
	err := r.Start(t.Context())
	if err == nil || err.Error() != "bad: no disk" {
		t.Errorf("error = %v", err)
	}
	// What failed is undone too: it may have got half-way.
	if want := []string{"do a", "do b", "do bad", "undo bad", "undo b", "undo a"}; !slices.Equal(d.read(), want) {
		t.Errorf("did %q", d.read())
	}
	if told := events.read(); !slices.Contains(told, "bad failed") || slices.Contains(told, "never starting") {
		t.Errorf("told %q", told)
	}
	for _, s := range r.Status() {
		if want := map[bool]State{true: Waiting, false: Stopped}[s.Name == "never"]; s.State != want {
			t.Errorf("%s is %s, want %s", s.Name, s.State, want)
		}
	}
}

// The first failure is the one that is told, not those that follow from it.
func TestFirstFailureIsTold(t *testing.T) {
	for range 20 {
		r, _ := runner(t, []Part{
			{Name: "bad", Prepare: func(context.Context) error { return errors.New("first") }},
			{Name: "slow", Prepare: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
			{Name: "asked", Ready: func(context.Context) error { return errors.New("not yet") }},
		})
		if err := r.Start(t.Context()); err == nil || err.Error() != "bad: first" {
			t.Fatalf("error = %v", err)
		}
	}
}

func TestStopGoesOnAfterAnError(t *testing.T) {
	d := &diary{}
	bad := d.step("b", "a")
	bad.Undo = func(context.Context) error { return errors.New("stuck") }
	r, _ := runner(t, []Part{d.step("a"), bad})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(t.Context()); err == nil || err.Error() != "stop b: stuck" {
		t.Errorf("error = %v", err)
	}
	if !slices.Contains(d.read(), "undo a") {
		t.Errorf("did %q", d.read())
	}
}

var errTold = errors.New("told to stop")

func TestCancelUndoes(t *testing.T) {
	d := &diary{}
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := d.step("asked", "a")
	asked.Ready = func(context.Context) error { cancel(errTold); return errors.New("not yet") }
	r, _ := runner(t, []Part{d.step("a"), asked})
	if err := r.Start(ctx); !errors.Is(err, errTold) {
		t.Errorf("error = %v", err)
	}
	if want := []string{"do a", "do asked", "undo asked", "undo a"}; !slices.Equal(d.read(), want) {
		t.Errorf("did %q", d.read())
	}
}

func TestProgramThatEndsBeforeItIsReady(t *testing.T) {
	spec := program(t, "ends")
	spec.RestartAfter = time.Hour
	r, _ := runner(t, []Part{{Name: "p", Program: spec, Ready: func(context.Context) error { return errors.New("refused") }}})
	err := r.Start(t.Context())
	if err == nil {
		t.Fatal("it is ready")
	}
	for _, want := range []string{
		"p ended before it was ready: exit status 4", "last lines of " + spec.LogFile, "    line 20\n", "    line 29\n", "command: " + spec.Path + " --flag",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "line 19\n") {
		t.Errorf("more than the last ten lines:\n%v", err)
	}
}

func TestProgramThatIsNeverReady(t *testing.T) {
	spec := program(t, "runs")
	asked := 0
	r, _ := runner(t, []Part{{Name: "p", Program: spec, Within: 300 * time.Millisecond, Ready: func(context.Context) error {
		asked++
		return fmt.Errorf("refused")
	}}})
	err := r.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "p is not ready after 300ms: refused") || !strings.Contains(err.Error(), "command: ") {
		t.Errorf("error = %v", err)
	}
	if asked < 2 {
		t.Errorf("asked %d times", asked)
	}
	if s := r.Status()[0]; s.PID != 0 || s.State != Stopped {
		t.Errorf("status = %+v", s)
	}
}

func TestStepThatIsNeverReadyHasNoCommand(t *testing.T) {
	r, _ := runner(t, []Part{{Name: "p", Within: 20 * time.Millisecond, Ready: func(context.Context) error { return errors.New("not yet") }}})
	err := r.Start(t.Context())
	if err == nil || err.Error() != "p is not ready after 20ms: not yet" {
		t.Errorf("error = %v", err)
	}
}

func TestKillAndStopOne(t *testing.T) {
	spec := program(t, "runs")
	spec.RestartAfter = time.Millisecond
	r, _ := runner(t, []Part{{Name: "p", Program: spec, About: "a program"}, {Name: "step"}})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := r.Status()[0]
	if first.PID == 0 || first.State != Ready || first.About != "a program" || first.LogFile != spec.LogFile {
		t.Errorf("status = %+v", first)
	}
	if err := r.Kill("p"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if s := r.Status()[0]; s.PID != 0 && s.PID != first.PID && s.Restarts == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status = %+v", r.Status()[0])
		}
	}
	for _, name := range []string{"step", "nobody"} {
		if err := r.Kill(name); err == nil || !strings.Contains(err.Error(), name+" is not a running program") {
			t.Errorf("kill %s: %v", name, err)
		}
	}
	r.StopOne(t.Context(), "p")
	r.StopOne(t.Context(), "nobody")
	if s := r.Status()[0]; s.PID != 0 {
		t.Errorf("status = %+v", s)
	}
}

func TestTail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for _, test := range []struct{ name, body, want string }{
		{"empty", "", ""},
		{"shorter", "a\nb\n", "a\nb"},
		{"longer", "a\nb\nc\nd\n", "b\nc\nd"},
		{"without an end", "a\nb\nc\nd", "b\nc\nd"},
		{"very long", strings.Repeat("x\n", 64<<10) + "y\n", "x\nx\ny"},
	} {
		if err := os.WriteFile(file, []byte(test.body), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := tail(file, 3); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if got := tail(file+".none", 3); !strings.Contains(got, "no such file") {
		t.Errorf("a log that is not there: %q", got)
	}
}
