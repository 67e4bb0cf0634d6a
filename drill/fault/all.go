package fault

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// All are the faults there are, in the order in which a suite runs them.
func All() []Fault {
	return []Fault{
		{
			Name: "pod-kill", Self: true, prepare: podKill,
			About: [2]string{
				"deletes one ready pod of the service with no grace period",
				"stands for a container that is killed: out of memory, a crash, a chaos tool",
			},
		},
		{
			Name: "node-loss", Ground: true, nodes: 2, prepare: nodeLoss,
			About: [2]string{
				"cuts the power of a node that runs a pod of the service",
				"stands for a host that fails: nothing is told, packets to it are lost",
			},
		},
		{
			Name: "node-hang", Ground: true, nodes: 2, prepare: nodeHang,
			About: [2]string{
				"freezes every process of a node that runs a pod of the service",
				"stands for a kernel or disk that hangs: connections stay open and silent",
			},
		},
		{
			Name: "node-drain", nodes: 2, prepare: nodeDrain,
			About: [2]string{
				"cordons nodes, two at once where there are three, and evicts their pods within the disruption budgets",
				"stands for an upgrade of the nodes, of two pools at the same time",
			},
		},
		{
			Name: "zone-loss", Ground: true, nodes: 2, zones: 2, prepare: zoneLoss,
			About: [2]string{
				"cuts the power of every node of a zone at once",
				"stands for a data centre that loses power",
			},
		},
		{
			Name: "zone-partition", Ground: true, nodes: 2, zones: 2, prepare: zonePartition,
			About: [2]string{
				"cuts a zone off from everything outside it, while all in it goes on running",
				"stands for a data centre whose network fails",
			},
		},
		{
			Name: "zone-return", Ground: true, nodes: 2, zones: 2, prepare: zoneReturn,
			About: [2]string{
				"takes a zone away, waits until the platform has moved on, then gives it back under load",
				"stands for a data centre that comes back: what returns must not hurt what serves",
			},
		},
		{
			Name: "rolling-restart", Self: true, prepare: rollingRestart,
			About: [2]string{
				"replaces every pod of the service in turn, as \"kubectl rollout restart\" does",
				"stands for a release",
			},
		},
		{
			Name: "scale-down", prepare: scaleDown,
			About: [2]string{
				"removes a third of the service's replicas, one at least",
				"stands for an autoscaler after the peak",
			},
		},
		{
			Name: "apiserver-loss", Ground: true, prepare: apiserverLoss,
			About: [2]string{
				"kills the region's API server and keeps it down for 4 s, as 20 s would be with the clocks of AKS",
				"stands for a control plane that is away: the data path must not need it",
			},
		},
		{
			Name: "database-restart", Ground: true, Self: true, store: true, prepare: databaseRestart,
			About: [2]string{
				"kills the database server, which recovers and starts again by itself",
				"stands for a crash, or a failover, of the managed database",
			},
		},
		{
			Name: "database-stall", Ground: true, store: true, prepare: databaseStall,
			About: [2]string{
				"makes the database hold still for 8 s, its connections open and silent",
				"stands for storage that stalls: only deadlines end the waiting",
			},
		},
		{
			Name: "gray-pod", Ground: true, prepare: grayPod,
			About: [2]string{
				"makes one ready pod answer half of its requests with 503, by chance; its probes say that it is well",
				"stands for a replica that is ill and does not know it: only who asks it can tell",
			},
		},
		{
			Name: "slow-pod", Ground: true, prepare: slowPod,
			About: [2]string{
				"makes one ready pod answer 2 s late; its probes say that it is well",
				"stands for a replica without CPU, or with a bad disk: it fails nothing, and holds everybody up",
			},
		},
		{
			Name: "stalled-dependency", Ground: true, store: true, prepare: stalledDependency,
			About: [2]string{
				"loses all packets of one ready pod to its database; its probes and the other pods are well",
				"stands for a bad path between two machines: the dependency is fine, and one replica has none",
			},
		},
		{
			Name: "overload", Ground: true, prepare: overload,
			About: [2]string{
				"makes every pod serve little, and exactly so, and asks five times as much of them for 30 s",
				"stands for a peak that nobody has capacity for: what can be answered must be, the rest refused at once",
			},
		},
		{
			Name: "gateway-loss", Self: true, mesh: true, prepare: gatewayLoss,
			About: [2]string{
				"deletes one pod of the mesh's ingress gateway with no grace period",
				"stands for the crash of what every request goes through",
			},
		},
		{
			// On AKS the add-on gives istiod its replicas back at once.
			Name: "istiod-loss", Ground: true, mesh: true, prepare: istiodLoss,
			About: [2]string{
				"deletes every pod of istiod with no grace period and keeps them away for 15 s",
				"stands for the loss of the mesh's control plane: the data path must not need it",
			},
		},
		{
			Name: "injector-loss", Ground: true, mesh: true, prepare: injectorLoss,
			About: [2]string{
				"takes istiod away for 15 s and asks for a restart of the service meanwhile",
				"stands for a release while nobody gives sidecars: new pods must wait, or start outside the mesh",
			},
		},
		{
			Name: "locality", nodes: 2, zones: 2, mesh: true, prepare: locality,
			About: [2]string{
				"takes every replica of one zone away for 20 s, in good order, and brings replicas back there",
				"stands for a zone without capacity: its callers must find others, and come home afterwards",
			},
		},
		{
			Name: "certificate-rotation", Ground: true, mesh: true, prepare: certificateRotation,
			About: [2]string{
				"gives proxies certificates of a minute, and replaces the root that all of them lead to",
				"stands for the rotation of a mesh's certificates, a day or a year in one minute",
			},
		},
		{
			Name: "plaintext-probe", Ground: true, mesh: true, prepare: plaintextProbe,
			About: [2]string{
				"asks the service and its sidecar in plaintext, from a pod outside the mesh",
				"stands for a workload that was taken over, in the same network: without an identity it must get nothing",
			},
		},
		{
			Name: "identity-probe", Ground: true, mesh: true, prepare: identityProbe,
			About: [2]string{
				"asks with a forged certificate, header or another identity, and from the service to where it may not",
				"stands for a caller that is not who it says it is, and a service that calls what nobody declared",
			},
		},
		{
			Name: "shaping", mesh: true, shares: true, prepare: shaping,
			About: [2]string{
				"asks for services by their headers; makes those that get copies slow, and then takes them away",
				"stands for a version that is tried on some of the traffic: it gets its share, and its failures are its own",
			},
		},
		{
			Name: "tracing", Ground: true, mesh: true, traces: true, prepare: tracing,
			About: [2]string{
				"breaks nothing: it has every request ask to be traced",
				"stands for the day on which somebody needs a trace: it must be whole, from the gateway to the database",
			},
		},
	}
}

// Find is the fault of that name.
func Find(name string) (Fault, error) {
	var names []string
	best, near := "", 4 // farther is not meant
	for _, f := range All() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
		if d := levenshtein.ComputeDistance(name, f.Name); d < near {
			best, near = f.Name, d
		}
	}
	if best != "" {
		return Fault{}, fmt.Errorf("there is no drill %q; did you mean %q", name, best)
	}
	return Fault{}, fmt.Errorf("there is no drill %q; there are: %s", name, strings.Join(slices.Sorted(slices.Values(names)), ", "))
}
