//go:build ground

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nines-ha/nines/ground"
)

// asked sends a steady load to the way in of a ground, and counts what comes back.
type asked struct{ good, bad, none atomic.Int64 }

// ask goes on until stop is called. It is a load to judge by, and none that a slow
// machine could not bear.
func ask(t *testing.T, url string) (counts *asked, stop func()) {
	t.Helper()
	const perSecond = 80
	ctx, cancel := context.WithCancel(t.Context())
	counts = &asked{}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: perSecond, MaxConnsPerHost: 2 * perSecond}}
	var all sync.WaitGroup
	one := func() {
		resp, err := client.Get(url + "/openapi.json")
		if err != nil {
			counts.none.Add(1)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			counts.good.Add(1)
		} else {
			counts.bad.Add(1)
		}
	}
	all.Go(func() {
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				all.Go(one)
			}
		}
	})
	return counts, func() {
		cancel()
		all.Wait()
		client.CloseIdleConnections()
		t.Logf("%d answered well, %d not, %d not at all", counts.good.Load(), counts.bad.Load(), counts.none.Load())
	}
}

// A release by Git alone: what is good takes over, what fails is taken back by what
// its callers saw, and Git can take back what it says. The limits are wide, so that
// a lack of CPU decides nothing.
func TestDelivery(t *testing.T) {
	p := buildFor(t, "delivery", "name: delivery\n", "name: delivered\n",
		"limits: {requests: 64, pending: 64}", "limits: {requests: 200, pending: 200}",
		"hold: 10s, deadline: 1m}", "hold: 10s, deadline: 3m, success: 98%, p99: 5s}")
	defer p.run(t, time.Minute, "down", "--purge")
	if _, code := p.run(t, 10*time.Minute, "up", "--detach", "--engines", "../../engines"); code != 0 {
		t.Fatal("the ground does not start")
	}
	text, _ := p.run(t, time.Minute, "status", "--json")
	var status ground.Status
	if err := json.Unmarshal([]byte(text), &status); err != nil || len(status.Endpoints) == 0 || status.Git == nil {
		t.Fatalf("%v in %s", err, text)
	}
	counts, stop := ask(t, status.Endpoints[0].URL)
	defer stop()

	if _, code := p.run(t, 6*time.Minute, "deploy", "vehicle", "--source", "../../fleet/twin/patient", "-m", "another one that is as good"); code != 0 {
		t.Errorf("a good release: exit %d", code)
	}
	before := counts.bad.Load() + counts.good.Load()
	failed := counts.bad.Load()
	out, code := p.run(t, 6*time.Minute, "deploy", "vehicle", "--source", "../../fleet/twin/failing", "--json")
	if code != exitNo || !strings.Contains(out, `"aborted"`) {
		t.Errorf("a release that fails one request in twenty: exit %d", code)
	}
	// One in twenty of two tenths is one in a hundred, of the time that it was asked.
	if n, all := counts.bad.Load()-failed, counts.bad.Load()+counts.good.Load()-before; n == 0 || n > all/50 {
		t.Errorf("%d of %d requests met the mistake", n, all)
	}
	if _, code := p.run(t, 6*time.Minute, "rollback", "vehicle"); code != 0 {
		t.Errorf("take it back: exit %d", code)
	}
	if _, code := p.run(t, time.Minute, "apply"); code == 0 {
		t.Error("something else than Git was let in")
	}
	dir := t.TempDir()
	os.Unsetenv("GIT_SSL_CAINFO") // of this machine, which git prefers to the clone's
	if _, code := p.run(t, time.Minute, "git", "clone", dir+"/platform"); code != 0 {
		t.Errorf("clone: exit %d", code)
	}
}
