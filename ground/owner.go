package ground

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/world"
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

	making    sync.WaitGroup // images that the world has asked for
	life      context.Context
	endOfLife context.CancelFunc

	gitUp   chan struct{} // closed when the Git host answers
	gitOnce sync.Once

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
		gitUp: make(chan struct{}),
		parts: map[string]part.State{}, forwards: map[world.Frontend]*forward{},
		status: Status{Name: config.Name, Phase: "starting", PID: os.Getpid(), Since: time.Now(), Kubeconfig: h.kubeconfig(), Logs: h.logs(), Data: h.data()},
	}
	if config.Mesh {
		o.status.Mesh = mesh.Revision
	}
	if err := o.acquire(ctx); err != nil {
		return err
	}
	defer o.lock.Close()
	if err := h.room(); err != nil {
		return err
	}
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
	o.life, o.endOfLife = context.WithCancel(context.Background())
	defer o.making.Wait()
	defer o.endOfLife()
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

// Ready is closed when everything is.
func (o *Owner) Ready() <-chan struct{} { return o.up }

// Down asks for the end; Up then returns.
func (o *Owner) Down() { o.stopOnce.Do(func() { close(o.stop) }) }
