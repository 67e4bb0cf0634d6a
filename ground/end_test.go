//go:build ground

package ground

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func smallest(t *testing.T, name string) Config {
	return withEngines(t, Config{Name: name, Regions: []Region{{Name: "westeurope", Zones: 1, Nodes: 1}}, Stores: []string{"ledger"}})
}

// A Ctrl-C at any moment of the start ends everything and is no failure.
func TestInterruptAtAnyMoment(t *testing.T) {
	config, state, before := smallest(t, "interrupted"), newState(t), lookAtHost(t)
	for _, step := range []time.Duration{0, 50, 200, 500, 1000, 2000, 4000, 7000} {
		delay := step*time.Millisecond + rand.N(100*time.Millisecond+step*time.Millisecond/4)
		o := startOwner(t, state, config)
		if step > 0 {
			o.wait("watched", 30*time.Second) // before, a signal ends a program that owns nothing yet
			time.Sleep(delay)
		}
		o.footprint = takeFootprint(o.name, o.state)
		began := time.Now()
		o.signal(syscall.SIGINT)
		o.waitEnd(30 * time.Second)
		t.Logf("interrupted %s after it was watched: ended in %s", delay.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if code := o.cmd.ProcessState.ExitCode(); code != 0 && step > 0 {
			t.Errorf("interrupted after %s the owner ended with %d: %s", delay, code, o.err.String())
		}
		o.expectGone(t, fmt.Sprintf("an interrupt after %s", delay))
	}
	before.compare(t, "after all this", lookAtHost(t))
}

// kill -9 of the owner leaves nothing, at any moment; nor does a power loss that
// takes its guard too, once the next start has begun; and the data is there.
func TestKilledOwner(t *testing.T) {
	config, state, before := smallest(t, "killed"), newState(t), lookAtHost(t)
	for _, delay := range []time.Duration{0, 300 * time.Millisecond, 2500 * time.Millisecond} {
		o := startOwner(t, state, config)
		o.wait("watched", 30*time.Second)
		time.Sleep(delay)
		o.footprint = takeFootprint(o.name, o.state)
		o.signal(syscall.SIGKILL)
		o.waitEnd(10 * time.Second)
		o.expectGone(t, fmt.Sprintf("kill -9 of an owner that was up for %s", delay))
	}

	o := startOwner(t, state, config)
	o.wait("ready", 2*time.Minute)
	withLedger(t, config.Name, func(db *pgx.Conn) error {
		_, err := db.Exec(t.Context(), "create table note (text text); insert into note values ('written before')")
		return err
	})
	o.footprint = takeFootprint(o.name, o.state)
	if len(o.namespaces) < 8 || len(o.left()) == 0 {
		t.Errorf("a running ground has the namespaces %v and leaves %q: this test sees nothing", o.namespaces, o.left())
	}
	guards := o.guards()
	if len(guards) != 1 {
		t.Fatalf("guards = %v", guards)
	}
	pids := append([]int{o.cmd.Process.Pid, worldPID(o.name)}, guards...)
	for _, pid := range pids { // stopped first, so that none sees another end
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	o.waitEnd(10 * time.Second)
	lost := o.footprint
	if left := lost.left(); len(left) == 0 {
		t.Error("a power loss leaves nothing at all: this test proves nothing")
	}

	o = startOwner(t, state, config)
	o.wait("ready", 2*time.Minute)
	lost.namespaces, lost.name = withoutCurrent(lost.namespaces, takeFootprint(config.Name, state).namespaces), "none"
	for _, what := range lost.left() {
		if len(what) > 9 && what[:9] == "namespace" {
			t.Errorf("of the ground that lost power is left: %s", what)
		}
	}
	var text string
	withLedger(t, config.Name, func(db *pgx.Conn) error {
		return db.QueryRow(t.Context(), "select text from note").Scan(&text)
	})
	if text != "written before" {
		t.Errorf("the row reads %q", text)
	}
	client, err := Connect(config.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Freeze(t.Context(), "westeurope-1-1", true); err != nil {
		t.Fatal(err)
	}
	var running *RunningError
	if err := Up(t.Context(), config, nil); !errors.As(err, &running) || running.Status.PID != o.cmd.Process.Pid {
		t.Errorf("a second start gives %v", err)
	}
	if err := Clean(t.Context(), config.Name, true); err == nil {
		t.Error("a ground that runs is cleaned away")
	}
	o.footprint = takeFootprint(o.name, o.state)
	o.signal(syscall.SIGKILL)
	o.waitEnd(10 * time.Second)
	o.expectGone(t, "kill -9 of an owner whose ground was ready, with a node that hangs")
	before.compare(t, "after kill -9", lookAtHost(t))

	if err := Clean(t.Context(), config.Name, false); err != nil {
		t.Error(err)
	}
	data := filepath.Join(state, "nines", config.Name, "data", "stores", "ledger")
	if _, err := os.Stat(data); err != nil {
		t.Errorf("the data: %v", err)
	}
	if err := Clean(t.Context(), config.Name, true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a purge the data is still there: %v", err)
	}
}

func withoutCurrent(old, current map[string]bool) map[string]bool {
	gone := map[string]bool{}
	for ns := range old {
		if !current[ns] {
			gone[ns] = true
		}
	}
	return gone
}

// withLedger connects to the store as a pod does, with what its Secret says.
func withLedger(t *testing.T, name string, f func(*pgx.Conn) error) {
	t.Helper()
	client, err := Connect(name)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, client, "westeurope")
	secret, err := c.CoreV1().Secrets(name).Get(t.Context(), "store-ledger", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	value := func(key string) string { return string(secret.Data[key]) }
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=%s", value("host"), value("port"), value("username"), value("password"), value("database")))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(secret.Data["ca.crt"])
	config.TLSConfig, config.Fallbacks = &tls.Config{RootCAs: roots, ServerName: value("host")}, nil
	inside := backbone(t, name)
	defer inside.Close()
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"10.10.240.20"}, nil }
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return inside.Dial(ctx, network, address)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := f(conn); err != nil {
		t.Fatal(err)
	}
}
