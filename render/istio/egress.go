package istio

import (
	"encoding/json"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networkingapi "istio.io/api/networking/v1alpha3"
	networking "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/system"
)

const postgresPort = 5432

// dns is in the kube-system of every cluster. Only questions over TCP, for
// answers that are too long for UDP, pass the proxy.
const dns = "kube-system/kube-dns.kube-system.svc.cluster.local"

// sidecar lets a workload reach what it has declared and nothing else, and has
// its proxy know nothing else: its memory and each push shrink with that.
func (m mesh) sidecar(service system.Service) any {
	hosts := append([]string{SystemNamespace + "/*", dns}, m.collectorHosts()...)
	for _, called := range m.reached(service) {
		hosts = append(hosts, "./"+m.host(called))
	}
	for _, store := range service.Stores {
		hosts = append(hosts, "./"+m.storeHost(store))
	}
	return closed{&networking.Sidecar{
		TypeMeta:   typed("networking", "Sidecar"),
		ObjectMeta: m.meta(service),
		Spec: networkingapi.Sidecar{
			WorkloadSelector: &networkingapi.WorkloadSelector{Labels: m.selector(service)},
			Egress:           []*networkingapi.IstioEgressListener{{Hosts: hosts}},

			InboundConnectionPool: m.inboundPool(service),
		},
	}}
}

const registryOnly = "REGISTRY_ONLY"

// closed is a Sidecar that says that nothing else is let out. The mode is the
// zero of its type, which the API's own encoder leaves out, and a rule that
// everything hangs on should be there to be read.
type closed struct {
	sidecar *networking.Sidecar
}

func (c closed) MarshalJSON() ([]byte, error) {
	body, err := json.Marshal(c.sidecar)
	if err != nil {
		return nil, err
	}
	var tree struct {
		metav1.TypeMeta
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     map[string]any    `json:"spec"`
	}
	if err := json.Unmarshal(body, &tree); err != nil {
		return nil, err
	}
	tree.Spec["outboundTrafficPolicy"] = map[string]any{"mode": registryOnly}
	return json.Marshal(tree)
}

func (m mesh) storeHost(store system.Name) string {
	if host := m.options.StoreHosts[string(store)]; host != "" {
		return host
	}
	return StoreHost(m.system, store)
}

// usedStores are those that a service lists, in the order of the description.
func (m mesh) usedStores() []system.Store {
	return slices.DeleteFunc(slices.Clone(m.system.Stores), func(store system.Store) bool {
		return !slices.ContainsFunc(m.system.Services, func(s system.Service) bool { return slices.Contains(s.Stores, store.Name) })
	})
}

// storeEntry lets a store be reached. PostgreSQL negotiates TLS inside its own
// protocol, so that the proxy passes bytes and the service checks the
// certificate. The proxy looks the name up itself and sends there whatever the
// service dials on the port, so that the port is no way to anywhere else, and
// a name that moves to a standby is followed. With two stores behind one proxy
// that would send both to one of them: the port is all that tells TCP
// connections apart, and then each goes where the service dialled.
func (m mesh) storeEntry(store system.Store) *networking.ServiceEntry {
	resolution := networkingapi.ServiceEntry_DNS
	if slices.ContainsFunc(m.system.Services, func(s system.Service) bool {
		return len(s.Stores) > 1 && slices.Contains(s.Stores, store.Name)
	}) {
		resolution = networkingapi.ServiceEntry_NONE
	}
	return &networking.ServiceEntry{
		TypeMeta:   typed("networking", "ServiceEntry"),
		ObjectMeta: m.common(m.namespace(), "store-"+string(store.Name)),
		Spec: networkingapi.ServiceEntry{
			Hosts:      []string{m.storeHost(store.Name)},
			Location:   networkingapi.ServiceEntry_MESH_EXTERNAL,
			Resolution: resolution,
			Ports:      []*networkingapi.ServicePort{{Number: postgresPort, Name: "tcp-postgres", Protocol: "TCP"}},
			ExportTo:   []string{"."},
		},
	}
}

// storeDestination finds out within half a minute that a store is gone without
// a word; the service's own time-outs are for its requests.
func (m mesh) storeDestination(store system.Store) *networking.DestinationRule {
	return &networking.DestinationRule{
		TypeMeta:   typed("networking", "DestinationRule"),
		ObjectMeta: m.common(m.namespace(), "store-"+string(store.Name)),
		Spec: networkingapi.DestinationRule{
			Host:     m.storeHost(store.Name),
			ExportTo: []string{"."},
			TrafficPolicy: &networkingapi.TrafficPolicy{ConnectionPool: &networkingapi.ConnectionPoolSettings{
				Tcp: &networkingapi.ConnectionPoolSettings_TCPSettings{
					ConnectTimeout: durationpb.New(2 * time.Second),
					TcpKeepalive:   keepalive(),
				},
			}},
		},
	}
}
