// Package twin holds systems with one known mistake each, so that the drills have
// something that they must refute. Find a Twin, Edit the system, render it, Patch
// the files, apply them, alter the Platform, wait for Settle, and drill: the system as it is and then
// the twin, both by the promise that is made for the system as it is. Proven says
// whether the drill found the mistake, and for its own reason. The package applies
// nothing and runs nothing.
package twin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/system"
)

// A Twin is a system with one mistake.
type Twin struct {
	Name    string
	About   string   // what is wrong, and who does that
	Changes []string // what is changed, in words
	Drill   string   // in which it is proven
	Claim   string   // that must be refuted, and that holds for the system as it is
	Cause   string   // that explains most of what went wrong; "": any
	Fix     string   // a field that the verdict must name, or its beginning; "": any
	Source  string   // the known-bad program, relative to the root of the repository; "": the service's own

	// Settle is how long after it was applied the twin serves at all. Nothing
	// else says so, where the mistake is that nobody is asked.
	Settle time.Duration

	Mesh bool // it is a mistake in a mesh

	Platform []fault.Heal // steps that make the platform so, for fault.Alter; none: it stays as it is
	Variant  string       // of the drill's fault, where no file of the system has the mistake

	edit    func(*system.Service)
	clients func(*system.Clients)
}

// All are the twins there are.
func All() []Twin {
	return []Twin{{
		Name:  "no-drain",
		About: "a replica ends when it is told to, not when everyone knows that it leaves: what a container does that nobody taught to leave",
		Changes: []string{
			"no sleep before the end (preStop is removed)",
			"no time in which a leaving replica goes on serving (DRAIN_DELAY=0s)",
			"one second for requests that have begun (SHUTDOWN_TIMEOUT=1s)",
		},
		Drill: "rolling-restart",
		Claim: "failed", Cause: claim.PodEnded,
	}, {
		Name:  "lying-readiness",
		About: "a replica counts as ready while it warms up: what is deployed without probes, or with one that looks at the wrong thing",
		Changes: []string{
			"no startup probe and no readiness probe",
			"a rollout does not wait for a replica to stay ready (minReadySeconds is removed)",
			"the program warms up for 25 seconds before it listens (fleet/twin/late)",
		},
		Drill: "rolling-restart",
		Claim: "failed", Cause: claim.NotServing,
		Source: "fleet/twin/late", Settle: 30 * time.Second,
	}, {
		Name:  "one-replica",
		About: "one replica, which never fails until it does: how most services begin",
		Changes: []string{
			"one replica in place of several, and no budget of disruptions, which would be of no use to it",
		},
		// Not availability: a small program is back in two seconds, which may be
		// little enough of a window.
		Drill: "pod-kill",
		Claim: "capacity", Cause: claim.NoEndpoint,
		edit: func(s *system.Service) { s.Scale.Replicas = system.Range{Min: 1, Max: 1} },
	}, {
		Name:  "one-zone",
		About: "all replicas in one zone: what is kept near its data, or bound to a disk of one zone",
		Changes: []string{
			"replicas are not spread over zones and nodes",
			"every replica must be in the zone of the others",
		},
		Drill: "zone-loss",
		Claim: "capacity", Cause: claim.NoEndpoint,
	}, {
		Name:  "no-pdb",
		About: "nothing says how many replicas maintenance may take at once: what is left out because upgrades went well so far",
		Changes: []string{
			"no budget of disruptions (the PodDisruptionBudget is removed)",
		},
		Drill: "node-drain",
		Claim: "capacity", Fix: "services.",
	}, {
		Name:  "memory-only",
		About: "a write is acknowledged when it is in memory and stored later: what makes a benchmark fast",
		Changes: []string{
			"the program answers a write at once and stores it three seconds later (fleet/twin/memory)",
		},
		Drill:  "pod-kill",
		Claim:  "writes",
		Source: "fleet/twin/memory",
	}, {
		Name:  "no-deadline",
		About: "a request may take as long as it takes, and any number at once: what a web framework does that nobody configured",
		Changes: []string{
			"the program gives requests no deadline and no limit of how many run at once (fleet/twin/patient)",
		},
		Drill:  "database-stall",
		Claim:  "answer",
		Source: "fleet/twin/patient",
	}, {
		Name:  "no-retries",
		About: "whatever fails is the caller's trouble: neither proxies nor clients try again",
		Changes: []string{
			"clients send a request once (clients.attempts: 1)",
			"proxies try every operation once (attempts: 1)",
		},
		Drill: "node-loss",
		Claim: "availability", Mesh: true,
		edit: func(s *system.Service) {
			s.Operations = slices.Clone(s.Operations)
			for i := range s.Operations {
				s.Operations[i].Attempts = 1
			}
		},
		clients: func(c *system.Clients) { c.Attempts = 1 },
	}, {
		Name:  "no-outlier-detection",
		About: "a replica that fails is asked for as long as Kubernetes believes it to be well: what a mesh does that nobody configured",
		Changes: []string{
			"nobody is taken out of the balance for failing (outlierDetection is removed from the DestinationRule)",
		},
		Drill: "gray-pod",
		Claim: "ejected", Mesh: true,
	}, {
		Name:  "locality-off",
		About: "calls go to all replicas alike, whatever zone they are in: what a mesh does that nobody told of zones, and what a cloud bills",
		Changes: []string{
			"a proxy does not prefer the replicas of its own zone (localityLbSetting of the DestinationRule is off)",
		},
		Drill: "locality",
		Claim: "local", Mesh: true,
	}, {
		Name:  "one-gateway",
		About: "one pod is the way in for everybody: what is there until somebody counts gateways, too",
		Changes: []string{
			"the Deployment of the ingress gateway is scaled to one replica",
		},
		Drill: "gateway-loss",
		Claim: "availability", Cause: claim.NoEndpoint, Mesh: true,
		Platform: []fault.Heal{{Do: "scale", Namespace: mesh.IngressNamespace, Name: mesh.Ingress, Replicas: 1}},
	}, {
		Name:  "injector-fails-open",
		About: "a pod is made without its sidecar when nobody answers who gives it one: what keeps deployments going, and takes their protection away unseen",
		Changes: []string{
			"the webhooks of the sidecar injector are ignored when they do not answer (failurePolicy: Ignore)",
		},
		Drill: "injector-loss",
		Claim: "meshed", Mesh: true,
		Platform: []fault.Heal{{Do: "failurePolicy", Policy: "Ignore"}},
	}, {
		Name:  "no-timeout",
		About: "everybody waits for an answer as long as it takes: what Istio does where a route says nothing of time, and most clients do",
		Changes: []string{
			"an operation may take an hour, and so may each try of it (timeout: 1h), which is as good as no timeout",
			"clients wait for their first attempt until their deadline (clients.timeout, clients.attempts: 1); else they would come in by another gateway, until nobody is left to ask the slow replica",
		},
		Drill: "slow-pod",
		Claim: "p99", Mesh: true,
		edit: func(s *system.Service) {
			s.Operations = slices.Clone(s.Operations)
			for i := range s.Operations {
				s.Operations[i].Timeout = time.Hour
			}
		},
		clients: func(c *system.Clients) { c.Timeout, c.Attempts = c.Deadline, 1 },
	}, {
		Name:  "no-circuit-breaking",
		About: "whatever comes in is passed on, however much is under way: what a mesh does that nobody gave limits",
		Changes: []string{
			"no limit of connections, of requests that wait and of requests under way (maxConnections, http1MaxPendingRequests and http2MaxRequests are removed from the DestinationRule)",
		},
		Drill: "overload",
		Claim: "goodput", Cause: claim.ProxyTimeout, Fix: "services.", Mesh: true,
	}, {
		Name:  "retries-without-budget",
		About: "what fails is tried again as often as it may be, however much fails: what retries do that nobody thought through to the end",
		Changes: []string{
			"proxies try again whatever the share of retries is (retryBudget is removed from the DestinationRule)",
			"clients try again whatever the share of good answers is (no clients.budget)",
		},
		Drill: "overload",
		Claim: "attempts", Fix: "clients.", Mesh: true,
		clients: func(c *system.Clients) { c.Budget = 0 },
	}, {
		Name:  "permissive",
		About: "sidecars take plaintext too: how a mesh is brought in step by step, and what is there until somebody says that it is done",
		Changes: []string{
			"plaintext is let in, in the system's namespace and in the whole mesh (PeerAuthentication PERMISSIVE)",
		},
		Drill: "plaintext-probe",
		Claim: "refused", Mesh: true,
	}, {
		Name:  "no-policy",
		About: "whoever is in the mesh may ask for anything: mutual TLS says who asks, and nobody says who may",
		Changes: []string{
			"no policy says who may call what (every AuthorizationPolicy of the namespace is removed)",
		},
		Drill: "identity-probe",
		Claim: "refused", Mesh: true,
	}, {
		Name:  "context-not-forwarded",
		About: "what is done for a request has a context of its own: what becomes of code that begins with context.Background()",
		Changes: []string{
			"the program begins a trace of its own for each request, so that what it asks of the database is in no caller's trace (fleet/twin/detached)",
		},
		Drill: "tracing",
		Claim: "traced", Mesh: true,
		Source: "fleet/twin/detached",
	}, {
		Name:  "pool-too-small",
		About: "the nodes have room for the replicas that run and for no other: what saves money every day but one",
		Changes: []string{
			"a replica asks for " + half + " of CPU, so that a node of two cores has room for one",
		},
		Drill: "node-loss",
		Claim: "restored", Fix: "regions.", // no room on its nodes
		edit: func(s *system.Service) { s.Resources.CPU = half },
	}, {
		Name:  "rotation-stopped",
		About: "nobody renews certificates until they have expired: a control plane that is away and that nobody misses, because traffic goes on",
		Changes: []string{
			"istiod is away from the beginning of the drill on, for longer than certificates last",
		},
		Drill: "certificate-rotation",
		Claim: "failed", Cause: claim.CertificateExpired, Mesh: true,
		Variant: fault.RotationStopped,
	}, {
		Name:  "wrong-weights",
		About: "another version gets more of the requests than was decided: a step of yesterday's, or a route that was changed by hand",
		Changes: []string{
			"the first service with a weight gets five points more of the requests, and the service itself five less",
		},
		Drill: "shaping",
		Claim: "weights", Mesh: true,
		edit: func(s *system.Service) {
			s.Traffic = slices.Clone(s.Traffic)
			for i := range s.Traffic {
				if s.Traffic[i].Weight > 0 && s.Rest() >= points {
					s.Traffic[i].Weight += points
					return
				}
			}
		},
	}}
}

// points are five percent.
const points = system.Percent(5_000_000)

// half is a little more than half of what a node of a ground promises, which is
// two cores on any machine that has them. The rest of the second half is room
// for what else runs on a node.
const half = "1100m"

// Find is the twin of that name.
func Find(name string) (Twin, error) {
	var names []string
	for _, t := range All() {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return Twin{}, fmt.Errorf("there is no twin %q; there are: %s", name, strings.Join(names, ", "))
}

// Edit gives the system with what the description can say of the mistake. The
// system itself stays as it is.
func (t Twin) Edit(sys *system.System, service string) (*system.System, error) {
	twin := *sys
	twin.Services = slices.Clone(sys.Services)
	i := slices.IndexFunc(twin.Services, func(s system.Service) bool { return string(s.Name) == service })
	if i < 0 {
		return nil, fmt.Errorf("twin %s: %s describes no service %q", t.Name, sys.File, service)
	}
	s := &twin.Services[i]
	if t.edit != nil {
		t.edit(s)
		if reflect.DeepEqual(*s, sys.Services[i]) {
			return nil, fmt.Errorf("twin %s: service %s is described with this mistake already, or in a way that has no room for it", t.Name, service)
		}
	}
	if t.clients != nil {
		t.clients(&twin.Clients)
	}
	if t.Source != "" {
		source, err := replace(sys, *s, t.Source)
		if err != nil {
			return nil, fmt.Errorf("twin %s: %w", t.Name, err)
		}
		s.Source, s.Image = source, ""
	}
	return &twin, nil
}

const (
	module  = "github.com/nines-ha/nines"
	vehicle = "fleet/vehicle" // whose twins the known-bad programs are
)

// replace is the folder of a known-bad program in place of a service's own.
func replace(sys *system.System, s system.Service, program string) (system.Source, error) {
	if s.Source == "" {
		return "", fmt.Errorf("it is a changed %s, and service %s is an image; describe it by its source to prove this", vehicle, s.Name)
	}
	own, err := filepath.Abs(sys.Folder(s))
	if err != nil {
		return "", err
	}
	root, err := repository(own)
	if err != nil {
		return "", err
	}
	if own != filepath.Join(root, filepath.FromSlash(vehicle)) {
		return "", fmt.Errorf("it is a changed %s, and service %s is built from %s", vehicle, s.Name, s.Source)
	}
	from, err := filepath.Abs(filepath.Dir(sys.File))
	if err != nil {
		return "", err
	}
	relative, err := filepath.Rel(from, filepath.Join(root, filepath.FromSlash(program)))
	return system.Source(filepath.ToSlash(relative)), err
}

// repository is the root of the repository of nines that a folder is in.
func repository(folder string) (string, error) {
	for dir := folder; ; dir = filepath.Dir(dir) {
		body, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		switch {
		case err == nil && modfile.ModulePath(body) == module:
			return dir, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", err
		case dir == filepath.Dir(dir):
			return "", fmt.Errorf("its program is in the repository of nines, and %s is not; take the description from there", folder)
		}
	}
}
