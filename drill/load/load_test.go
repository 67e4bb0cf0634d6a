package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nines-ha/nines/record"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// journal keeps what a run tells.
type journal struct {
	mu       sync.Mutex
	requests []*record.Request
	seconds  []record.Second
}

func (j *journal) tell(r *record.Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests = append(j.requests, r)
}

func (j *journal) second(s record.Second) { j.seconds = append(j.seconds, s) }

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.requests)
}

// visits is a Traffic: writes in turn with reads.
type visits struct {
	mu    sync.Mutex
	calls map[int]int
	busy  map[int]bool // clients in a call
	wrong func(body []byte) bool
	clash bool
}

func (v *visits) enter(client int) (leave func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.busy == nil {
		v.busy, v.calls = map[int]bool{}, map[int]int{}
	}
	v.clash = v.clash || v.busy[client]
	v.busy[client] = true
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.busy[client] = false
	}
}

func (v *visits) Next(client int, out *Request) {
	defer v.enter(client)()
	v.mu.Lock()
	v.calls[client]++
	version := v.calls[client]
	v.mu.Unlock()
	if version%2 == 0 {
		*out = Request{Op: "read", Method: http.MethodGet, Path: fmt.Sprintf("/things/%d?a=b", client)}
		return
	}
	*out = Request{
		Op: "write", Method: http.MethodPost, Path: "/things", Type: "application/json", Body: fmt.Appendf(nil, `{"version":%d}`, version),
		Write: &record.Write{Entity: fmt.Sprint(client), Version: int64(version)},
	}
}

func (v *visits) Answered(client int, out *Request, status int, body []byte, told *record.Request) {
	defer v.enter(client)()
	if told.Write != nil && status < 300 {
		told.Write.Acknowledged = true
	}
	if v.wrong != nil && v.wrong(body) {
		told.Error, told.Detail = record.WrongAnswer, "not what was stored"
	}
}

// at is a Config of a load on a server at address, to be completed.
func at(address string, j *journal, rate float64, length time.Duration) Config {
	return Config{
		Host: address, Clients: 4, Deadline: 2 * time.Second, Connect: time.Second, Started: time.Now(), Seed: 7,
		Dial:     dialer(address),
		Schedule: Schedule{Arrivals: Constant, Stages: []Stage{{Rate: rate, Length: length}}},
		Traffic:  &visits{}, Tell: j.tell, Second: j.second,
	}
}

func dialer(address string) func(context.Context, int) (net.Conn, error) {
	return func(ctx context.Context, _ int) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

func mustRun(t *testing.T, c Config) Summary {
	t.Helper()
	s, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if s.Scheduled != s.Answered+s.Failed+s.NotSent {
		t.Errorf("the summary does not add up: %+v", s)
	}
	return s
}

func TestRunTellsEachRequest(t *testing.T) {
	var mu sync.Mutex
	got := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got[r.Header.Get("X-Request-Id")] = r.Method + " " + r.URL.String() + " " + r.Host
		mu.Unlock()
		header := w.Header()
		header.Set("X-Served-By-Pod", "vehicle-1")
		header.Set("X-Served-By-Node", "node-2")
		header.Set("X-Served-By-Zone", "3")
		header.Set("X-Served-By-Version", "v4")
		_, _ = w.Write([]byte("ok"))
	}))
	defer server.Close()
	var j journal
	c := at(server.Listener.Addr().String(), &j, 200, 500*time.Millisecond)
	traffic := c.Traffic.(*visits)
	s := mustRun(t, c)
	if s.Scheduled != 100 || s.Answered != 100 || len(j.requests) != 100 {
		t.Fatalf("100 are due: %+v, %d told", s, len(j.requests))
	}
	if traffic.clash {
		t.Error("the traffic was called twice at once for one client")
	}
	fresh := 0
	seen := map[string]bool{}
	for _, r := range j.requests {
		if seen[r.ID] {
			t.Errorf("%s is told twice", r.ID)
		}
		seen[r.ID] = true
		want := map[string]string{
			"write": "POST /things " + c.Host, "read": fmt.Sprintf("GET /things/%d?a=b %s", r.Client, c.Host),
		}[r.Op]
		if got[r.ID] != want {
			t.Errorf("the server got %q as %s, not %q", got[r.ID], r.ID, want)
		}
		if r.Pod != "vehicle-1" || r.Node != "node-2" || r.Zone != "3" || r.Version != "v4" {
			t.Errorf("served by %s %s %s %s", r.Pod, r.Node, r.Zone, r.Version)
		}
		if r.Op == "write" && !r.Write.Acknowledged {
			t.Errorf("%s: what the traffic adds is not told", r.ID)
		}
		if !slices.IsSorted([]time.Duration{r.Scheduled, r.Taken, r.Sent, r.First, r.Done}) || r.Scheduled <= 0 {
			t.Errorf("instants out of order: %+v", r)
		}
		if r.Status != 200 || r.Error != "" || r.Out < 50 || r.In < 100 || r.Conn == "" {
			t.Errorf("not whole: %+v", r)
		}
		if !r.Reused {
			fresh++
		}
	}
	if fresh != s.Opened || fresh < 4 {
		t.Errorf("%d requests on new connections, %d opened", fresh, s.Opened)
	}
	sum := 0
	for _, second := range j.seconds {
		sum += second.Scheduled
	}
	if sum != 100 {
		t.Errorf("the seconds hold %d requests, want 100", sum)
	}
}

func TestRunIsRepeatable(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	plan := func(seed uint64) string {
		var j journal
		c := at(server.Listener.Addr().String(), &j, 500, 200*time.Millisecond)
		c.Seed, c.Schedule.Arrivals = seed, Poisson
		mustRun(t, c)
		slices.SortFunc(j.requests, func(a, b *record.Request) int { return int(a.Scheduled - b.Scheduled) })
		type request struct {
			ID     string
			Client int
			At     time.Duration
		}
		plan := []request{}
		for _, r := range j.requests {
			plan = append(plan, request{r.ID, r.Client, r.Scheduled - j.requests[0].Scheduled})
		}
		text, _ := json.Marshal(plan)
		return string(text)
	}
	if a, b := plan(3), plan(3); a != b {
		t.Errorf("one seed, two plans:\n%s\n%s", a, b)
	}
	if plan(3) == plan(4) {
		t.Error("two seeds, one plan")
	}
}
