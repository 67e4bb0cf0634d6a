package ground

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nines-ha/nines/ground/impair"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/ground/node"
	"github.com/nines-ha/nines/ground/probe"
	"github.com/nines-ha/nines/ground/world"
)

// Status answers from what the owner knows, and from its world when that answers.
func (o *Owner) Status(ctx context.Context) Status {
	o.mu.Lock()
	s := o.status
	s.Engines = append([]EngineStatus(nil), s.Engines...)
	s.Endpoints = append([]Endpoint{}, s.Endpoints...)
	o.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if inner, err := (&Client{socket: o.home.world("").ControlSocket()}).world(ctx); err == nil {
		s.Status = inner
	}
	for _, r := range s.Regions {
		s.Modelled = append(s.Modelled, r.Name+": a receiver that keeps the newest spans stands for an OpenTelemetry Collector; it takes OTLP over HTTP, without TLS")
	}
	if s.Git != nil {
		s.Modelled = append(s.Modelled, s.Git.Host+": "+s.Git.Note)
	}
	for _, st := range s.Stores {
		s.Modelled = append(s.Modelled, st.Name+": "+st.Note)
	}
	return s
}

// serveControl answers on the control socket: GET /status, POST /down, and below
// /world/ what the world answers.
func (o *Owner) serveControl() (*http.Server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(o.Status(req.Context()))
	})
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_ = http.NewResponseController(w).Flush() // the answer before the end of who answers
		o.Down()
	})
	inner := o.home.world("").ControlSocket()
	mux.Handle("/world/", http.StripPrefix("/world", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "world"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", inner)
		}},
	}))
	l, err := net.Listen("unix", o.home.socket())
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(o.home.socket(), 0o600); err != nil {
		return nil, err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
	return server, nil
}

// Client speaks to a running ground.
type Client struct {
	Name   string
	socket string
}

// Connect finds the ground of a system. An error that is ErrNotRunning says that
// there is none.
func Connect(name string) (*Client, error) {
	h, err := homeOf(name)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("unix", h.socket(), time.Second)
	if err != nil {
		return nil, fmt.Errorf("%s is %w; start it with \"nines up\"", name, ErrNotRunning)
	}
	conn.Close()
	return &Client{Name: name, socket: h.socket()}, nil
}

func (c *Client) do(ctx context.Context, method, path string, body, answer any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://ground"+path, reader)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask the ground: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if len(bytes.TrimSpace(text)) == 0 {
			return fmt.Errorf("the ground answers %s: it may still be starting; see \"nines status\"", resp.Status)
		}
		return errors.New(strings.TrimSpace(string(text)))
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

func (c *Client) world(ctx context.Context) (s world.Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/status", nil, &s)
}

// Status asks the owner.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/status", nil, &s)
}

// Down ends the ground and returns when its owner is gone.
func (c *Client) Down(ctx context.Context) error {
	if err := c.do(ctx, http.MethodPost, "/down", nil, nil); err != nil {
		return err
	}
	h, err := homeOf(c.Name)
	if err != nil {
		return err
	}
	return h.waitUnlocked(ctx)
}

// Power cuts a node's power, or gives it back.
func (c *Client) Power(ctx context.Context, node string, on bool) error {
	return c.verb(ctx, "/nodes/"+node+"/power", on)
}

// Delete deletes a machine with its disk, as when a scale set shrinks; its Node
// object then goes too. Create makes another machine of that name.
func (c *Client) Delete(ctx context.Context, node string) error {
	return c.verb(ctx, "/nodes/"+node+"/machine", false)
}

// Create makes a deleted machine anew.
func (c *Client) Create(ctx context.Context, node string) error {
	return c.verb(ctx, "/nodes/"+node+"/machine", true)
}

// Freeze makes a node hang, or go on.
func (c *Client) Freeze(ctx context.Context, node string, frozen bool) error {
	return c.verb(ctx, "/nodes/"+node+"/freeze", frozen)
}

// Link pulls a node's network cable out, or plugs it in.
func (c *Client) Link(ctx context.Context, node string, plugged bool) error {
	return c.verb(ctx, "/nodes/"+node+"/link", plugged)
}

// ZoneLink cuts a zone off from everything outside it, or joins it again.
func (c *Client) ZoneLink(ctx context.Context, region string, zone int, joined bool) error {
	return c.verb(ctx, fmt.Sprintf("/zones/%s/%d/link", region, zone), joined)
}

// Kill ends a program with SIGKILL; it starts again by itself. It is a part, like
// "westeurope/etcd", or a program of a node: "westeurope-1-1/kubelet".
func (c *Client) Kill(ctx context.Context, part string) error {
	return c.verb(ctx, "/kill/"+part, true)
}

// Halt ends the program of a part, like "westeurope/apiserver", with SIGKILL and
// keeps it down; with false it starts it again and returns when it is ready.
func (c *Client) Halt(ctx context.Context, part string, halted bool) error {
	return c.verb(ctx, "/halt/"+part, halted)
}

// Suspend makes a store's programs hold still without ending one, their
// connections open and silent, or lets them go on. Its part is REGION/STORE, in
// the first region; or it is REGION/git, the Git host.
func (c *Client) Suspend(ctx context.Context, part string, suspended bool) error {
	return c.verb(ctx, "/suspend/"+part, suspended)
}

// An Impairment is what is wrong with one pod of which Kubernetes believes that it
// is well.
type Impairment = impair.Impairment

// Impair makes a pod unwell, for new connections and those that there are, until
// Mend or until the pod ends. It is told in the Status of its region.
func (c *Client) Impair(ctx context.Context, region string, i Impairment) error {
	return c.do(ctx, http.MethodPost, "/world/impair/"+url.PathEscape(region), i, nil)
}

// Mend makes a pod well again. One that is well, or that is gone, is no error.
func (c *Client) Mend(ctx context.Context, region, namespace, pod string) error {
	path := fmt.Sprintf("/world/mend/%s/%s/%s", url.PathEscape(region), url.PathEscape(namespace), url.PathEscape(pod))
	return c.do(ctx, http.MethodPost, path, nil, nil)
}

// A Certificate is what the proxy of a pod shows to others, and which roots it
// accepts.
type Certificate = mesh.Certificate

// Certificate asks the proxy of a pod.
func (c *Client) Certificate(ctx context.Context, region, namespace, pod string) (one Certificate, err error) {
	path := fmt.Sprintf("/world/certificates/%s/%s/%s", url.PathEscape(region), url.PathEscape(namespace), url.PathEscape(pod))
	return one, c.do(ctx, http.MethodGet, path, nil, &one)
}

// IdleImage is one that every node has. Its program waits until it is ended.
const IdleImage = node.SandboxImage

// A Probe is one exchange that is tried from the network of a pod, and an Answer
// what came of it.
type (
	Probe  = probe.Probe
	TLS    = probe.TLS
	Answer = probe.Answer
)

// Probe tries an exchange. An error means that it could not be tried: that it was
// refused is an Answer.
func (c *Client) Probe(ctx context.Context, region string, p Probe) (a Answer, err error) {
	return a, c.do(ctx, http.MethodPost, "/world/probe/"+url.PathEscape(region), p, &a)
}

// Apply makes a region's cluster hold exactly these files, and waits until what
// they describe is ready; if it is not in two minutes the error says why.
func (c *Client) Apply(ctx context.Context, region string, files []File) error {
	return c.do(ctx, http.MethodPost, "/world/files/"+region, files, nil)
}

func (c *Client) verb(ctx context.Context, path string, do bool) error {
	return c.do(ctx, http.MethodPost, "/world"+path, world.Order{Do: do}, nil)
}
