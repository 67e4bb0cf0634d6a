// Package impair makes one pod unwell while Kubernetes believes it to be well:
// what it answers is an error or late, or it serves few at once, or what it sends
// to a destination is lost. Call Start with a process of the pod; Stop mends it.
// The program that calls Start must hand StageName to Stage. It works in the pod's network namespace
// alone, as Chaos Mesh's HTTPChaos does, with which Azure Chaos Studio makes the
// same faults: nftables leads new connections to the service's port through a
// proxy. IPv4 and HTTP/1.1 only. Probes that ask another port notice nothing.
package impair

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// Limits of what may be asked for.
const (
	maxDelay   = time.Minute
	maxAtOnce  = 1024
	maxDrop    = 64
	maxHeaders = 16
)

// An Impairment is what is wrong with a pod.
type Impairment struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`

	// Port is the one that the pod serves HTTP at. Requests to it are counted, also
	// where nothing is wrong with the answers. 0: no request is touched.
	Port uint16 `json:"port,omitempty"`
	// Errors is the share of requests, 0 to 1, that are answered with Status and
	// Headers, and of which the service never hears.
	Errors  float64           `json:"errors,omitempty"`
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Delay passes before any answer is given, from when the request came or, with
	// AtOnce, from when its turn came.
	Delay time.Duration `json:"delay,omitempty"`
	// AtOnce is how many requests are served at once. The others wait in a line, and
	// who goes away leaves it. Delay is then what each takes at least, whoever goes
	// away, so that AtOnce in each Delay is what the pod serves. 0: any number.
	AtOnce int `json:"atOnce,omitempty"`

	// Drop are destinations that nothing arrives at which the pod sends; port 0
	// is every TCP port of the address.
	Drop []netip.AddrPort `json:"drop,omitempty"`
}

// Validate says whether a pod can be impaired so.
func (i Impairment) Validate() error {
	switch {
	case i.Namespace == "" || i.Pod == "":
		return fmt.Errorf("impair a pod: it has no name")
	case !(i.Errors >= 0 && i.Errors <= 1):
		return i.refuse("a share of %v of requests; want 0 to 1", i.Errors)
	case i.Errors > 0 && (i.Status < 400 || i.Status > 599):
		return i.refuse("status %d is no error; want 400 to 599, such as %d", i.Status, http.StatusServiceUnavailable)
	case i.Delay < 0 || i.Delay > maxDelay:
		return i.refuse("a delay of %s; want 0 to %s", i.Delay, maxDelay)
	case i.AtOnce < 0 || i.AtOnce > maxAtOnce:
		return i.refuse("%d requests at once; want 0 (any number) to %d", i.AtOnce, maxAtOnce)
	case i.AtOnce > 0 && i.Delay == 0:
		return i.refuse("%d requests at once, and nothing says how long each takes: a delay", i.AtOnce)
	case i.Port == 0 && (i.Errors > 0 || i.Delay > 0):
		return i.refuse("requests are spoilt at a port, and none is given")
	case i.Port == 0 && len(i.Drop) == 0:
		return i.refuse("nothing is to be wrong with it")
	case len(i.Drop) > maxDrop || len(i.Headers) > maxHeaders:
		return i.refuse("%d destinations and %d headers; at most %d and %d", len(i.Drop), len(i.Headers), maxDrop, maxHeaders)
	}
	for _, to := range i.Drop {
		if !to.Addr().Is4() {
			return i.refuse("%s is no IPv4 address", to.Addr())
		}
	}
	return nil
}

func (i Impairment) refuse(format string, args ...any) error {
	return fmt.Errorf("impair pod %s/%s: %w", i.Namespace, i.Pod, fmt.Errorf(format, args...))
}

// A Status is how an impairment stands.
type Status struct {
	Since    time.Time `json:"since"`
	Requests int       `json:"requests"`      // that reached Port since then
	Last     time.Time `json:"last,omitzero"` // of the last of them
	// Trouble says that the proxy has ended by itself; the port then refuses.
	Trouble string `json:"trouble,omitempty"`
}
