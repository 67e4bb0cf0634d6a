package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/nines-ha/nines/ground/part"
)

// Status is a world as it is now. Fields are only ever added.
type Status struct {
	Parts   []part.Status  `json:"parts"`
	Regions []RegionStatus `json:"regions"`
	Stores  []StoreStatus  `json:"stores,omitempty"`
	Git     *GitStatus     `json:"git,omitempty"`
}

// RegionStatus is one cluster.
type RegionStatus struct {
	Name      string         `json:"name"`
	APIServer string         `json:"apiServer"` // inside the ground
	CutZones  []int          `json:"cutZones,omitempty"`
	Zones     []ZoneStatus   `json:"zones"`
	Nodes     []NodeStatus   `json:"nodes"`
	Balancers []BalancerInfo `json:"balancers,omitempty"`
	// Impaired are pods that are unwell without Kubernetes knowing it.
	Impaired []ImpairedStatus `json:"impaired,omitempty"`
}

// NodeStatus is one machine.
type NodeStatus struct {
	Name    string `json:"name"`
	Zone    int    `json:"zone"`
	Address string `json:"address"`
	State   string `json:"state"` // running, frozen, stopped, deleted
	Cut     bool   `json:"cut,omitempty"`
	PID     int    `json:"pid,omitempty"` // of its pid 1, in the ground's pid namespace
	// Since is when State and Cut became what they are; see Since of ZoneStatus.
	Since time.Time `json:"since,omitzero"`
}

// ZoneStatus is one zone and its link to everything else.
type ZoneStatus struct {
	Zone int    `json:"zone"`
	Name string `json:"name"` // as in Kubernetes' labels
	Cut  bool   `json:"cut,omitempty"`
	// Since is when it became so. What is lost counts from the beginning of the
	// act that took it, what is there from the end of the act that brought it.
	Since time.Time `json:"since,omitzero"`
}

// StoreStatus is one managed database.
type StoreStatus struct {
	Name string `json:"name"`
	Host string `json:"host"`
	// Address is where it answers, inside the ground.
	Address string `json:"address"`
	Note    string `json:"note"`
	// Suspended says that its programs hold still, their connections open.
	Suspended bool `json:"suspended,omitempty"`
}

// Status answers at once.
func (w *World) Status() Status {
	s := Status{Parts: w.runner.Status()}
	for _, r := range w.regions {
		s.Regions = append(s.Regions, r.status())
	}
	for _, st := range w.stores {
		s.Stores = append(s.Stores, StoreStatus{Name: st.name, Host: st.server.Host(), Address: st.address.String(), Suspended: st.isSuspended(), Note: "one PostgreSQL 15 stands for a zone-redundant server; it is in no zone and does not fail over"})
	}
	s.Git = w.git.status()
	return s
}

func (r *region) status() RegionStatus {
	s := RegionStatus{Name: r.spec.Name, APIServer: r.cluster.APIServer(), Balancers: r.cloud.balancers(), Impaired: r.impaired.status()}
	r.mu.Lock()
	defer r.mu.Unlock()
	for z := 1; r.network != nil && z <= r.spec.Zones; z++ {
		cut, since := r.network.ZoneCut(z)
		if cut {
			s.CutZones = append(s.CutZones, z)
		}
		s.Zones = append(s.Zones, ZoneStatus{Zone: z, Name: r.cloud.zone(z), Cut: cut, Since: since})
	}
	for _, m := range r.nodes {
		n := NodeStatus{Name: m.name, Zone: m.zone, Address: m.address.String(), State: "stopped", Cut: m.cut, Since: m.since}
		switch {
		case m.deleted:
			n.State = "deleted"
		case m.Node != nil:
			var since time.Time
			n.State, n.PID, since = m.Look()
			if since.After(n.Since) {
				n.Since = since
			}
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// Order is the body of a verb: what it is to do, or with false undo.
type Order struct {
	Do bool `json:"do"`
}

// serveControl answers on the control socket: GET /status, GET /networks,
// GET /flows/{region}, GET /certificates/{region}/{namespace}/{pod},
// GET /traces/{region}/{after}, and the verbs
//
//	POST /nodes/{node}/power    Order: on or off, as a power cut
//	POST /nodes/{node}/machine  Order: created anew or deleted with its disk
//	POST /nodes/{node}/freeze   Order: hang or go on
//	POST /nodes/{node}/link     Order: plugged in or pulled out
//	POST /zones/{region}/{zone}/link
//	POST /kill/{part...}        SIGKILL to a program: of a part, or {node}/kubelet and so on
//	POST /halt/{part...}        Order: a part's program killed and kept down, or started again
//	POST /suspend/{part...}     Order: the programs of a store or of the Git host held still, or going on
//	POST /impair/{region}       impair.Impairment: a pod is to be unwell
//	POST /mend/{region}/{namespace}/{pod}
//	POST /probe/{region}        probe.Probe: an exchange to try from a pod; answers a probe.Answer
//	POST /files/{region}        []File: what the cluster is to hold from now on
//
// A verb answers when it is done, and refuses while the ground starts. Errors are text.
func (w *World) serveControl() (*http.Server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(rw http.ResponseWriter, _ *http.Request) {
		tell(rw, w.Status())
	})
	mux.HandleFunc("GET "+Networks, w.handNetworks)
	mux.HandleFunc("GET /flows/{region}", w.answerFlows)
	mux.HandleFunc("GET /certificates/{region}/{namespace}/{pod}", w.answerCertificate)
	mux.HandleFunc("GET /traces/{region}/{after}", w.answerTraces)
	verb := func(pattern string, f func(ctx context.Context, req *http.Request, do bool) error) {
		mux.HandleFunc("POST "+pattern, func(rw http.ResponseWriter, req *http.Request) {
			var o Order
			if err := json.NewDecoder(http.MaxBytesReader(rw, req.Body, 1<<10)).Decode(&o); err != nil {
				http.Error(rw, "body: "+err.Error(), http.StatusBadRequest)
				return
			}
			answer(rw, f(req.Context(), req, o.Do))
		})
	}
	onNode := func(f func(ctx context.Context, r *region, m *machine, do bool) error) func(context.Context, *http.Request, bool) error {
		return func(ctx context.Context, req *http.Request, do bool) error {
			r, m, err := w.machine(req.PathValue("node"))
			if err != nil {
				return err
			}
			return f(ctx, r, m, do)
		}
	}
	verb("/nodes/{node}/power", onNode(func(ctx context.Context, r *region, m *machine, do bool) error {
		if do {
			return r.powerOn(ctx, m)
		}
		return r.powerOff(ctx, m)
	}))
	verb("/nodes/{node}/machine", onNode(func(ctx context.Context, r *region, m *machine, do bool) error {
		if do {
			return r.create(ctx, m)
		}
		return r.remove(ctx, m)
	}))
	verb("/nodes/{node}/freeze", onNode(func(_ context.Context, _ *region, m *machine, do bool) error {
		if m.Node == nil {
			return fmt.Errorf("node %s is deleted", m.name)
		}
		return m.Freeze(do)
	}))
	verb("/nodes/{node}/link", onNode(func(_ context.Context, r *region, m *machine, do bool) error { return r.link(m, do) }))
	verb("/zones/{region}/{zone}/link", func(ctx context.Context, req *http.Request, do bool) error {
		r, err := w.region(req.PathValue("region"))
		if err != nil {
			return err
		}
		var zone int
		if _, err := fmt.Sscan(req.PathValue("zone"), &zone); err != nil || zone < 1 || zone > r.spec.Zones {
			return unknown("region %s has the zones 1 to %d", r.spec.Name, r.spec.Zones)
		}
		return r.network.CutZone(ctx, zone, !do)
	})
	mux.HandleFunc("POST /kill/{part...}", func(rw http.ResponseWriter, req *http.Request) {
		answer(rw, w.kill(req.PathValue("part")))
	})
	verb("/halt/{part...}", func(ctx context.Context, req *http.Request, do bool) error {
		return w.halt(ctx, req.PathValue("part"), do)
	})
	verb("/suspend/{part...}", func(_ context.Context, req *http.Request, do bool) error { return w.suspend(req.PathValue("part"), do) })
	mux.HandleFunc("POST /impair/{region}", w.answerImpair)
	mux.HandleFunc("POST /mend/{region}/{namespace}/{pod}", func(rw http.ResponseWriter, req *http.Request) {
		r, err := w.region(req.PathValue("region"))
		if err == nil {
			err = r.mend(req.PathValue("namespace"), req.PathValue("pod"))
		}
		answer(rw, err)
	})
	mux.HandleFunc("POST /probe/{region}", w.answerProbe)
	mux.HandleFunc("POST /files/{region}", func(rw http.ResponseWriter, req *http.Request) {
		r, err := w.region(req.PathValue("region"))
		if err != nil {
			answer(rw, err)
			return
		}
		if w.spec.Delivery {
			http.Error(rw, "here Git is the only way in: \"nines deploy\" releases a service, and \"nines git clone\" gets the repository for any other change", http.StatusConflict)
			return
		}
		var files []File
		if err := json.NewDecoder(http.MaxBytesReader(rw, req.Body, 16<<20)).Decode(&files); err != nil {
			http.Error(rw, "body: "+err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(req.Context(), 2*time.Minute)
		defer cancel()
		answer(rw, r.applyAndWait(ctx, files))
	})
	path := w.spec.Dirs.ControlSocket()
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	standing := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost && !w.standing.Load() {
			http.Error(rw, "the ground is not ready yet", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(rw, req)
	})
	server := &http.Server{Handler: standing, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("control socket", "error", err)
		}
	}()
	return server, nil
}

func (w *World) kill(name string) error {
	if node, program, ok := strings.Cut(name, "/"); ok {
		var u unknownError
		switch _, m, err := w.machine(node); {
		case err == nil:
			return m.Kill(program)
		case !errors.As(err, &u):
			return err
		}
	}
	return w.runner.Kill(name)
}

type unknownError struct{ error }

func unknown(format string, args ...any) error { return unknownError{fmt.Errorf(format, args...)} }

func answer(rw http.ResponseWriter, err error) {
	var u unknownError
	switch {
	case errors.As(err, &u):
		http.Error(rw, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(rw, err.Error(), http.StatusInternalServerError)
	default:
		rw.WriteHeader(http.StatusNoContent)
	}
}

// tell answers with what was asked for.
func tell(rw http.ResponseWriter, what any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(what)
}

func (w *World) region(name string) (*region, error) {
	for _, r := range w.regions {
		if r.spec.Name == name {
			return r, nil
		}
	}
	return nil, unknown("there is no region %s", name)
}

func (w *World) machine(name string) (*region, *machine, error) {
	for _, r := range w.regions {
		for _, m := range r.nodes {
			if m.name == name {
				return r, m, nil
			}
		}
	}
	return nil, nil, unknown("there is no node %s", name)
}

func (r *region) link(m *machine, plugged bool) error {
	began := time.Now()
	if err := r.network.CutNode(m.zone, m.n, !plugged); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.cut == plugged { // it turns
		m.since = began
		if plugged {
			m.since = time.Now()
		}
	}
	m.cut = !plugged
	return nil
}
