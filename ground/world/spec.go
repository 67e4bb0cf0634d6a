// Package world is the inside of a ground: one process, pid 1 of private mount,
// pid, network, IPC and UTS namespaces, that builds the network, starts every
// part and keeps it. Its owner starts this program again with StageName as first
// argument and speaks to it through Message lines on standard input, Event lines
// on standard output and the HTTP API of Control. When standard input ends it
// ends, and with it every process, mount and network of the ground. It cannot
// reach the host's network.
package world

import (
	"fmt"
	"path/filepath"

	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/ground/part"
)

// StageName is the first argument that makes the program a world.
const StageName = "stage-world"

// Spec says what a world holds.
type Spec struct {
	Name    string
	Dirs    Dirs
	Engines string // folder with the pins of the engines
	Group   string // control group of the whole world
	Regions []Region
	Stores  []string // PostgreSQL servers, in the first region
	Mesh    bool     // Istio in every cluster, as AKS's add-on installs it
	// MeshFiles are in every cluster before the first proxy of the mesh starts.
	MeshFiles []File
	// Delivery has a managed Git host beside the first region, and Argo CD in it, which
	// brings what the files of all regions hold.
	Delivery bool
	GitPort  int // of the owner's loopback listener
	// Reserved is what a node's size leaves out of the machine's, so that nodes
	// on one machine do not each promise all of it.
	Reserved Reserved
}

// Dirs are host directories.
type Dirs struct {
	Cache string // engines, roots and images; kept between grounds
	Run   string // ends with the run
	Data  string // stays
	Logs  string // of the last run
}

// Region is one cluster.
type Region struct {
	Name    string
	Zones   int
	Nodes   int // a zone
	APIPort int // of the owner's loopback listener
}

// Reserved is in Kubernetes' units.
type Reserved struct{ CPU, Memory string }

// File is one file of Kubernetes objects.
type File struct {
	Path string
	Body []byte
}

// Message is what the owner tells the world, a line of JSON each.
type Message struct {
	// Ready names an engine ("engine/etcd") or a root ("root/postgresql-15")
	// that is now in the cache.
	Ready string `json:",omitempty"`
	Dir   string `json:",omitempty"` // of a root
	// Files are what the region's cluster is to hold.
	Region string `json:",omitempty"`
	Files  []File `json:",omitempty"`
	// Made answers Event.Make: the image is in the store, or Err says why not.
	Made    string `json:",omitempty"`
	Err     string `json:",omitempty"`
	Unknown bool   `json:",omitempty"` // nobody can make it
	Stop    bool   `json:",omitempty"`
	// Delivered says that the repository is filled.
	Delivered *Delivered `json:",omitempty"`
}

// Event is what the world tells its owner, a line of JSON each.
type Event struct {
	Part      *part.Event `json:",omitempty"`
	Frontends *[]Frontend `json:",omitempty"` // all there are now
	Make      string      `json:",omitempty"` // an image that the owner, who has a network, is to make
	Up        bool        `json:",omitempty"` // every part is ready
	Err       string      `json:",omitempty"` // the world gives up
}

// Frontend is one port of a load balancer.
type Frontend struct {
	Region   string `json:"region"`
	Service  string `json:"service"` // namespace/name
	Address  string `json:"address"` // inside the ground
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
}

// node names one machine of a region; zones and nodes count from 1.
func nodeName(region string, zone, n int) string { return fmt.Sprintf("%s-%d-%d", region, zone, n) }

// Kubeconfig is where the world writes the administrators' kubeconfig.
func (d Dirs) Kubeconfig() string { return filepath.Join(d.Run, "kubeconfig") }

// ControlSocket is where the world answers its owner.
func (d Dirs) ControlSocket() string { return filepath.Join(d.Run, "world.sock") }

// Validate says whether a world of this shape can be.
func (s Spec) Validate() error {
	for i, r := range s.Regions {
		if err := (network.Plan{Index: i}).Validate(r.Zones, r.Nodes); err != nil {
			return fmt.Errorf("region %s: %w", r.Name, err)
		}
	}
	if len(s.Regions) == 0 {
		return fmt.Errorf("%s has no region", s.Name)
	}
	return nil
}

// APIServerAddress is where the API server of the i-th region answers.
func APIServerAddress(i int) string { return network.Plan{Index: i}.ControlPlane().String() }
