// Package ground is the proving ground: real Kubernetes clusters with real nodes
// on one machine, in namespaces of their own, that leave nothing behind. Call Up,
// which owns everything it starts until it is told to end; Connect speaks to a
// running ground from another process. A program that calls Up must call Stage
// first thing in its main. The package takes files, not descriptions: what runs
// on the ground is not its business.
//
// Load comes from outside all regions: Client.Outside opens the network of the
// clients, each with an address of its own. Client.Flows says which machine the
// load balancer chose for them.
//
// Experimental: names may still change.
package ground

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/world"
)

// Config says what to bring up.
type Config struct {
	Name    string
	Regions []Region
	Stores  []string // PostgreSQL servers, in the first region
	Mesh    bool     // Istio in every cluster, as AKS's add-on installs it
	// MeshFiles are in every cluster before the first proxy of the mesh starts: its
	// configuration, of which a proxy learns some at its start alone.
	MeshFiles []File
	Envoy     string // program of the mesh's proxies; "": the pinned release, which is fetched
	Cache     string // directory of engines, roots and images
	Engines   string // folder with the pins of the engines
	// Delivery has a managed Git host beside the first region, and Argo CD in it, which
	// brings to all clusters what Files says.
	Delivery bool
	// Deliver fills the Git host's repository. It is called once, with Delivery, when
	// the host answers, and may take as long as compiling takes.
	Deliver func(ctx context.Context, host GitAccess) (Delivered, error)
	// Files answers what each region's cluster is to hold. It is called once,
	// while the clusters start, and may take as long as compiling takes.
	Files func(ctx context.Context) (map[string][]File, error)
}

// Region is one cluster.
type Region struct {
	Name  string
	Zones int
	Nodes int // a zone
}

// File is one file of Kubernetes objects.
type File = world.File

// Delivered is what was put into the repository, as far as a ground has to know.
type Delivered = world.Delivered

// Status is a ground as it is now; the answer of `nines status --json`. Fields
// are only ever added.
type Status struct {
	Name       string         `json:"name"`
	Ready      bool           `json:"ready"`
	Phase      string         `json:"phase"` // starting, ready, stopping, failed
	PID        int            `json:"pid"`   // of the owner
	Since      time.Time      `json:"since"`
	StartedIn  float64        `json:"startedInSeconds,omitempty"` // from the start of the owner to ready
	Kubeconfig string         `json:"kubeconfig"`
	Endpoints  []Endpoint     `json:"endpoints"`
	Engines    []EngineStatus `json:"engines"`
	Failure    string         `json:"failure,omitempty"`
	Logs       string         `json:"logs"`           // directory
	Data       string         `json:"data"`           // directory of what stays
	Mesh       string         `json:"mesh,omitempty"` // revision of Istio, of the label istio.io/rev
	Modelled   []string       `json:"modelled,omitempty"`
	world.Status
}

// Endpoint is a way in from the host: a loopback address.
type Endpoint struct {
	Region  string `json:"region"`
	Service string `json:"service"`
	URL     string `json:"url"`
}

// EngineStatus is how far a compile is.
type EngineStatus struct {
	Name    string  `json:"name"`
	Phase   string  `json:"phase"`
	Done    int     `json:"done,omitempty"`
	Total   int     `json:"total,omitempty"`
	Detail  string  `json:"detail,omitempty"`
	Elapsed float64 `json:"elapsedSeconds,omitempty"`
}

// ErrNotRunning says that no owner answers.
var ErrNotRunning = errors.New("not running")

// ErrUnknown says that no ground of a name was ever started, or that it was purged.
var ErrUnknown = errors.New("there is no ground of that name")

// RunningError says that a ground is up already.
type RunningError struct{ Status Status }

func (e *RunningError) Error() string {
	return fmt.Sprintf("%s is %s already, owned by process %d; see \"nines status\", or end it with \"nines down\"", e.Status.Name, e.Status.Phase, e.Status.PID)
}

func (c Config) spec(h home, ports []int) world.Spec {
	s := world.Spec{
		Name: c.Name, Dirs: h.world(c.Cache), Engines: c.Engines, Group: group(c.Name), Stores: c.Stores, Mesh: c.Mesh, MeshFiles: c.MeshFiles,
		Delivery: c.Delivery,
		Reserved: reserve(),
	}
	for i, r := range c.Regions {
		region := world.Region{Name: r.Name, Zones: r.Zones, Nodes: r.Nodes}
		if i < len(ports) {
			region.APIPort = ports[i]
		}
		s.Regions = append(s.Regions, region)
	}
	return s
}

// Plan is what Up would start, in order. It touches nothing.
func Plan(c Config) ([]part.Part, error) {
	h, err := homeOf(c.Name)
	if err != nil {
		return nil, err
	}
	return world.Plan(c.spec(h, nil))
}

// Part is one thing a ground is made of.
type Part = part.Part

// Logs is the directory of a ground's logs, of this run or the last.
func Logs(name string) (string, error) {
	h, err := homeOf(name)
	return h.logs(), err
}
