package collector

import (
	"fmt"
	"net/netip"
)

// Manifests make a cluster's pods find a collector that answers outside it, at
// address and Port, by the name of a Service. The port is TCP to a mesh: who exports
// a trace is not to be traced for it.
func Manifests(address netip.Addr) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: Service
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  ports: [{name: tcp-otlp-http, port: %[3]d, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[2]s, namespace: %[1]s, labels: {kubernetes.io/service-name: %[2]s}}
addressType: IPv4
ports: [{name: tcp-otlp-http, port: %[3]d, protocol: TCP}]
endpoints: [{addresses: [%[4]s], conditions: {ready: true}}]
`, Namespace, Service, Port, address)
}
