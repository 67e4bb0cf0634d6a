package namespace

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("namespaces need root")
	}
}

func readLink(t *testing.T, path string) string {
	t.Helper()
	target, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// The main thread never ends. What f changes there would stay, and /proc/self,
// which is the main thread's, would show another world to the whole program.
func TestThreadIsNeverTheMainThread(t *testing.T) {
	for range 50 {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				_ = Thread(func() error {
					if unix.Gettid() == os.Getpid() {
						t.Error("f runs on the main thread")
					}
					time.Sleep(time.Millisecond) // hold the thread, so that others are needed
					return nil
				})
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

func TestThreadGivesTheError(t *testing.T) {
	want := errors.New("no")
	if err := Thread(func() error { return want }); err != want {
		t.Errorf("error = %v", err)
	}
}

func TestNetIsApart(t *testing.T) {
	needRoot(t)
	before := readLink(t, "/proc/self/ns/net")
	set, err := NewNet()
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if err := set.Do(func() error { return exec.Command("ip", "link", "set", "lo", "up").Run() }); err != nil {
		t.Skipf("iproute2 brings the loopback up here: %v", err)
	}
	l, err := set.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "inside")
			conn.Close()
		}
	}()
	if conn, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		conn.Close()
		t.Error("a listener inside is reached from outside")
	}
	conn, err := set.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if body, err := io.ReadAll(conn); err != nil || string(body) != "inside" {
		t.Errorf("read %q, %v", body, err)
	}
	if after := readLink(t, "/proc/self/ns/net"); after != before {
		t.Errorf("the program moved from %s to %s", before, after)
	}
}

func TestSysctlStaysInside(t *testing.T) {
	needRoot(t)
	const file = "/proc/sys/net/ipv4/conf/default/rp_filter"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewNet()
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	value := "2"
	if strings.TrimSpace(string(before)) == value {
		value = "1"
	}
	if err := set.Sysctl(map[string]string{"ipv4/conf/default/rp_filter": value}); err != nil {
		t.Fatal(err)
	}
	var inside []byte
	if err := set.Do(func() (err error) { inside, err = os.ReadFile(file); return err }); err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(inside)) != value {
		t.Errorf("inside it is %q, want %s", inside, value)
	}
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Errorf("outside it went from %q to %q", before, after)
	}
	if err := set.Sysctl(map[string]string{"none/such": "1"}); err == nil || !strings.Contains(err.Error(), "net/none/such") {
		t.Errorf("an unknown parameter gives %v", err)
	}
}

func TestOf(t *testing.T) {
	needRoot(t)
	child := exec.Command("sleep", "60")
	child.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWUTS, Pdeathsig: unix.SIGKILL}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	set, err := Of(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	outside := readLink(t, "/proc/self/ns/uts")
	var uts, network string
	err = set.Do(func() error {
		uts, network = readLink(t, "/proc/thread-self/ns/uts"), readLink(t, "/proc/thread-self/ns/net")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if uts == outside || network == readLink(t, "/proc/self/ns/net") {
		t.Errorf("inside are %s and %s, the caller's own", uts, network)
	}
}

func TestOfNobody(t *testing.T) {
	for _, open := range []func(int) (*Set, error){Of, NetOf} {
		if _, err := open(1 << 30); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error = %v", err)
		}
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	needRoot(t)
	set, err := NewNet()
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if conn, err := set.Dial(ctx, "tcp", "192.0.2.1:1"); err == nil {
		conn.Close()
		t.Error("a dial goes on after its context")
	}
}
