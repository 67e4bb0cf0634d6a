package part

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestHalt(t *testing.T) {
	spec := program(t, "runs")
	spec.RestartAfter = time.Millisecond
	prepared, asked := 0, 0
	r, events := runner(t, []Part{{
		Name: "p", Program: spec,
		Prepare: func(context.Context) error { prepared++; return nil },
		Ready: func(context.Context) error {
			if asked++; asked%2 == 1 {
				return errors.New("not yet")
			}
			return nil
		},
	}, {Name: "step"}})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	status := func() Status {
		for _, s := range r.Status() {
			if s.Name == "p" {
				return s
			}
		}
		return Status{}
	}
	first := status()
	for range 2 { // the second time it is so already
		if err := r.Halt(t.Context(), "p", true); err != nil {
			t.Fatal(err)
		}
		if s := status(); s.PID != 0 || s.State != Stopped {
			t.Fatalf("halted: %+v", s)
		}
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(first.PID)); err == nil {
		t.Error("the program still runs")
	}
	if err := r.Kill("p"); err == nil {
		t.Error("a halted program was killed")
	}
	for range 2 {
		if err := r.Halt(t.Context(), "p", false); err != nil {
			t.Fatal(err)
		}
		if s := status(); s.PID == 0 || s.PID == first.PID || s.State != Ready {
			t.Fatalf("resumed: %+v", s)
		}
	}
	if prepared != 1 {
		t.Errorf("prepared %d times", prepared)
	}
	told := slices.DeleteFunc(events.read(), func(line string) bool { return strings.HasPrefix(line, "step") })
	if want := []string{"p starting", "p ready", "p stopped", "p starting", "p ready"}; !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
	for _, name := range []string{"step", "nobody"} {
		if err := r.Halt(t.Context(), name, true); err == nil || !strings.Contains(err.Error(), name+" is not a running program") {
			t.Errorf("halt %s: %v", name, err)
		}
	}
}

func TestHaltedIsNeverReadyAgain(t *testing.T) {
	spec := program(t, "runs")
	well := true
	r, _ := runner(t, []Part{{Name: "p", Program: spec, Within: 200 * time.Millisecond, Ready: func(context.Context) error {
		if well {
			return nil
		}
		return errors.New("refused")
	}}})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	well = false
	if err := r.Halt(t.Context(), "p", true); err != nil {
		t.Fatal(err)
	}
	err := r.Halt(t.Context(), "p", false)
	if err == nil || !strings.Contains(err.Error(), "p is not ready after 200ms: refused") {
		t.Errorf("error = %v", err)
	}
	if s := r.Status()[0]; s.State != Failed {
		t.Errorf("state is %s", s.State)
	}
}
