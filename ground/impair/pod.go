package impair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/internal/namespace"
)

const (
	startWait = 10 * time.Second // for a proxy to listen
	endWait   = 10 * time.Second // for one to end, longer than its drain
)

// A Pod is impaired from Start until Stop, or until it ends.
type Pod struct {
	what  Impairment
	net   *namespace.Set
	alive *os.File      // a process that lives as long as the pod
	gone  chan struct{} // closed when it has ended
	over  chan struct{} // closed when nobody waits for that any more
	wg    sync.WaitGroup

	proxy *exec.Cmd // nil: no request is touched
	hold  io.Closer // its standard input
	ended chan struct{}

	stop    sync.Once
	stopped error

	mu     sync.Mutex
	asked  bool // to end
	status Status
}

// Start impairs the pod whose network namespace process pid is in, and returns
// when it is so for every connection. When that process ends, so does the
// impairment. log hears what a proxy says at a bad end.
func Start(ctx context.Context, pid int, what Impairment, log *os.File) (*Pod, error) {
	if err := what.Validate(); err != nil {
		return nil, err
	}
	p := &Pod{what: what, gone: make(chan struct{}), over: make(chan struct{})}
	if err := p.open(pid); err != nil {
		return nil, what.refuse("%w", err)
	}
	if err := p.start(ctx, log); err != nil {
		return nil, errors.Join(what.refuse("%w", err), p.Stop(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// open takes hold of the pod. The process first: a number may be another one's
// by the time it is used.
func (p *Pod) open(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("hold process %d: %w", pid, err)
	}
	p.alive = os.NewFile(uintptr(fd), "pidfd")
	if p.net, err = namespace.NetOf(pid); err != nil {
		p.alive.Close()
		return err
	}
	p.wg.Go(p.watch)
	return nil
}

// watch ends everything when the pod has ended: a proxy would keep the network of
// a pod that is no more. A pidfd is readable when its process has ended.
func (p *Pod) watch() {
	defer close(p.over)
	raw, err := p.alive.SyscallConn()
	if err != nil {
		return
	}
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
	if err == nil {
		close(p.gone)
	}
}

func (p *Pod) start(ctx context.Context, log *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	var port uint16
	if p.what.Port != 0 {
		var err error
		if port, err = p.launch(ctx, log); err != nil {
			return fmt.Errorf("start its proxy: %w", err)
		}
	}
	if err := load(ctx, p.net, ruleset(p.what, port)); err != nil {
		return err
	}
	p.mu.Lock()
	p.status.Since = time.Now()
	p.mu.Unlock()
	if p.what.Port == 0 {
		return nil
	}
	return reset(p.net, p.what.Port)
}

// launch starts the proxy and says where it listens.
func (p *Pod) launch(ctx context.Context, log *os.File) (port uint16, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(p.what)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, StageName)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if log != nil {
		cmd.Stderr = log
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := p.net.Do(cmd.Start); err != nil {
		return 0, err
	}
	p.proxy, p.hold, p.ended = cmd, in, make(chan struct{})
	first := make(chan word, 1)
	p.wg.Go(func() { p.hear(out, first) })
	if _, err := in.Write(text); err != nil {
		return 0, err
	}
	select {
	case w, ok := <-first:
		switch {
		case !ok:
			return 0, errors.New("it ended before it was ready")
		case w.Err != "":
			return 0, errors.New(w.Err)
		}
		return w.Port, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("it is not ready: %w", context.Cause(ctx))
	}
}

// hear takes in what the proxy tells until it ends.
func (p *Pod) hear(out io.Reader, first chan<- word) {
	defer close(p.ended)
	var trouble string
	heard := false
	for lines := json.NewDecoder(out); ; {
		var w word
		if lines.Decode(&w) != nil {
			break
		}
		if !heard {
			heard = true
			first <- w
			continue
		}
		p.mu.Lock()
		if w.Requests > 0 {
			p.status.Requests, p.status.Last = w.Requests, w.Last
		}
		p.mu.Unlock()
		trouble = w.Err
	}
	close(first)
	err := p.proxy.Wait()
	if trouble == "" && err != nil {
		trouble = err.Error()
	}
	if trouble == "" {
		trouble = "it ended"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked {
		p.status.Trouble = "the proxy: " + trouble
	}
}

// Over is closed when the pod has ended or is mended. Stop is to be called all the
// same.
func (p *Pod) Over() <-chan struct{} { return p.over }

// Status answers at once.
func (p *Pod) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Stop makes the pod well and returns when nothing is left of the impairment.
// Requests that have begun get their answers, without further delay. A pod that
// has ended is well. It may be called more than once.
func (p *Pod) Stop(ctx context.Context) error {
	p.stop.Do(func() { p.stopped = p.end(ctx) })
	return p.stopped
}

func (p *Pod) end(ctx context.Context) error {
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	// First of all, so that new connections find a service and no closed port.
	err := p.rule(ctx, release)
	if p.proxy != nil {
		p.hold.Close()
		timer := time.NewTimer(endWait)
		defer timer.Stop()
		select {
		case <-p.ended:
		case <-p.gone:
			_ = p.proxy.Process.Kill()
		case <-timer.C:
			_ = p.proxy.Process.Kill()
		case <-ctx.Done():
			_ = p.proxy.Process.Kill()
		}
		<-p.ended
	}
	err = errors.Join(err, p.rule(ctx, erasure))
	p.alive.Close() // which ends watch
	p.wg.Wait()
	p.net.Close()
	if err != nil {
		return p.what.mendError(err)
	}
	return nil
}

func (p *Pod) rule(ctx context.Context, script string) error {
	select {
	case <-p.gone:
		return nil
	default:
		return load(ctx, p.net, script)
	}
}

func (i Impairment) mendError(err error) error {
	return fmt.Errorf("mend pod %s/%s: %w", i.Namespace, i.Pod, err)
}
