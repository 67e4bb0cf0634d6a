//go:build ground

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/record"
)

// program is the real thing, built once, with a state directory of its own.
type program struct {
	path, dir, file string
}

func build(t *testing.T) program {
	t.Helper()
	return buildFor(t, "fleet", "name: fleet\n", "name: drilled\n")
}

// buildFor takes the description of an example, with changes to its text.
func buildFor(t *testing.T, example string, changes ...string) program {
	t.Helper()
	p := program{dir: t.TempDir()}
	p.path = filepath.Join(p.dir, "nines")
	if out, err := exec.Command("go", "build", "-o", p.path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	body, err := os.ReadFile(filepath.Join("../../examples", example, "nines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	vehicle, err := filepath.Rel(p.dir, filepath.Join(root, "fleet", "vehicle"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(body)
	for pair := range slices.Chunk(append(changes, "../../fleet/vehicle", vehicle), 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("the description of %s has no %q", example, pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	p.file = filepath.Join(p.dir, "nines.yaml")
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p program) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.path, append(args, "-f", p.file)...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(p.dir, "state"))
	return cmd
}

// run gives the answer and the exit code.
func (p program) run(t *testing.T, within time.Duration, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := p.command(ctx, args...)
	var out, story bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &story
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		t.Logf("nines %s: exit %d\n%s%s", strings.Join(args, " "), code, story.String(), out.String())
		return out.String(), code
	}
	t.Fatalf("nines %s: %v\n%s", strings.Join(args, " "), err, story.String())
	return "", -1
}

func verdicts(t *testing.T, text string) []claim.Verdict {
	t.Helper()
	var all []claim.Verdict
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return all
}

// The machine of a test is shared, so what is asked here is what no lack of CPU
// can change: that every request is accounted for, that no write is lost, that
// what must be refuted is, and that everything is mended.
func TestDrills(t *testing.T) {
	p := build(t)
	defer p.run(t, time.Minute, "down", "--purge")
	if _, code := p.run(t, 10*time.Minute, "up", "--detach", "--engines", "../../engines"); code != 0 {
		t.Fatal("the ground does not start")
	}
	t.Run("suite", func(t *testing.T) {
		drills := "pod-kill,gray-pod,apiserver-loss,node-loss,database-restart,identity-probe"
		text, _ := p.run(t, 12*time.Minute, "drill", "suite", "--quick", "--json", "--only", drills)
		all := verdicts(t, text)
		if len(all) != 6 {
			t.Fatalf("%d verdicts", len(all))
		}
		for _, v := range all {
			sum := 0
			for _, a := range v.Attribution {
				sum += a.Count
			}
			if sum != v.Requests.RunFailed+v.Requests.RunSlow {
				t.Errorf("%s: %d attributed, %d failed and %d slow", v.Drill, sum, v.Requests.RunFailed, v.Requests.RunSlow)
			}
			if w := v.Writes; !w.Checked || w.Acknowledged == 0 || w.Lost+w.Doubled+w.Changed+w.Strange > 0 {
				t.Errorf("%s: writes %+v", v.Drill, w)
			}
			if v.StaleReads > 0 {
				t.Errorf("%s: %d stale reads", v.Drill, v.StaleReads)
			}
			if !v.Mesh {
				t.Errorf("%s: the verdict says that there is no mesh", v.Drill)
			}
			if v.Drill == "identity-probe" && (len(v.Probes) == 0 || slices.ContainsFunc(v.Probes, func(p claim.Probe) bool { return p.State == record.Admitted })) {
				t.Errorf("%s: %+v", v.Drill, v.Probes)
			}
		}
	})
	t.Run("twin", func(t *testing.T) {
		text, _ := p.run(t, 12*time.Minute, "drill", "--prove", "memory-only", "--quick", "--json")
		var got struct{ Good, Bad claim.Verdict }
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if got.Good.Writes.Lost != 0 || got.Bad.Writes.Lost == 0 || got.Bad.Verdict != claim.Refuted {
			t.Errorf("good lost %d, twin lost %d and is %s", got.Good.Writes.Lost, got.Bad.Writes.Lost, got.Bad.Verdict)
		}
	})
	t.Run("traces", func(t *testing.T) {
		text, _ := p.run(t, 6*time.Minute, "drill", "tracing", "--quick", "--json")
		var v claim.Verdict
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		for _, c := range v.Claims {
			if c.Name == "traced" && c.Outcome == claim.Refuted {
				t.Errorf("traced: %s", c.Got)
			}
		}
	})
	t.Run("killed", func(t *testing.T) { killed(t, p) })
}

// killed is a drill that dies while a node is without power.
func killed(t *testing.T, p program) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := p.command(ctx, "drill", "node-loss", "--quick")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(ctx, t, "a node without power", func() bool { return strings.Contains(p.nodes(ctx, t), `"stopped"`) })
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitFor(ctx, t, "the power back", func() bool { return !strings.Contains(p.nodes(ctx, t), `"stopped"`) })
}

func (p program) nodes(ctx context.Context, t *testing.T) string {
	out, err := p.command(ctx, "status", "--json").Output()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return string(out)
}

func waitFor(ctx context.Context, t *testing.T, what string, so func() bool) {
	t.Helper()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("there is never %s", what)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
