package git

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/cgi"
	"sync"
	"time"
)

// The two services of git, as it names them.
const (
	uploadPack  = "git-upload-pack"  // sends to who reads
	receivePack = "git-receive-pack" // takes from who writes
)

// Bounds of the host.
const (
	maxConnections = 256
	maxRequests    = 16               // that git works on at once
	maxWait        = 10 * time.Second // of one more
	maxBody        = 64 << 20         // as in gitConfig
	maxHeader      = 16 << 10
	headerWithin   = 10 * time.Second
	bodyWithin     = 2 * time.Minute
	gitWithin      = 150 * time.Second
	answerWithin   = 3 * time.Minute
	idleWithin     = time.Minute
	endWithin      = 4 * time.Second
)

// user may come in.
type user struct {
	Name   string
	Digest [sha256.Size]byte // of the password, which is random and long
	Writes bool
}

// server answers for one repository. Its paths are compared as a whole, so that
// no other path means anything.
type server struct {
	root  string // folder of the repository
	users []user
	log   *slog.Logger
	body  int64         // the most of a request
	git   time.Duration // the most for git to answer
	wait  time.Duration // the most for a slot
	grace time.Duration // the most at the end
	slots chan struct{}
}

func newServer(root string, users []user, log *slog.Logger) *server {
	return &server{root: root, users: users, log: log, body: maxBody, git: gitWithin, wait: maxWait, grace: endWithin, slots: make(chan struct{}, maxRequests)}
}

// bounded is a server of HTTP/1.1, which git itself falls back to, with limits.
func (s *server) bounded() *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: s, Protocols: protocols, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerWithin, ReadTimeout: bodyWithin, WriteTimeout: answerWithin, IdleTimeout: idleWithin,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

func (s *server) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	began := time.Now()
	a := &answer{ResponseWriter: rw}
	who, known := s.login(req)
	service := serviceOf(req)
	switch {
	case !known:
		a.Header().Set("WWW-Authenticate", `Basic realm="nines", charset="UTF-8"`)
		http.Error(a, "a name and a password are needed", http.StatusUnauthorized)
	case service == "":
		http.Error(a, "there is no such repository", http.StatusNotFound)
	case service == receivePack && !who.Writes:
		http.Error(a, who.Name+" may only read", http.StatusForbidden)
	case req.ContentLength > s.body:
		http.Error(a, fmt.Sprintf("a request has %d bytes at most", s.body), http.StatusRequestEntityTooLarge)
	default:
		s.run(a, req, who)
	}
	path := req.URL.Path
	s.log.Info("request", "from", req.RemoteAddr, "user", who.Name, "method", req.Method, "path", path[:min(len(path), 100)],
		"service", service, "status", a.status, "bytes", a.bytes, "took", time.Since(began).Round(time.Millisecond))
}

// login takes as long whoever comes.
func (s *server) login(req *http.Request) (who user, known bool) {
	name, password, _ := req.BasicAuth()
	digest := sha256.Sum256([]byte(password))
	for _, u := range s.users {
		if subtle.ConstantTimeCompare([]byte(name), []byte(u.Name))&subtle.ConstantTimeCompare(digest[:], u.Digest[:]) == 1 {
			who, known = u, true
		}
	}
	return who, known
}

// serviceOf is which of git's services is asked for, if any.
func serviceOf(req *http.Request) string {
	switch req.Method + " " + req.URL.Path {
	case "GET " + Path + "/info/refs":
		switch req.URL.RawQuery {
		case "service=" + uploadPack:
			return uploadPack
		case "service=" + receivePack:
			return receivePack
		}
	case "POST " + Path + "/" + uploadPack:
		return uploadPack
	case "POST " + Path + "/" + receivePack:
		return receivePack
	}
	return ""
}

// run has git answer.
func (s *server) run(a *answer, req *http.Request, who user) {
	wait := time.NewTimer(s.wait)
	defer wait.Stop()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-req.Context().Done():
		return
	case <-wait.C:
		a.Header().Set("Retry-After", "5")
		http.Error(a, "too many at once", http.StatusServiceUnavailable)
		return
	}
	inner := req.Clone(req.Context())
	inner.Header = http.Header{} // the password goes no further
	for _, name := range []string{"Accept", "Accept-Encoding", "Content-Encoding", "Content-Type", "Git-Protocol", "User-Agent"} {
		if values := req.Header.Values(name); len(values) > 0 {
			inner.Header[name] = values
		}
	}
	inner.Body = http.MaxBytesReader(nil, req.Body, s.body) // it is read while the answer is written
	inner.TransferEncoding = nil                            // where no length is told git reads to the end
	env := []string{"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1"}
	if who.Writes {
		env = append(env, "REMOTE_USER="+who.Name) // without it http-backend takes nothing
	}
	(&cgi.Handler{
		Path: "/usr/bin/timeout", Args: []string{"--kill-after=5", fmt.Sprint(s.git.Seconds()), "git", "http-backend"},
		Dir: "/", Env: env, InheritEnv: []string{"LC_ALL", "TZ"},
		Logger: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}).ServeHTTP(a, inner)
}

// answer counts what is answered.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(body []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(body)
	a.bytes += int64(n)
	return n, err
}

// narrow is a listener with so many connections at once; it closes more.
type narrow struct {
	net.Listener
	slots chan struct{}
}

func newNarrow(l net.Listener, most int) *narrow { return &narrow{l, make(chan struct{}, most)} }

func (n *narrow) Accept() (net.Conn, error) {
	for {
		conn, err := n.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case n.slots <- struct{}{}:
			return &held{Conn: conn, release: sync.OnceFunc(func() { <-n.slots })}, nil
		default:
			conn.Close()
		}
	}
}

type held struct {
	net.Conn
	release func()
}

func (h *held) Close() error {
	defer h.release()
	return h.Conn.Close()
}
