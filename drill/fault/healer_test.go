package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/world"
)

// fakeGround answers on a control socket as a ground does, and keeps the orders.
type fakeGround struct {
	access Access
	server *http.Server

	mu     sync.Mutex
	state  world.Status
	orders []string
	refuse int // so many orders
}

const kubeconfig = `{apiVersion: v1, kind: Config, current-context: here,
clusters: [{name: here, cluster: {server: "http://127.0.0.1:1"}}],
users: [{name: here, user: {}}], contexts: [{name: here, context: {cluster: here, user: here}}]}`

func newFakeGround(t *testing.T) *fakeGround {
	t.Helper()
	state, err := os.MkdirTemp("", "fault-") // t.TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	t.Setenv("XDG_STATE_HOME", state)
	home := filepath.Join(state, "nines", "sham")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(home, "kubeconfig")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &fakeGround{access: Access{Ground: "sham", Kubeconfig: file}, state: world.Status{
		Parts: []part.Status{{Name: "here/apiserver", State: part.Stopped}},
		Regions: []world.RegionStatus{{Name: "here", CutZones: []int{2}, Nodes: []world.NodeStatus{
			{Name: "off", State: "stopped"}, {Name: "hung", State: "frozen"}, {Name: "unplugged", State: "running", Cut: true},
			{Name: "well", State: "running"},
		}, Impaired: []world.ImpairedStatus{{Namespace: "fleet", Pod: "ill"}}}},
		Stores: []world.StoreStatus{{Name: "ledger", Suspended: true}},
		Git:    &world.GitStatus{Part: "here/git", Suspended: true},
	}}
	l, err := net.Listen("unix", filepath.Join(home, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: time.Second}
	served := make(chan struct{})
	go func() { defer close(served); _ = g.server.Serve(l) }()
	t.Cleanup(func() { g.server.Close(); <-served })
	return g
}

func (g *fakeGround) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method == http.MethodGet {
		_ = json.NewEncoder(w).Encode(ground.Status{Name: "sham", Ready: true, Status: g.state})
		return
	}
	if g.refuse > 0 {
		g.refuse--
		http.Error(w, "not now", http.StatusInternalServerError)
		return
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	g.orders = append(g.orders, strings.TrimPrefix(r.URL.Path, "/world")+" "+string(bytes.TrimSpace(body)))
	g.state = world.Status{Regions: []world.RegionStatus{{Name: "here"}}} // all is well
}

func (g *fakeGround) did() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.orders)
}

func quiet(t *testing.T, a Access) *mender {
	t.Helper()
	m, err := newMender(a, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSteps(t *testing.T) {
	for _, test := range []struct {
		heal Heal
		want string // "" where nothing is to undo
	}{
		{Heal{Do: "power", Node: "off"}, `/nodes/off/power {"do":true}`},
		{Heal{Do: "power", Node: "well"}, ""},
		{Heal{Do: "power", Node: "hung"}, ""},
		{Heal{Do: "thaw", Node: "hung"}, `/nodes/hung/freeze {"do":false}`},
		{Heal{Do: "thaw", Node: "off"}, ""},
		{Heal{Do: "plug", Node: "unplugged"}, `/nodes/unplugged/link {"do":true}`},
		{Heal{Do: "plug", Node: "well"}, ""},
		{Heal{Do: "join", Region: "here", Zone: 2}, `/zones/here/2/link {"do":true}`},
		{Heal{Do: "join", Region: "here", Zone: 1}, ""},
		{Heal{Do: "join", Region: "there", Zone: 2}, ""},
		{Heal{Do: "start", Part: "here/apiserver"}, `/halt/here/apiserver {"do":false}`},
		{Heal{Do: "start", Part: "here/etcd"}, ""},
		{Heal{Do: "resume", Part: "here/ledger"}, `/suspend/here/ledger {"do":false}`},
		{Heal{Do: "resume", Part: "here/git"}, `/suspend/here/git {"do":false}`},
		{Heal{Do: "resume", Part: "here/other"}, ""},
		{Heal{Do: "mend", Region: "here", Namespace: "fleet", Name: "ill"}, "/mend/here/fleet/ill "},
		{Heal{Do: "apply", Region: "here", Files: []ground.File{{Path: "a"}}}, `/files/here [{"path":"a","body":null}]`},
	} {
		t.Run(test.heal.Do+" "+test.heal.target(), func(t *testing.T) {
			g := newFakeGround(t)
			changed, err := quiet(t, g.access).step(t.Context(), test.heal)
			if err != nil || changed != (test.want != "") {
				t.Errorf("%t, %v", changed, err)
			}
			if got := strings.Join(g.did(), "\n"); !strings.EqualFold(got, test.want) {
				t.Errorf("orders %q, want %q", got, test.want)
			}
			if s := test.heal.String(); !strings.Contains(s, " ") {
				t.Errorf("in words: %q", s)
			}
		})
	}
	g := newFakeGround(t) // what is only being made unwell is not told yet
	if changed, err := quiet(t, g.access).step(t.Context(), Heal{Do: "mend", Region: "here", Namespace: "fleet", Name: "other"}); changed || err != nil || len(g.did()) != 1 {
		t.Errorf("%t, %v, orders %q", changed, err, g.did())
	}
	if _, err := (&mender{}).step(t.Context(), Heal{Do: "sing"}); err == nil {
		t.Error("it can sing")
	}
}

var powerOff = []Heal{{Do: "power", Node: "off"}}

func TestHealer(t *testing.T) {
	g := newFakeGround(t)
	h, err := StartHealer(t.Context(), g.access, powerOff)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	if id, _ := unix.Getsid(h.cmd.Process.Pid); id != h.cmd.Process.Pid {
		t.Errorf("its session is %d", id)
	}
	if arguments, err := os.ReadFile("/proc/" + strconv.Itoa(h.cmd.Process.Pid) + "/cmdline"); err != nil || bytes.Count(arguments, []byte{0}) != 2 {
		t.Errorf("arguments %q, %v", arguments, err)
	}
	if len(g.did()) != 0 {
		t.Errorf("it did %q unasked", g.did())
	}
	if err := unlocked(g.access); err == nil {
		t.Error("it has no lock")
	}
	_ = h.cmd.Process.Signal(syscall.SIGTERM) // of no avail
	var l told
	h.Tell = l.tell
	for range 2 {
		if err := h.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := g.did(); len(got) != 1 || l.read() != "off undone" {
		t.Errorf("orders %q, told %q", got, l.read())
	}
	h.Release()
	h.Release()
	if err := unlocked(g.access); err != nil {
		t.Error(err)
	}
}

func TestReleaseHealsNothing(t *testing.T) {
	g := newFakeGround(t)
	h, err := StartHealer(t.Context(), g.access, powerOff)
	if err != nil {
		t.Fatal(err)
	}
	h.Release()
	if got := g.did(); len(got) != 0 {
		t.Errorf("orders %q", got)
	}
}

func TestKilledDrillIsHealed(t *testing.T) {
	g := newFakeGround(t)
	g.refuse = 2 // it tries again
	killedDrill(t, drillPlan{Access: g.access, Heals: powerOff})
	eventually(t, 20*time.Second, "it is healed", func() error {
		if len(g.did()) == 0 {
			return errors.New("no order yet")
		}
		return unlocked(g.access)
	})
	if got := g.did(); !slices.Equal(got, []string{`/nodes/off/power {"do":true}`}) {
		t.Errorf("orders %q", got)
	}
	logs, err := ground.Logs("sham")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(logs, "healer.log"))
	if err != nil || !bytes.Contains(text, []byte("not now")) || !bytes.Contains(text, []byte("give node off its power back")) {
		t.Errorf("log: %v\n%s", err, text)
	}
}

// What is broken after the order to heal was given is healed too.
func TestKilledInTheMiddle(t *testing.T) {
	g := newFakeGround(t)
	g.state.Regions[0].Nodes[0].State = "running" // the order to cut is on its way
	m := quiet(t, g.access)
	mended := make(chan error, 1)
	go func() {
		mended <- m.mend(t.Context(), powerOff, time.Second, (&told{}).tell)
	}()
	g.mu.Lock()
	g.state.Regions[0].Nodes[0].State = "stopped"
	g.mu.Unlock()
	if err := <-mended; err != nil || len(g.did()) != 1 {
		t.Errorf("%v, orders %q", err, g.did())
	}
}

func TestGroundThatIsGoneIsHealed(t *testing.T) {
	g := newFakeGround(t)
	h, err := StartHealer(t.Context(), g.access, append(powerOff, Heal{Do: "uncordon", Node: "off"}))
	if err != nil {
		t.Fatal(err)
	}
	g.server.Close()
	defer h.Release()
	if err := h.Heal(t.Context()); err != nil {
		t.Error(err)
	}
}

// A healer that was killed is no excuse.
func TestHealsWithoutHealer(t *testing.T) {
	g := newFakeGround(t)
	h, err := StartHealer(t.Context(), g.access, powerOff)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	_ = h.cmd.Process.Kill()
	<-h.ended
	if err := h.Heal(t.Context()); err != nil || len(g.did()) != 1 {
		t.Errorf("%v, orders %q", err, g.did())
	}
}

// A Heal that is cut short leaves the healer to its work.
func TestHealCutShort(t *testing.T) {
	g := newFakeGround(t)
	h, err := StartHealer(t.Context(), g.access, powerOff)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Heal(ctx); err == nil || !strings.Contains(err.Error(), "goes on by itself") {
		t.Errorf("error = %v", err)
	}
	h.Release()
	for range h.replies {
	}
	<-h.ended
	if len(g.did()) != 1 {
		t.Errorf("orders %q", g.did())
	}
}

func TestNothingToHeal(t *testing.T) {
	h, err := StartHealer(t.Context(), Access{Ground: "nobody"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Heal(t.Context()); err != nil {
		t.Error(err)
	}
	h.Release()
}

func TestHealerThatCannotHeal(t *testing.T) {
	g := newFakeGround(t)
	g.access.Kubeconfig += ".none"
	if _, err := StartHealer(t.Context(), g.access, powerOff); err == nil || !strings.Contains(err.Error(), "kubeconfig") {
		t.Errorf("error = %v", err)
	}
}

func TestLock(t *testing.T) {
	g := newFakeGround(t)
	s := &Site{Access: g.access}
	release, err := Lock(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(s); err == nil || !strings.Contains(err.Error(), "a drill is at work there (process ") {
		t.Errorf("a second drill: %v", err)
	}
	release()
	heal, err := lockHeal(g.access)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(s); err == nil || !strings.Contains(err.Error(), "what heals after a drill that was interrupted is at work") {
		t.Errorf("beside a healer: %v", err)
	}
	another, err := lockHeal(g.access)
	if err != nil {
		t.Errorf("a second healer of the same process: %v", err)
	} else {
		another()
	}
	heal()
	elsewhere := &Site{Access: Access{Kubeconfig: g.access.Kubeconfig}}
	for range 2 {
		here, err := Lock(s)
		if err != nil {
			t.Fatal(err)
		}
		there, err := Lock(elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		here()
		there()
	}
}

func TestStageIsForHealersAlone(t *testing.T) {
	for _, args := range [][]string{nil, {"drill"}, {"stage-node"}} {
		if _, ok := Stage(args, io.Discard); ok {
			t.Errorf("%q is a stage", args)
		}
	}
}

func TestBounded(t *testing.T) {
	var b bytes.Buffer
	w := &bounded{&b, 5}
	for _, text := range []string{"abc", "defg", "h"} {
		_, _ = w.Write([]byte(text))
	}
	if b.String() != "abc" {
		t.Errorf("wrote %q", b.String())
	}
}
