//go:build ground

package ground

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/nines-ha/nines/ground/engine"
)

func TestMain(m *testing.M) {
	if code, ok := Stage(os.Args[1:], os.Stderr); ok {
		os.Exit(code)
	}
	if text := os.Getenv(ownerVariable); text != "" {
		os.Exit(ownerMain(text))
	}
	os.Exit(m.Run())
}

// bring starts a ground in directories of the test's own, but with the machine's
// cache, and ends it with the test.
func bring(t *testing.T, config Config) *Client {
	t.Helper()
	return bringIn(t, newState(t), config)
}

// bringIn is bring in the directories of a ground that was, or was not yet.
func bringIn(t *testing.T, state string, config Config) *Client {
	t.Helper()
	config = withEngines(t, config)
	if config.Files == nil {
		config.Files = func(context.Context) (map[string][]File, error) { return nil, nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	owners := make(chan *Owner, 1)
	ended := make(chan error, 1)
	go func() { ended <- Up(ctx, config, func(o *Owner) { owners <- o }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the ground ended with %v", err)
		}
		log, err := os.ReadFile(state + "/nines/" + config.Name + "/logs/world.log")
		if err != nil || bytes.Contains(log, []byte("DATA RACE")) || bytes.Contains(log, []byte("panic: ")) {
			t.Errorf("the world's log, %v:\n%s", err, log)
		}
	})
	var owner *Owner
	select {
	case owner = <-owners:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	began := time.Now()
	for ready := false; !ready; {
		s := owner.Status(ctx) // as "nines up" does all the while
		select {
		case <-owner.Ready():
			ready = true
			t.Logf("ready in %s", time.Since(began).Round(time.Millisecond))
		case err := <-ended:
			ended <- nil
			logs, _ := os.ReadFile(state + "/nines/" + config.Name + "/logs/world.log")
			t.Fatalf("%v\nworld.log:\n%s", err, logs)
		case <-time.After(200 * time.Millisecond):
			if time.Since(began) < 2*time.Minute {
				continue
			}
			for _, p := range s.Parts {
				t.Log(p.Name, p.State)
			}
			t.Fatal("not ready in 2 minutes")
		}
	}
	client, err := Connect(config.Name)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newState gives the grounds of a test a state directory of their own.
func newState(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the ground's tests make machines and need root")
	}
	state, err := os.MkdirTemp("/var/tmp", "nines-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	t.Setenv("XDG_STATE_HOME", state)
	return state
}

func withEngines(t *testing.T, config Config) Config {
	t.Helper()
	var err error
	if config.Cache == "" {
		if config.Cache, err = engine.CacheDir(); err != nil {
			t.Fatal(err)
		}
	}
	if config.Engines, err = engine.Source(""); err != nil {
		t.Fatal(err)
	}
	return config
}

// eventually asks until the answer is nil, and fails the test with the last one.
func eventually(t *testing.T, within time.Duration, what string, ask func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := ask()
		if err == nil {
			t.Logf("%s after %s", what, time.Since(began).Round(10*time.Millisecond))
			return
		}
		if time.Since(began) > within {
			t.Fatalf("not within %s: %s: %v", within, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
