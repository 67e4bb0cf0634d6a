package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A pace lets its one user sleep.
type pace interface {
	sleep(ctx context.Context, d time.Duration) error
	close()
}

// timer is a pace that is exact to the kernel's fifty microseconds. time.Sleep
// wakes at whole milliseconds of epoll, which is too coarse for latencies that
// count from the scheduled time.
type timer struct {
	file   *os.File
	number int
	raw    syscall.RawConn
	forget func() bool // that ctx wakes it

	mu    sync.Mutex
	ended bool
}

func newTimer(ctx context.Context) (*timer, error) {
	number, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	t := &timer{file: os.NewFile(uintptr(number), "timer"), number: number}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the timer: %w", err), t.file.Close())
	}
	t.forget = context.AfterFunc(ctx, t.wake)
	return t, nil
}

// wake ends the sleep that is under way, and all later ones.
func (t *timer) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.ended = true
		_ = t.set(1)
	}
}

func (t *timer) set(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	// Raw for the reason that wire gives.
	if _, _, errno := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(t.number), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func (t *timer) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	// The timer is set when the poller looks out for it, so that its ring is not
	// missed, and never read: setting it anew stops its ringing.
	armed := false
	var failure error
	err := t.raw.Read(func(uintptr) (done bool) {
		if armed {
			return true
		}
		armed = true
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.ended {
			return true
		}
		failure = t.set(d)
		return failure != nil
	})
	if err = errors.Join(err, failure); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for the timer: %w", err)
	}
	return context.Cause(ctx)
}

func (t *timer) close() {
	t.forget()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	_ = t.file.Close()
}
