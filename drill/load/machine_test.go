package load

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMachine(t *testing.T) {
	dir := t.TempDir()
	m := &machine{stat: filepath.Join(dir, "stat"), pressure: filepath.Join(dir, "pressure")}
	write := func(name, body string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	if busy, waiting := m.look(now); busy != 0 || waiting != 0 {
		t.Errorf("a kernel that tells nothing: busy %g, waiting %g", busy, waiting)
	}
	write(m.stat, "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n")
	write(m.pressure, "some avg10=0.00 avg60=0.00 avg300=0.39 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	m.look(now)
	write(m.stat, "cpu  160 0 100 720 110 5 5 0 90 0\ncpu0 1 2 3\n")
	write(m.pressure, "some avg10=0.00 avg60=0.00 avg300=0.39 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	busy, waiting := m.look(now.Add(2 * time.Second))
	if busy != 0.7 || waiting != 0.25 {
		t.Errorf("busy %g and waiting %g, want 0.7 and 0.25", busy, waiting)
	}
}

func FuzzMachine(f *testing.F) {
	f.Add([]byte("cpu  160 0 100 720 110 5 5 0 90 0\n"))
	f.Add([]byte("some avg10=0.00 total=1500000\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if busy, all, ok := parseStat(body); ok && (busy < 0 || busy > all) {
			t.Errorf("busy %g of %g", busy, all)
		}
		if waited, ok := parsePressure(body); ok && waited < 0 && len(body) < 40 {
			t.Errorf("waited %s", waited)
		}
	})
}
