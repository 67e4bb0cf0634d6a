// Package probe tries one exchange from inside a pod's network, as a program in
// that pod would: Try dials an address, asks once and says what came back, or how
// it was refused. Where the pod has a sidecar it captures the connection, since it
// is not made as the sidecar's own user. IPv4 and HTTP/1.1 only; names are not
// looked up. The package changes nothing and judges nothing.
package probe

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Limits of what may be asked for, and of what is taken in.
const (
	within     = 5 * time.Second // the whole exchange
	maxHeaders = 16
	maxText    = 1 << 10  // of a path, a name or a header
	maxBody    = 16 << 10 // of an answer; the rest is not read
	maxDetail  = 256
)

// A Probe is a GET.
type Probe struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"` // from whose network

	To      netip.AddrPort    `json:"to"`
	Host    string            `json:"host"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers,omitempty"`
	TLS     *TLS              `json:"tls,omitempty"` // nil: plaintext
}

// TLS is how a probe wraps its exchange. It believes whatever the other side shows.
type TLS struct {
	// Identity is the URI that the probe's certificate claims, such as a SPIFFE
	// identity. An authority that the probe makes for itself signs it. "": it has no
	// certificate.
	Identity   string   `json:"identity,omitempty"`
	ServerName string   `json:"serverName,omitempty"`
	ALPN       []string `json:"alpn,omitempty"`
}

// Validate says whether a probe can be tried.
func (p Probe) Validate() error {
	switch {
	case p.Namespace == "" || p.Pod == "":
		return fmt.Errorf("probe from a pod: it has no name")
	case !p.To.Addr().Is4() || p.To.Port() == 0:
		return p.refuse("%q is no IPv4 address with a port", p.To)
	case !strings.HasPrefix(p.Path, "/") || len(p.Path) > maxText:
		return p.refuse("the path %.40q; want one that begins with / and has at most %d bytes", p.Path, maxText)
	case len(p.Headers) > maxHeaders:
		return p.refuse("%d headers; at most %d", len(p.Headers), maxHeaders)
	case p.TLS != nil && (len(p.TLS.Identity) > maxText || len(p.TLS.ALPN) > maxHeaders):
		return p.refuse("an identity or a list of protocols that is too long")
	}
	for name, value := range p.Headers {
		if len(name)+len(value) > maxText {
			return p.refuse("header %.40s has more than %d bytes", name, maxText)
		}
	}
	return nil
}

func (p Probe) refuse(format string, args ...any) error {
	return fmt.Errorf("probe %s from pod %s/%s: %w", p.To, p.Namespace, p.Pod, fmt.Errorf(format, args...))
}

// How an exchange ended without an answer, as Answer.Refused.
const (
	ConnectRefused = "connect-refused"
	ConnectTimeout = "connect-timeout"
	ConnectFailed  = "connect-failed" // any other way
	Alert          = "alert"          // TLS, with a reason
	Reset          = "reset"
	Closed         = "closed" // orderly
	Timeout        = "timeout"
	Malformed      = "malformed" // something came that is not HTTP
)

// An Answer is what came of a probe: a Status, or how it was Refused.
type Answer struct {
	At      time.Time      `json:"at"`            // when it began
	From    netip.AddrPort `json:"from,omitzero"` // the probe's own end; none: there was no connection
	Status  int            `json:"status,omitempty"`
	Body    string         `json:"body,omitempty"` // its beginning
	Refused string         `json:"refused,omitempty"`
	Detail  string         `json:"detail,omitempty"` // in the words of who noticed
}

// Ended tells whether who was asked ended the connection before any answer.
func (a Answer) Ended() bool {
	return a.Refused == Alert || a.Refused == Reset || a.Refused == Closed
}

func (a Answer) String() string {
	switch a.Refused {
	case "":
		return fmt.Sprintf("answered %d", a.Status)
	case Alert:
		return "TLS alert: " + strings.TrimPrefix(a.Detail, "remote error: tls: ")
	case Reset:
		return "reset before any answer"
	case Closed:
		return "closed before any answer"
	case Timeout:
		return "connected, and no answer within " + within.String()
	}
	return a.Refused + ": " + a.Detail
}
