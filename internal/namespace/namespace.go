// Package namespace starts programs and opens sockets inside Linux namespaces
// that other processes hold. Call Of for the namespaces of a running process,
// then Start, Do or Dial on the Set. It needs CAP_SYS_ADMIN. It creates no
// namespaces except a network namespace through NewNet, and it never changes
// the namespaces of the calling process: the work is done on operating-system
// threads that end with it.
package namespace

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Set is some of the namespaces of one process; a nil file means the caller's own.
type Set struct {
	Net, Mount, PID, UTS, Cgroup, IPC *os.File
}

// Of opens the namespaces of the process pid.
func Of(pid int) (*Set, error) {
	set := &Set{}
	for _, ns := range set.kinds() {
		name := ns.name
		if name == "pid" {
			name = "pid_for_children" // the process itself may have moved its children only
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			set.Close()
			return nil, fmt.Errorf("namespaces of process %d: %w", pid, err)
		}
		*ns.file = f
	}
	return set, nil
}

type kind struct {
	name string
	flag int
	file **os.File
}

func (s *Set) kinds() []kind {
	return []kind{
		{"net", unix.CLONE_NEWNET, &s.Net},
		{"uts", unix.CLONE_NEWUTS, &s.UTS},
		{"ipc", unix.CLONE_NEWIPC, &s.IPC},
		{"cgroup", unix.CLONE_NEWCGROUP, &s.Cgroup},
		{"pid", unix.CLONE_NEWPID, &s.PID},
		{"mnt", unix.CLONE_NEWNS, &s.Mount}, // last: it changes what paths mean
	}
}

// Close releases the handles. The namespaces live on while a process is in them.
func (s *Set) Close() {
	for _, ns := range s.kinds() {
		if *ns.file != nil {
			(*ns.file).Close()
			*ns.file = nil
		}
	}
}

// Thread runs f on an operating-system thread of its own that ends with f, so
// that f may change what belongs to the thread alone. What f starts in other
// goroutines runs elsewhere.
func Thread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			// The main thread would not end but stay where f put it, with /proc/self
			// and the namespaces it is in. While it is held here f runs elsewhere.
			result <- Thread(f)
			runtime.UnlockOSThread()
			return
		}
		result <- f()
	}()
	return <-result
}

// Enter moves the calling thread into the namespaces of s. Call it inside Thread.
func (s *Set) Enter() error {
	if s.Mount != nil {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare file system attributes: %w", err)
		}
	}
	for _, ns := range s.kinds() {
		if *ns.file == nil {
			continue
		}
		if err := unix.Setns(int((*ns.file).Fd()), ns.flag); err != nil {
			return fmt.Errorf("enter %s namespace: %w", ns.name, err)
		}
	}
	return nil
}

// Do runs f on a thread that is inside the namespaces of s.
func (s *Set) Do(f func() error) error {
	return Thread(func() error {
		if err := s.Enter(); err != nil {
			return err
		}
		return f()
	})
}

// Dial connects to an address (an IP literal and port) from inside s.
func (s *Set) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := s.Do(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen opens a listening socket inside s.
func (s *Set) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	err := s.Do(func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// NewNet makes a network namespace. It lives as long as the returned handle,
// the processes in it, or the sockets opened in it.
func NewNet() (*Set, error) {
	var f *os.File
	err := Thread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		f, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Set{Net: f}, nil
}

// NewAttached is NewNet with its network connected by attach.
func NewAttached(attach func(*Set) error) (*Set, error) {
	set, err := NewNet()
	if err != nil {
		return nil, err
	}
	if err := attach(set); err != nil {
		set.Close()
		return nil, err
	}
	return set, nil
}

// Sysctl sets kernel parameters of the network namespace of s, by path below
// /proc/sys/net.
func (s *Set) Sysctl(values map[string]string) error {
	return s.Do(func() error {
		for path, value := range values {
			if err := os.WriteFile("/proc/sys/net/"+path, []byte(value), 0); err != nil {
				return fmt.Errorf("set net/%s to %s: %w", path, value, err)
			}
		}
		return nil
	})
}

// NetOf opens the network namespace alone of the process pid.
func NetOf(pid int) (*Set, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	return &Set{Net: f}, nil
}
