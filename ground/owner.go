package ground

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/postgres"
	"github.com/nines-ha/nines/ground/world"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
)

const (
	firstAPIPort   = 6443
	firstEntryPort = 8080
	regionPorts    = 100 // between the ways in of two regions
)

// Owner is a ground from outside, in the process that owns it.
type Owner struct {
	config Config
	home   home
	lock   *os.File
	guard  *guard
	log    *os.File

	child  *exec.Cmd // the world
	gone   chan struct{}
	input  *json.Encoder
	inputs sync.Mutex
	inside *namespace.Set
	api    []net.Listener

	stop     chan struct{} // closed when somebody wants the ground down
	stopOnce sync.Once

	mu       sync.Mutex
	status   Status
	parts    map[string]part.State
	up       chan struct{} // closed when all is ready
	failure  error
	forwards map[world.Frontend]*forward
	apis     []*forward
}

// Up brings a ground up and keeps it until ctx ends, Down is asked for through
// its control socket, or its world ends. watch, if any, gets the owner as soon as
// there is a status to look at. When Up returns nothing is left but data and logs.
// The error of a failed start names the part, its last words and what to do.
func Up(ctx context.Context, config Config, watch func(*Owner)) error {
	if err := config.spec(home{}, nil).Validate(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("a ground makes machines and needs root: run it with sudo")
	}
	h, err := homeOf(config.Name)
	if err != nil {
		return err
	}
	o := &Owner{
		config: config, home: h, stop: make(chan struct{}), up: make(chan struct{}), gone: make(chan struct{}),
		parts: map[string]part.State{}, forwards: map[world.Frontend]*forward{},
		status: Status{Name: config.Name, Phase: "starting", PID: os.Getpid(), Since: time.Now(), Kubeconfig: h.kubeconfig(), Logs: h.logs(), Data: h.data()},
	}
	if err := o.acquire(ctx); err != nil {
		return err
	}
	defer o.lock.Close()
	return o.own(ctx, watch)
}

// acquire takes the lock, or says who has it, and clears what an owner that died
// with its guard has left.
func (o *Owner) acquire(ctx context.Context) error {
	for _, dir := range []string{o.home.dir, o.home.logs(), o.home.data()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(o.home.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	o.lock = lock
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if client, err := Connect(o.config.Name); err == nil {
			if status, err := client.Status(ctx); err == nil {
				lock.Close()
				return &RunningError{status}
			}
		}
		if time.Now().After(deadline) {
			lock.Close()
			return fmt.Errorf("another process holds %s and does not answer; find it with \"fuser %s\"", o.home.lock(), o.home.lock())
		}
		select { // it is just starting or just ending
		case <-ctx.Done():
			lock.Close()
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := clean(o.config.Name); err != nil {
		lock.Close()
		return fmt.Errorf("clear what an earlier run left: %w", err)
	}
	return nil
}

func (o *Owner) own(ctx context.Context, watch func(*Owner)) (err error) {
	if err := os.MkdirAll(o.home.run(), 0o700); err != nil {
		return err
	}
	if o.log, err = os.OpenFile(filepath.Join(o.home.logs(), "world.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	defer o.log.Close()
	if o.guard, err = startGuard(o.config.Name, o.lock, o.log); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = errors.Join(err, o.guard.release(ctx))
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := o.startWorld(); err != nil {
		return err
	}
	defer o.endWorld()
	defer o.closeForwards()
	server, err := o.serveControl()
	if err != nil {
		return err
	}
	defer server.Close()
	if watch != nil {
		watch(o)
	}
	build, stopBuilding := context.WithCancel(ctx)
	defer stopBuilding()
	built := make(chan error, 1)
	go func() { built <- o.build(build) }()
	defer func() {
		stopBuilding()
		if built != nil {
			<-built
		}
	}()
	for {
		select {
		case <-ctx.Done():
			o.setPhase("stopping")
			return nil
		case <-o.stop:
			o.setPhase("stopping")
			return nil
		case err := <-built:
			built = nil
			if err != nil {
				return o.fail(err)
			}
		case <-o.gone:
			o.mu.Lock()
			failure := o.failure
			o.mu.Unlock()
			if failure == nil {
				failure = fmt.Errorf("the world ended by itself: %v; see %s", o.child.ProcessState, o.log.Name())
			}
			return o.fail(failure)
		}
	}
}

func (o *Owner) fail(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status.Phase, o.status.Ready, o.status.Failure = "failed", false, err.Error()
	return err
}

func (o *Owner) setPhase(phase string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status.Phase, o.status.Ready = phase, phase == "ready"
}

// build compiles and renders what the world waits for, and tells it of each.
func (o *Owner) build(ctx context.Context) error {
	builder := &engine.Builder{CacheDir: o.config.Cache, Source: o.config.Engines, Progress: o.progress}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return builder.Build(ctx, world.Engines()...)
	})
	if len(o.config.Stores) > 0 {
		group.Go(func() error {
			dir, err := builder.Root(ctx, postgres.RootName, postgres.RootPackages)
			if err != nil {
				return err
			}
			return o.send(world.Message{Ready: "root/" + postgres.RootName, Dir: dir})
		})
	}
	group.Go(func() error {
		files, err := o.config.Files(ctx)
		if err != nil {
			return err
		}
		for _, r := range o.config.Regions {
			if err := o.send(world.Message{Region: r.Name, Files: files[r.Name]}); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

func (o *Owner) progress(e engine.Event) {
	o.mu.Lock()
	s := EngineStatus{Name: e.Engine, Phase: string(e.Phase), Done: e.Done, Total: e.Total, Detail: e.Detail, Elapsed: e.Elapsed.Seconds()}
	found := false
	for i := range o.status.Engines {
		if o.status.Engines[i].Name == e.Engine {
			o.status.Engines[i], found = s, true
		}
	}
	if !found {
		o.status.Engines = append(o.status.Engines, s)
	}
	o.mu.Unlock()
	for _, name := range world.Engines() {
		if name == e.Engine && (e.Phase == engine.Cached || e.Phase == engine.Built) {
			_ = o.send(world.Message{Ready: "engine/" + name})
		}
	}
}

func (o *Owner) send(m world.Message) error {
	o.inputs.Lock()
	defer o.inputs.Unlock()
	if err := o.input.Encode(m); err != nil {
		return fmt.Errorf("tell the world: %w", err)
	}
	return nil
}

func (o *Owner) startWorld() error {
	var ports []int
	for i := range o.config.Regions {
		l, err := listenNear(firstAPIPort + i)
		if err != nil {
			return fmt.Errorf("listen for region %s: %w", o.config.Regions[i].Name, err)
		}
		o.api = append(o.api, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	spec := o.config.spec(o.home, ports)
	g, err := cgroup.Open(spec.Group)
	if err != nil {
		return err
	}
	system := g.Child("system")
	if err := system.Make(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	defer feed.Close()
	cmd := exec.Command(self, world.StageName)
	cmd.ExtraFiles = []*os.File{in}
	cmd.Stderr = o.log
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GOMEMLIMIT=512MiB")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // Ctrl-C is for the owner
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	err = cmd.Start()
	in.Close()
	if err != nil {
		return fmt.Errorf("start the world: %w", err)
	}
	o.child, o.input = cmd, json.NewEncoder(stdin)
	events := make(chan struct{})
	go func() { defer close(events); o.listen(stdout) }()
	go func() {
		<-events
		_ = cmd.Wait()
		close(o.gone)
	}()
	if err := system.Add(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	if o.inside, err = namespace.NetOf(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	for i := range o.config.Regions {
		o.apis = append(o.apis, newForward(o.api[i], o.inside, net.JoinHostPort(world.APIServerAddress(i), strconv.Itoa(firstAPIPort))))
	}
	return json.NewEncoder(feed).Encode(spec)
}

// listen follows the world's events until it ends.
func (o *Owner) listen(events io.Reader) {
	decoder := json.NewDecoder(events)
	for {
		var e world.Event
		if err := decoder.Decode(&e); err != nil {
			return
		}
		switch {
		case e.Part != nil:
			o.mu.Lock()
			o.parts[e.Part.Part] = e.Part.State
			o.mu.Unlock()
		case e.Frontends != nil:
			o.expose(*e.Frontends)
		case e.Err != "":
			o.mu.Lock()
			o.failure = errors.New(e.Err)
			o.mu.Unlock()
		case e.Up:
			o.becomeReady()
		}
	}
}

func (o *Owner) becomeReady() {
	body, err := os.ReadFile(o.home.world("").Kubeconfig())
	if err == nil {
		err = os.WriteFile(o.home.kubeconfig(), body, 0o600)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.failure = err
		return
	}
	o.status.Phase, o.status.Ready = "ready", true
	o.status.StartedIn = time.Since(o.status.Since).Seconds()
	close(o.up)
}

// expose opens a loopback port for each TCP port of each load balancer.
func (o *Owner) expose(now []world.Frontend) {
	o.mu.Lock()
	defer o.mu.Unlock()
	want := map[world.Frontend]bool{}
	for _, f := range now {
		if f.Protocol == "tcp" {
			want[f] = true
		}
	}
	for f, fw := range o.forwards {
		if !want[f] {
			fw.Close()
			delete(o.forwards, f)
		}
	}
	for _, f := range now {
		if !want[f] || o.forwards[f] != nil {
			continue
		}
		l, err := listenNear(firstEntryPort + o.regionIndex(f.Region)*regionPorts)
		if err != nil {
			fmt.Fprintf(o.log, "expose %s: %v\n", f.Service, err)
			continue
		}
		o.forwards[f] = newForward(l, o.inside, net.JoinHostPort(f.Address, strconv.Itoa(f.Port)))
	}
	o.status.Endpoints = nil
	for _, f := range now {
		if fw := o.forwards[f]; fw != nil {
			o.status.Endpoints = append(o.status.Endpoints, Endpoint{Region: f.Region, Service: f.Service, URL: "http://" + fw.listener.Addr().String()})
		}
	}
}

func (o *Owner) regionIndex(name string) int {
	for i, r := range o.config.Regions {
		if r.Name == name {
			return i
		}
	}
	return 0
}

func (o *Owner) closeForwards() {
	o.mu.Lock()
	forwards := o.apis
	for _, f := range o.forwards {
		forwards = append(forwards, f)
	}
	o.mu.Unlock()
	for _, f := range forwards {
		f.Close()
	}
}

// endWorld lets the stores write their last, then ends everything.
func (o *Owner) endWorld() {
	_ = o.send(world.Message{Stop: true})
	select {
	case <-o.gone:
	case <-time.After(25 * time.Second):
	}
	_ = o.child.Process.Kill()
	<-o.gone
	if o.inside != nil {
		o.inside.Close()
	}
}

// Ready is closed when everything is.
func (o *Owner) Ready() <-chan struct{} { return o.up }

// Down asks for the end; Up then returns.
func (o *Owner) Down() { o.stopOnce.Do(func() { close(o.stop) }) }
