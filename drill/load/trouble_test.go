package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nines-ha/nines/record"
)

// misbehave serves each connection with a function, and gives its address.
func misbehave(t *testing.T, serve func(conn *net.TCPConn, in *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn), bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// hear reads a request's head, and its body if the head says how long it is.
func hear(in *bufio.Reader) bool {
	request, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = in.Discard(int(max(request.ContentLength, 0)))
	return err == nil
}

// await polls until a condition holds.
func await(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("it did not come to that")
			return
		}
	}
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

const good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestRunTellsTroubleApart(t *testing.T) {
	const deadline = 300 * time.Millisecond
	for name, test := range map[string]struct {
		serve  func(conn *net.TCPConn, in *bufio.Reader)
		class  record.Class
		status int
		detail string
		sent   bool
		first  bool
		late   bool // done at the deadline
	}{
		"reset in the answer": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
				reset(conn)
			},
			class: record.Reset, detail: "reset", sent: true, first: true,
		},
		"reset before the answer": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) { hear(in); reset(conn) },
			class: record.Reset, detail: "reset", sent: true,
		},
		"closed before the answer": {
			serve: func(_ *net.TCPConn, in *bufio.Reader) { hear(in) },
			class: record.Closed, detail: "EOF", sent: true,
		},
		"closed in the head": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Le"))
			},
			class: record.Closed, detail: "EOF", sent: true, first: true,
		},
		"closed in the body": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"))
			},
			class: record.Closed, detail: "EOF", sent: true, first: true,
		},
		"silence": {
			serve: func(_ *net.TCPConn, in *bufio.Reader) { hear(in); _, _ = in.ReadByte() },
			class: record.Timeout, detail: "timeout", sent: true, late: true,
		},
		"silence after the head": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
				_, _ = in.ReadByte()
			},
			class: record.Timeout, detail: "timeout", sent: true, first: true, late: true,
		},
		"another protocol": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte("220 mail.example ESMTP\r\n\r\n"))
				_, _ = in.ReadByte()
			},
			class: record.Malformed, sent: true, first: true,
		},
		"no number of bytes": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"))
				_, _ = in.ReadByte()
			},
			class: record.Malformed, sent: true, first: true,
		},
		"a body without end": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n"))
				_, _ = conn.Write(make([]byte, mostBody+1))
				_, _ = in.ReadByte()
			},
			class: record.Malformed, sent: true, first: true,
		},
		"a problem": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				for hear(in) {
					body := `{"title":"Service Unavailable","detail":"the store is\ndown` + strings.Repeat("é", 200) + `"}`
					_, _ = fmt.Fprintf(conn, "HTTP/1.1 503 No\r\nContent-Type: application/problem+json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				}
			},
			status: 503, detail: "the store is down" + strings.Repeat("é", 91), sent: true, first: true,
		},
		"a proxy's words": {
			serve: func(conn *net.TCPConn, in *bufio.Reader) {
				for hear(in) {
					_, _ = conn.Write([]byte("HTTP/1.1 503 No\r\nContent-Type: text/plain\r\nContent-Length: 19\r\n\r\nno healthy upstream"))
				}
			},
			status: 503, detail: "no healthy upstream", sent: true, first: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var j journal
			c := at(misbehave(t, test.serve), &j, 20, 250*time.Millisecond)
			c.Deadline = deadline
			s := mustRun(t, c)
			if s.Failed != 5 {
				t.Fatalf("%d of 5 failed: %+v", s.Failed, s)
			}
			for _, r := range j.requests {
				if r.Error != test.class || r.Status != test.status {
					t.Errorf("%q %d (%s), want %q %d", r.Error, r.Status, r.Detail, test.class, test.status)
				}
				if !strings.Contains(r.Detail, test.detail) || len(r.Detail) > mostDetail {
					t.Errorf("detail %q, want %q in at most %d bytes", r.Detail, test.detail, mostDetail)
				}
				if (r.Sent > 0) != test.sent || (r.First > 0) != test.first {
					t.Errorf("sent at %s, first byte at %s", r.Sent, r.First)
				}
				if late := r.Done-r.Scheduled >= deadline; late != test.late {
					t.Errorf("done after %s, the deadline is %s", r.Done-r.Scheduled, deadline)
				}
				if r.Conn == "" {
					t.Error("it does not tell its connection")
				}
				if r.Write != nil && r.Write.Acknowledged {
					t.Error("a failed write is acknowledged")
				}
			}
		})
	}
}

func TestRunTellsWhyThereIsNoConnection(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := nobody.Addr().String()
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		dial  func(context.Context, int) (net.Conn, error)
		class record.Class
	}{
		"refused": {dialer(address), record.ConnectRefused},
		"silence": {func(ctx context.Context, _ int) (net.Conn, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("dial: %w", ctx.Err())
		}, record.ConnectTimeout},
		"given up by the kernel": {func(context.Context, int) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}
		}, record.ConnectTimeout},
		"no route": {func(context.Context, int) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}
		}, record.ConnectFailed},
		"any other way": {func(context.Context, int) (net.Conn, error) { return nil, errors.New("no namespace") }, record.ConnectFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var j journal
			c := at(address, &j, 50, 100*time.Millisecond)
			c.Dial, c.Connect = test.dial, 100*time.Millisecond
			s := mustRun(t, c)
			if s.Failed != 5 || s.Opened != 0 {
				t.Errorf("%+v", s)
			}
			for _, r := range j.requests {
				if r.Error != test.class || r.Detail == "" || r.Sent != 0 || r.Op == "" {
					t.Errorf("%+v, want %s and why", r, test.class)
				}
				if took := r.Done - r.Taken; test.class == record.ConnectTimeout && took > c.Deadline {
					t.Errorf("a connection attempt took %s, the limit is %s", took, c.Connect)
				}
			}
		})
	}
}

func TestRunObeysConnectionClose(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	defer server.Close()
	var j journal
	s := mustRun(t, at(server.Listener.Addr().String(), &j, 100, 300*time.Millisecond))
	if s.Answered != 30 || s.Opened != 30 {
		t.Errorf("each answer ends its connection: %+v", s)
	}
}

// An answer whose length nobody told ends with its connection.
func TestRunReadsToTheEnd(t *testing.T) {
	var j journal
	s := mustRun(t, at(misbehave(t, func(conn *net.TCPConn, in *bufio.Reader) {
		hear(in)
		_, _ = conn.Write([]byte("HTTP/1.0 200 OK\r\n\r\nall of it"))
	}), &j, 100, 100*time.Millisecond))
	if s.Answered != 10 || s.Opened != 10 {
		t.Errorf("%+v", s)
	}
}

// Like every client, one notices that an idle connection was closed, and does not
// blame the next request on it.
func TestRunNoticesTheEndOfIdleConnections(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn){
		"closed": func(conn *net.TCPConn) { _ = conn.Close() },
		"reset":  reset,
		"talked to": func(conn *net.TCPConn) {
			_, _ = conn.Write([]byte("HTTP/1.1 408 Timeout\r\n\r\n"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var j journal
			var served atomic.Int64
			c := at(misbehave(t, func(conn *net.TCPConn, in *bufio.Reader) {
				hear(in)
				_, _ = conn.Write([]byte(good))
				number := served.Add(1)
				await(t, func() bool { return j.count() >= int(number) }) // the connection is idle
				end(conn)
				_, _ = in.ReadByte()
			}), &j, 10, 500*time.Millisecond)
			c.Clients = 1
			s := mustRun(t, c)
			if s.Answered != 5 || s.Opened != 5 || s.Stale < 4 {
				t.Errorf("5 requests on 5 connections are answered, and 4 found ended before the next: %+v", s)
			}
		})
	}
}

// What is left of that race is told as it is.
func TestRunTellsTheRaceForAnIdleConnection(t *testing.T) {
	var j journal
	c := at(misbehave(t, func(conn *net.TCPConn, in *bufio.Reader) {
		hear(in)
		_, _ = conn.Write([]byte(good))
		_, _ = in.Peek(1) // the next request is there
		reset(conn)
	}), &j, 20, 100*time.Millisecond)
	c.Clients = 1
	s := mustRun(t, c)
	if s.Answered != 1 || s.Failed != 1 {
		t.Fatalf("one is answered, and one is not: %+v", s)
	}
	if r := j.requests[1]; r.Error != record.Reset || !r.Reused {
		t.Errorf("%+v, want a reset of a reused connection", r)
	}
}

// A refusal that comes before the whole request was sent is an answer.
func TestRunHearsEarlyAnswers(t *testing.T) {
	var j journal
	c := at(misbehave(t, func(conn *net.TCPConn, in *bufio.Reader) {
		_, _ = in.ReadString('\n')
		_, _ = conn.Write([]byte("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
		<-t.Context().Done() // and reads no more
	}), &j, 10, 100*time.Millisecond)
	c.Traffic = bulk(8 << 20)
	mustRun(t, c)
	if r := j.requests[0]; r.Status != 413 || r.Error != "" {
		t.Errorf("%+v, want 413", r)
	}
}

// bulk is a Traffic of large writes.
type bulk int

func (b bulk) Next(_ int, out *Request) {
	*out = Request{Op: "write", Method: http.MethodPut, Path: "/", Type: "text/plain", Body: make([]byte, b)}
}

func (bulk) Answered(int, *Request, int, []byte, *record.Request) {}

func TestRunSendsLargeBodies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := bufio.NewReader(r.Body).Discard(1 << 20)
		_, _ = fmt.Fprint(w, n)
	}))
	defer server.Close()
	var j journal
	c := at(server.Listener.Addr().String(), &j, 20, 500*time.Millisecond)
	c.Clients, c.Traffic = 1, bulk(1<<20)
	s := mustRun(t, c)
	if s.Answered != 10 || s.Opened == 10 {
		t.Errorf("10 are answered, on fewer connections: %+v", s)
	}
	for _, r := range j.requests {
		if r.Out < 1<<20 {
			t.Errorf("%d bytes were sent", r.Out)
		}
	}
}

func TestRunTellsWrongAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("wrong")) }))
	defer server.Close()
	var j journal
	c := at(server.Listener.Addr().String(), &j, 50, 100*time.Millisecond)
	c.Traffic = &visits{wrong: func(body []byte) bool { return string(body) == "wrong" }}
	if s := mustRun(t, c); s.Failed != 5 {
		t.Errorf("%+v", s)
	}
	for _, r := range j.requests {
		if r.Error != record.WrongAnswer || r.Status != 200 || r.Detail == "" {
			t.Errorf("%+v", r)
		}
	}
}
