// Package record is the account of one drill: what was promised, what was sent,
// what came back, what the cluster did meanwhile, and what was stored in the
// end. It is a file of JSON Lines, each a Line with exactly one field set, the
// Header first and the End last. Write with a Writer, read with Open. Verdicts
// are made from it alone, so everything that a judge needs is in it. The package
// judges nothing and knows neither load nor faults.
package record

import "time"

// Version of the format. A reader refuses another one; within a version, fields
// are only added.
const Version = 1

// A Line is one line of the file; exactly one field is set. Instants, named At or
// as below, are nanoseconds since Header.Started; they may be negative for what
// happened before.
type Line struct {
	Header  *Header  `json:"header,omitempty"`
	Phase   *Phase   `json:"phase,omitempty"`
	Request *Request `json:"request,omitempty"`
	Event   *Event   `json:"event,omitempty"`
	Flow    *Flow    `json:"flow,omitempty"`
	Hop     *Hop     `json:"hop,omitempty"`
	Span    *Span    `json:"span,omitempty"`
	Second  *Second  `json:"second,omitempty"`
	Stored  *Stored  `json:"stored,omitempty"`
	End     *End     `json:"end,omitempty"`
}

// A Header says what was done to what, and what is promised.
type Header struct {
	Version int       `json:"version"`
	Program string    `json:"program"` // version of nines
	Drill   string    `json:"drill"`
	Twin    string    `json:"twin,omitempty"` // the known-bad change that was in force
	About   string    `json:"about"`
	Touches []string  `json:"touches"` // what the drill said it would do, in order
	System  string    `json:"system"`
	Region  string    `json:"region"`
	Local   bool      `json:"local"` // a proving ground; false: some other cluster
	Mesh    bool      `json:"mesh"`
	Started time.Time `json:"started"`
	Seed    uint64    `json:"seed"`

	Service Service  `json:"service"`
	Gateway *Gateway `json:"gateway,omitempty"` // the way in, where the mesh has one
	Nodes   []Node   `json:"nodes"`
	Stores  []string `json:"stores,omitempty"`
	Load    Load     `json:"load"`
	Window  Window   `json:"window"`
	Promise Promise  `json:"promise"`
	Clocks  []Clock  `json:"clocks"` // that differ from AKS
}

// A Service is what the load is sent to.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Address   string `json:"address"` // of the front door, host:port inside the ground
	Replicas  int    `json:"replicas"`
	Least     int    `json:"least"` // replicas that its disruption budget keeps
	Version   string `json:"version,omitempty"`

	Traffic []Share `json:"traffic,omitempty"` // what others get of it
}

// A Gateway is the way in of a mesh: proxies that stand in front of the service. A
// client's connection ends at one of them.
type Gateway struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Replicas  int    `json:"replicas"`
}

// A Node is a machine of the cluster.
type Node struct {
	Name string `json:"name"`
	Zone string `json:"zone"`
}

// Load is what was asked of the generator.
type Load struct {
	Rate float64 `json:"rate"` // requests a second
	// Steps are the rates of the window, each for an equal part of it; none: Rate
	// all along. Before and after the window it is Rate.
	Steps    []float64          `json:"steps,omitempty"`
	Arrivals string             `json:"arrivals"`
	Clients  int                `json:"clients"`
	Deadline time.Duration      `json:"deadline"` // of a request with all its attempts, from its scheduled time
	Retry    *Retry             `json:"retry,omitempty"`
	Mix      map[string]float64 `json:"mix"`    // share by operation
	Source   string             `json:"source"` // generated, or the name of a data set
	// Steered is the share of the requests that carry the headers of a service,
	// by its name.
	Steered map[string]float64 `json:"steered,omitempty"`
	// Sample is the share of the requests that ask to be traced.
	Sample float64 `json:"sample,omitempty"`
}

// Retry is what clients do about an attempt that failed. Only what may be repeated
// is tried again.
type Retry struct {
	Attempts   int           `json:"attempts"`          // in all, at most
	Timeout    time.Duration `json:"timeout,omitempty"` // of one attempt; 0: what is left of the deadline
	BackoffMin time.Duration `json:"backoffMin,omitempty"`
	BackoffMax time.Duration `json:"backoffMax,omitempty"`
	// Budget is the share of a retry that each request which is answered well pays
	// for; 0: retries cost nothing.
	Budget float64 `json:"budget,omitempty"`
}

// In is the mean rate of the window.
func (l Load) In() float64 {
	if len(l.Steps) == 0 {
		return l.Rate
	}
	var sum float64
	for _, rate := range l.Steps {
		sum += rate
	}
	return sum / float64(len(l.Steps))
}

// Window is the stretch that is judged: so long, from the moment the fault
// began, and no other. It does not depend on what happened.
type Window struct {
	Length time.Duration `json:"length"`
}

// A Promise is what the drill claims, in numbers; a zero value (nil for pointers)
// claims nothing.
type Promise struct {
	Availability float64       `json:"availability,omitempty"` // share of requests in the window, 0.999
	Failed       *int          `json:"failed,omitempty"`       // at most so many requests of the whole run
	P50          time.Duration `json:"p50,omitempty"`
	P95          time.Duration `json:"p95,omitempty"`
	P99          time.Duration `json:"p99,omitempty"`
	Slow         time.Duration `json:"slow,omitempty"`     // a request over this is explained like a failed one
	Recovery     time.Duration `json:"recovery,omitempty"` // from the fault to the last request it cost
	Answer       time.Duration `json:"answer,omitempty"`   // every request gets some answer, a refusal if need be, within this
	Capacity     int           `json:"capacity,omitempty"` // never fewer ready endpoints, neither by eviction nor by restart
	Writes       bool          `json:"writes,omitempty"`   // none acknowledged is lost, doubled or changed
	Fresh        bool          `json:"fresh,omitempty"`    // no stale read
	Restored     bool          `json:"restored,omitempty"` // all replicas are back before the window ends
	Ejected      time.Duration `json:"ejected,omitempty"`  // from the fault until the pod that is unwell gets no more requests
	Meshed       bool          `json:"meshed,omitempty"`   // no pod is made outside the mesh
	Local        float64       `json:"local,omitempty"`    // share of calls that stay in their zone while it has a replica, 0.95
	Rotated      int           `json:"rotated,omitempty"`  // each proxy shows so many certificates at least in the window, none expired, and another root in the end
	Refused      int           `json:"refused,omitempty"`  // so many probes, all refused, and each shown by the proxy that refused it
	Shared       *Shared       `json:"shared,omitempty"`   // each service gets the share that is described
	Traced       float64       `json:"traced,omitempty"`   // share of the requests that ask for it which have one whole trace

	// Of the part of the window in which more is asked than can be served.
	Serves   float64       `json:"serves,omitempty"`   // requests a second that all replicas together can
	Goodput  float64       `json:"goodput,omitempty"`  // share of them that is answered well all the time
	Refusal  time.Duration `json:"refusal,omitempty"`  // 99 % of the attempts that are not are refused within this
	Attempts float64       `json:"attempts,omitempty"` // for a request, on average, at most
}

// A Clock is a period of the platform that is shorter here than on AKS.
type Clock struct {
	Name  string        `json:"name"`
	Here  time.Duration `json:"here"`
	AKS   time.Duration `json:"aks"`
	Delay string        `json:"delay"` // what waits for it: "detection" (requests fail until then), "capacity" (replicas are missing until then), or "" (no request)
}

// Phases of a drill, in order. Inject begins the window; Injected says that
// the fault's action is complete; Heal and Healed enclose the undoing.
const (
	Warm     = "warm"
	Steady   = "steady"
	Inject   = "inject"
	Injected = "injected"
	Heal     = "heal"
	Healed   = "healed"
	Restored = "restored" // steady state was found again
	ReadBack = "read-back"
)

// A Phase is the beginning of a phase.
type Phase struct {
	At   time.Duration `json:"at"`
	Name string        `json:"name"`
	Text string        `json:"text,omitempty"`
}

// A Request is one attempt of one client. Instants that were not reached are 0.
// Merge puts attempts together.
type Request struct {
	ID        string        `json:"id"`           // also sent as X-Request-Id
	Of        string        `json:"of,omitempty"` // the ID of the first attempt, if this is a later one
	Client    int           `json:"client"`
	Op        string        `json:"op"`               // write, read, range
	Scheduled time.Duration `json:"scheduled"`        // latency counts from here; of a later attempt: when it was to be made
	Taken     time.Duration `json:"taken"`            // the generator took it up: later than Scheduled means that it was behind
	Waited    time.Duration `json:"waited,omitempty"` // after Taken, because all connections of the client were busy
	Sent      time.Duration `json:"sent,omitempty"`
	First     time.Duration `json:"first,omitempty"` // first byte of the answer
	Done      time.Duration `json:"done"`            // answered, failed or given up
	Status    int           `json:"status,omitempty"`
	Error     Class         `json:"error,omitempty"`   // why there is no whole answer
	Detail    string        `json:"detail,omitempty"`  // what the answer or the system said, bounded
	Conn      string        `json:"conn,omitempty"`    // the client's end, address:port
	Reused    bool          `json:"reused,omitempty"`  // the connection had served before
	Out       int           `json:"out"`               // bytes sent
	In        int           `json:"in"`                // bytes received
	Retries   int           `json:"retries,omitempty"` // attempts before this one
	Again     bool          `json:"again,omitempty"`   // another attempt followed
	Sampled   bool          `json:"sampled,omitempty"` // it asked to be traced
	Pod       string        `json:"pod,omitempty"`     // who answered
	Node      string        `json:"node,omitempty"`
	Zone      string        `json:"zone,omitempty"`
	Version   string        `json:"version,omitempty"`
	To        string        `json:"to,omitempty"` // the service whose headers it carries
	Write     *Write        `json:"write,omitempty"`
	Read      *Read         `json:"read,omitempty"`
}

// Failed says whether the client got no answer that it can use: none at all, or a
// status other than 2xx and 304.
func (r *Request) Failed() bool {
	return r.Error != "" || r.Status != 304 && (r.Status < 200 || r.Status > 299)
}

// Latency counts from when the request was due.
func (r *Request) Latency() time.Duration { return r.Done - r.Scheduled }

// Class is why a request has no whole answer.
type Class string

const (
	ConnectTimeout Class = "connect-timeout"
	ConnectRefused Class = "connect-refused"
	ConnectFailed  Class = "connect-failed" // any other way
	Reset          Class = "reset"          // while sending or waiting
	Closed         Class = "closed"         // orderly, but before the answer was whole
	Timeout        Class = "timeout"        // sent, and no whole answer before the deadline
	Malformed      Class = "malformed"      // not HTTP
	WrongAnswer    Class = "wrong-answer"   // HTTP, status right, content not
	NotSent        Class = "not-sent"       // the generator's own fault
)

// A Write is the one thing that a request stores: a version of an entity.
// Versions of an entity grow in the order in which they are sent first.
type Write struct {
	Entity  string `json:"entity"`
	Version int64  `json:"version"`
	Sum     string `json:"sum"` // digest of the content
	// Acknowledged says that the answer promised that the write is stored.
	Acknowledged bool `json:"acknowledged,omitempty"`
}

// A Read is the newest version of an entity that an answer showed; 0: none.
type Read struct {
	Entity string `json:"entity"`
	Saw    int64  `json:"saw"`
}

// Stored is one thing that was found in the store afterwards. All things of all
// entities of the run are told, once each.
type Stored struct {
	Entity  string `json:"entity"`
	Version int64  `json:"version"`
	Sum     string `json:"sum"`
	Copies  int    `json:"copies"` // 1
}

// Kinds of things whose states an Event tells, and their states.
const (
	Pod      = "pod"      // pending, running, ready, unready, terminating, ended, deleted
	Endpoint = "endpoint" // ready, unready, terminating (serving still), gone; Name is the pod
	NodeKind = "node"     // ready, not-ready, unknown, cordoned, deleted: what Kubernetes believes
	Machine  = "machine"  // running, frozen, stopped, deleted, cut: what is
	Zone     = "zone"     // joined, cut
	Backend  = "backend"  // unknown, up, down: what the load balancer's probes say; Name is the node
	Part     = "part"     // starting, ready, failed, stopped: a program of the ground, such as a database
	Fault    = "fault"    // done, undone: one action of the drill on Name
	Mesh     = "mesh"     // inside, outside: a pod as it was made; Name is the pod
	Copies   = "copies"   // counted: Count requests have arrived so far at the service Name, which gets copies
	Impaired = "impaired" // asked, spared, broken: a pod that the drill has made unwell gets requests, or has had none for 2 s; what counts them ended

	// CertificateKind is what a proxy proves itself by; Name is the pod. Its states:
	// issued, rotated, and trusts when only the roots that it accepts are others.
	CertificateKind = "certificate"

	// Probe is an exchange that must not succeed (Name is what was tried, Reason where
	// its refusal shows), Control one that must: it tells that addresses and the
	// service are as the probes take them to be.
	Probe   = "probe"   // refused, admitted, unknown
	Control = "control" // answered, unanswered

	// GatewayKind is an endpoint of the gateway, with the states of one; Name is the
	// pod. The pod's own turns are of the kind Pod.
	GatewayKind = "gateway"
)

// States of a Mesh, of a Copies and of an Impaired event.
const (
	Counted = "counted"
	Inside  = "inside"
	Outside = "outside"
	Asked   = "asked"
	Spared  = "spared"
	Broken  = "broken"
)

// States of a certificate.
const (
	Issued  = "issued"
	Rotated = "rotated"
	Trusts  = "trusts"
)

// States of a Probe and of a Control event.
const (
	Refused    = "refused"
	Admitted   = "admitted"
	Unknown    = "unknown" // nobody answered, or it could not be tried
	Answered   = "answered"
	Unanswered = "unanswered"
)

// An Event is a turn of the state of something. The first of a thing tells the
// state it was in when the watch began.
type Event struct {
	At     time.Duration `json:"at"` // when it was, as exactly as the source tells
	Seen   time.Duration `json:"seen,omitempty"`
	Kind   string        `json:"kind"`
	Name   string        `json:"name"`
	State  string        `json:"state"`
	Node   string        `json:"node,omitempty"`
	Zone   string        `json:"zone,omitempty"`
	Reason string        `json:"reason,omitempty"` // as the source puts it: "OOMKilled", "exit code 137"
	Text   string        `json:"text,omitempty"`
	Count  int           `json:"count,omitempty"`

	Certificate *Certificate `json:"certificate,omitempty"` // of a CertificateKind
}

// A Certificate is what a proxy shows to others, and the roots that it accepts, by
// their fingerprints.
type Certificate struct {
	Serial string        `json:"serial"`
	Left   time.Duration `json:"left"`           // until it expires, from Event.At on
	Root   string        `json:"root,omitempty"` // that it leads to; none: no root that the proxy itself accepts
	Trusts []string      `json:"trusts,omitempty"`
}

// A Flow is where the load balancer sent a connection of a request that failed
// or was slow.
type Flow struct {
	Conn string `json:"conn"` // as in Request.Conn
	Node string `json:"node"`
}

// Proxies that a request of a mesh passes, as Hop.Proxy.
const (
	AtGateway = "gateway"  // where clients come in
	Inbound   = "inbound"  // the sidecar of the pod that is asked
	Outbound  = "outbound" // the sidecar of a pod that asks another, or a store
)

// A Hop is a line of the access log of one proxy. All lines about requests that
// failed or took long are told, and a sample of the others; what a proxy says of a
// connection that is no HTTP has no ID and is told where it failed. Texts are
// shortened.
type Hop struct {
	ID          string        `json:"id,omitempty"` // as in Request.ID
	At          time.Duration `json:"at"`           // when it began, by the clock of the proxy's node
	Length      time.Duration `json:"length"`       // until it was over, in whole milliseconds
	Proxy       string        `json:"proxy"`
	Pod         string        `json:"pod"` // of the proxy
	Node        string        `json:"node,omitempty"`
	Zone        string        `json:"zone,omitempty"`
	Status      int           `json:"status,omitempty"` // that it answered; 0: none
	Flags       []string      `json:"flags,omitempty"`  // Envoy's response flags: "UF", "URX"
	Details     string        `json:"details,omitempty"`
	Upstream    string        `json:"upstream,omitempty"`    // whom it asked last, address:port
	UpstreamPod string        `json:"upstreamPod,omitempty"` // where the address is a pod's that is known
	Attempts    int           `json:"attempts,omitempty"`    // how often it asked somebody
	Failure     string        `json:"failure,omitempty"`     // of the connection to Upstream
	Peer        string        `json:"peer,omitempty"`        // identity of who asked
	Trace       string        `json:"trace,omitempty"`
}

// Where a Span is from, besides the proxies of a Hop.
const (
	AtService = "service" // the program itself
	AtStore   = "store"   // the program again, waiting for a store
)

// A Span is a part of the trace of a request that asked for one, as it was exported.
// The parent of the outermost one is the span that the client began: see TraceOf.
type Span struct {
	ID      string        `json:"id"`               // as in Request.ID
	Span    string        `json:"span"`             // its own id in the trace
	Parent  string        `json:"parent,omitempty"` // that of the span it is within
	Place   string        `json:"place"`            // gateway, inbound, outbound, service, store
	Name    string        `json:"name"`
	Service string        `json:"service,omitempty"` // as who exported it calls itself
	Pod     string        `json:"pod,omitempty"`
	At      time.Duration `json:"at"` // when it began, by the clock of the node
	Length  time.Duration `json:"length"`
	Failed  bool          `json:"failed,omitempty"`
}

// A Second is what the generator saw of itself and of the machine in the second
// that began At.
type Second struct {
	At        time.Duration `json:"at"`
	Scheduled int           `json:"scheduled"`         // requests due, each once
	Answered  int           `json:"answered"`          // in the end
	Failed    int           `json:"failed"`            // in the end
	Retried   int           `json:"retried,omitempty"` // attempts made besides the first ones
	InFlight  int           `json:"inFlight"`
	Lag       time.Duration `json:"lag"`            // the worst Taken - Scheduled
	CPU       float64       `json:"cpu"`            // share of the machine's time that was not idle
	Steal     float64       `json:"wait,omitempty"` // share of time in which some task waited for a CPU
}

// End closes a record. A file without one was interrupted.
type End struct {
	At          time.Duration `json:"at"`
	Interrupted string        `json:"interrupted,omitempty"` // why, if the drill did not run to its end
	Unsteady    []string      `json:"unsteady,omitempty"`    // what was not in order afterwards
	Unread      []string      `json:"unread,omitempty"`      // hops that are missing: logs that could not be read, lines that were dropped
	Untraced    string        `json:"untraced,omitempty"`    // why spans may be missing that were exported
	ReadBack    bool          `json:"readBack"`              // every Stored is told
}
