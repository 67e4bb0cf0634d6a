// Package claim judges a drill from its record alone. Call Judge: it gives a
// Verdict, the same one each time. It runs nothing and looks at nothing else.
//
// # What counts
//
// A request belongs to the instant at which it was due, whenever it ended, and
// its latency counts from then. It failed if it has no whole answer, a wrong one,
// or a status other than 2xx and 304: a refusal is a failure, and so is a 404 of a
// read. It was slow if it was answered well, but over Promise.Slow, or over a promised
// percentile that is less and was not kept.
//
// Where clients try again, a request is all its attempts: it ended as the last one
// did, and its latency is from when the first was due. What first attempts came to
// is counted beside that, never in its place. A request was answered, for the claim
// of that name, as soon as any attempt got any answer. Writes and stale reads are
// held against each attempt.
//
// Availability, percentiles, answer, recovery and capacity are over the window:
// from the beginning of the fault, so long as Window.Length, and not a moment
// more. Failed, the attribution and the worst cases are over the run: from the end
// of the warming up to the end of the load. Writes and stale reads are over all.
//
// Percentiles are by nearest rank over the requests that were answered well. The
// outage is the failures of the window divided by the rate. Detect is the first
// turn of a node, an endpoint or a backend to the bad after the fault (of the nodes
// that were lost, if any were). Recover is when the last request was over that the
// fault cost, -1 if it still cost some in the last second of the window. Restored
// is when all replicas were ready and stayed so.
//
// An overload is the part of the window whose steps are above what is served. Its
// goodput is what was answered well in each 5 s of it, of what can be served; its
// refusals are all attempts that were not answered well, from being sent; its
// attempts are those of clients, and of the gateway as far as it tells; recovery
// is then from its end to the first instant from which on 99.9 % of what is due
// is answered and 99 % is not slow.
//
// # The verdict
//
// It is inconclusive, whatever the claims say, if the record is no evidence: it is
// cut off, has no end or contradicts itself (a request is told twice, the generator
// counted others, attempts do not fit together, or there are more than was declared),
// the fault never began, no request was
// due in the window, or the load ended before the window.
//
// It is refuted if a claim about writes, stale reads, sidecars or refusals is. Any other claim that is
// refuted makes it refuted too, unless the measuring itself is in doubt, and then
// it is inconclusive:
//   - more than 1 % of the requests were taken up more than 50 ms late, more than
//     0.1 % more than 100 ms, one more than a second, or one was not sent at all
//   - fewer requests were due than 95 % of the rate (less chance: four times the
//     square root)
//   - the machine was busy in more than a quarter of the window's seconds: CPU at
//     95 %, or some task waiting for one for 75 % of the time
//   - more than 1 % of the failed and slow requests, or of the failed ones alone,
//     are unattributed; this does not save a claim about replicas (capacity,
//     restored), which is known without it
//
// Otherwise it is inconclusive if any claim is, if nothing was promised, if the
// generator was behind as above (but not for a busy machine alone: that can break a
// promise, and cannot keep one), or if there is a lesser doubt:
//   - the fault was not complete within the window, the drill was interrupted
//     after it, or not all was in order in the end
//   - writes were promised and not read back, or the store holds what was not sent
//
// Otherwise it is held.
//
// A claim about failures or percentiles that is broken only
// by requests that the machine or the generator was too busy for is inconclusive.
// The failures of a whole run count even if nothing else went wrong.
//
// # Attribution
//
// Every failed or slow request of the run has one cause, the first of these for
// which the record has evidence:
//
//	generator         it was not sent, or would not have been slow or late without the lag
//	(inherited)       it mostly waited for a connection; the cause is that of the request that had one
//	(by a flag)       it failed, and a proxy's log says why; the deepest proxy that had trouble of its own
//	                  counts: policy-denied (UAEX, RLSE, IH, DPE, a denial by RBAC, no identity), no-route
//	                  (NR, NC, NFCF, DF), shed (UO, RL, OM, DO, UDO), injected (FI, DI), no-endpoint or
//	                  no-healthy-upstream (UH, LH: by whether a replica was ready). Where whom it asked
//	                  failed (UF, UC, UR, LR, UPE), took too long (UT, DT, SI, UMSDR) or was left (DC,
//	                  DR): node-down and pod-ended, if that befell it then; else database or machine for
//	                  what took too long, or proxy-timeout; and not-serving or no-endpoint for a connection
//	                  that was refused, by what was said of the endpoint, or upstream-lost
//	(by attempts)     it was slow, and the gateway tried more than once: node-down if an endpoint's node was
//	                  away then, else database or machine as below, or upstream-lost
//	shed              429, or 503 with "too many requests"
//	database          500, 503, 504, slow or unanswered, and a store was not ready then or up to 3 s before
//	pod-ended         no answer, or 5xx, and its pod had been told to end, ended or was deleted up to 1 s
//	                  later, and answered nothing well from 2 s after on; not if its node was lost
//	node-down         its node was stopped, frozen, deleted or cut off meanwhile (refused: within 1 s of it)
//	balancer-unaware  the same, for a connection made after that, with the backend still up
//	no-endpoint       no connection, or a late one, and nobody took any there then or up to 1 s before, or
//	                  the load balancer had nobody left
//	not-serving       the endpoint was said to be ready and had not answered anything well since (less
//	                  than 10 s, if it was slow, or is one of several); or a connection was refused
//	                  although endpoints were said to be ready
//	database          5xx that says that the store cannot be reached
//	node-down         slow or unanswered through a gateway, which can have sent it to an endpoint on a node
//	                  that was away
//	starved           slow or unanswered, and fewer replicas than the least were ready and answered
//	machine           slow or unanswered, and the machine was busy in that second
//	slow-answer       well answered, and over half of the time passed between sending and the first byte; or
//	                  the sidecar of the replica waited over half of the time
//	connect-timeout, reset, server-error
//	                  by its own result
//	unattributed      anything else
//
// Of a request that took several attempts each failed one has a cause. The request
// has the cause that most of them share, the earliest of those if there are several;
// machine and generator only if there is no other. That is so too if it was answered
// well and is slow. What failed at the first attempt and was answered well in the end
// is counted by cause in a table of its own.
//
// A pod or node is known from the answer, from the answer before on the same
// connection, or from what the load balancer remembers. A connection that was not
// made has none of these; it is held against all that the load balancer thought up
// then.
//
// Where a mesh has a gateway, a connection ends at one of its pods: the one that
// logged any of its requests, or the one on the node that the load balancer remembers. The pod that answers is behind it: an
// answer is held against that one, and what became of a connection against the
// gateway's. Replicas, ready and least are those of the service all the same.
//
// # Clocks
//
// The outage with AKS' clocks is the outage, and for each clock that ended it the
// difference of the periods times the share of requests that failed until then. A
// clock of "detection" ended it if requests failed for that reason up to the last
// second before its sign: the first bad turn of a node (a name with "node") or a
// backend (a name with "balancer"). A clock of "capacity" ended it if nobody served
// until some replica did again. Other clocks add nothing.
package claim

import (
	"time"

	"github.com/nines-ha/nines/record"
)

// Outcome is what a verdict comes to.
type Outcome string

const (
	Held         Outcome = "held"
	Refuted      Outcome = "refuted"
	Inconclusive Outcome = "inconclusive" // never green
)

// Causes of failed and slow requests, as Attribution.Cause and Case.Cause.
const (
	PodEnded        = "pod-ended"        // its pod ended, or was ended, without drain
	NodeDown        = "node-down"        // its node was down, but still an endpoint
	BalancerUnaware = "balancer-unaware" // the load balancer still sent new connections to a backend that was gone
	NoEndpoint      = "no-endpoint"      // nobody was there to answer, or nobody where the connection went
	NotServing      = "not-serving"      // an endpoint said to be ready did not listen or could not serve
	ConnectTimeout  = "connect-timeout"  // no answer to the handshake, and nothing above explains it
	ConnectionReset = "reset"            // reset or closed, and nothing above explains it
	ServerError     = "server-error"     // the service answered with an error of its own
	Shed            = "shed"             // refused to protect the rest: 429, 503 at a limit
	Database        = "database"         // its store was down, restarting or stalled
	Starved         = "starved"          // too few replicas were ready for the load
	SlowAnswer      = "slow-answer"      // the replica took so long, and nothing above explains it
	Machine         = "machine"          // this machine had no CPU to give at that time
	Generator       = "generator"        // the generator was behind or at its limit
	Unattributed    = "unattributed"
)

// Causes that only the proxies of a mesh tell of.
const (
	NoHealthyUpstream = "no-healthy-upstream" // nobody was fit to be asked, although replicas were ready
	UpstreamLost      = "upstream-lost"       // the connection to whom a proxy asked failed, and nothing above explains it
	ProxyTimeout      = "proxy-timeout"       // a proxy gave up waiting
	PolicyDenied      = "policy-denied"       // a proxy refused it by a rule of the mesh
	NoRoute           = "no-route"            // a proxy had no way for it
	Injected          = "injected"            // a proxy was told to make it fail or wait

	CertificateExpired = "certificate-expired" // two proxies got no connection, because the certificate of one had expired
)

// A Verdict is what a record proves. Durations are nanoseconds in JSON; instants
// count from the start of the record. Fields are only ever added.
type Verdict struct {
	Verdict Outcome   `json:"verdict"`
	Because string    `json:"because"` // one sentence
	Drill   string    `json:"drill"`
	Twin    string    `json:"twin,omitempty"`
	About   string    `json:"about"`
	System  string    `json:"system"`
	Region  string    `json:"region"`
	Local   bool      `json:"local"`
	Mesh    bool      `json:"mesh"`
	Started time.Time `json:"started"`

	Retry       *record.Retry `json:"retry,omitempty"` // what clients did about failures; none: nothing
	Claims      []Claim       `json:"claims"`
	Requests    Requests      `json:"requests"`
	Latency     Latency       `json:"latency"`
	Worst       []Case        `json:"worst"` // slowest and failed ones, worst first, a few
	Fault       Times         `json:"fault"`
	Budget      Budget        `json:"budget"`
	Writes      Writes        `json:"writes"`
	Stale       []Case        `json:"stale,omitempty"` // reads, a few
	StaleReads  int           `json:"staleReads"`
	Attribution []Attribution `json:"attribution"`
	Saved       []Saved       `json:"saved,omitempty"`
	Doubts      []string      `json:"doubts,omitempty"` // why it is inconclusive, or would be
	Fixes       []Fix         `json:"fixes,omitempty"`
	Clocks      []Clock       `json:"clocks,omitempty"`
	Unmodelled  time.Duration `json:"outageOnAKS"` // Fault.Outage with AKS' clocks in place of ours
	Timeline    []Bucket      `json:"timeline"`
	Marks       []Mark        `json:"marks"`
	Unread      []string      `json:"unread,omitempty"`   // what proxies' logs say that is not in the record
	Untraced    string        `json:"untraced,omitempty"` // why spans may be missing that were exported
	Probes      []Probe       `json:"probes,omitempty"`   // what must be refused, in the order in which it was tried
}

// A Probe is an exchange that must be refused, and what came of it.
type Probe struct {
	Name  string `json:"name"`
	State string `json:"state"`           // as in the record: refused, admitted, unknown
	Text  string `json:"text,omitempty"`  // how
	Proof string `json:"proof,omitempty"` // what the proxy that refused it says
}

// A Claim is one promise and what came of it.
type Claim struct {
	Name    string  `json:"name"` // availability, failed, p99, recovery, writes, ...
	Want    string  `json:"want"` // "≥ 99.9 %"
	Got     string  `json:"got"`
	Outcome Outcome `json:"outcome"`
}

// Requests counts those of the window; Run those of the whole run.
type Requests struct {
	Window       time.Duration `json:"window"`
	Total        int           `json:"total"`
	Failed       int           `json:"failed"`
	Slow         int           `json:"slow"` // answered well, but over the promise
	Availability float64       `json:"availability"`
	Run          int           `json:"run"`
	RunFailed    int           `json:"runFailed"`
	RunSlow      int           `json:"runSlow"`

	// Where clients try again, all above is about what came of a request in the end,
	// and this about the attempts that it took. Otherwise it is left out.
	Attempts      int          `json:"attempts,omitempty"`      // of the window's requests
	Amplification float64      `json:"amplification,omitempty"` // attempts for a request
	FirstAttempt  FirstAttempt `json:"firstAttempt,omitzero"`
}

// FirstAttempt is what would have come of requests if nothing were tried again,
// in the window and in the whole run. Saved of those that failed were answered well
// in the end; the others failed in the end too.
type FirstAttempt struct {
	Failed       int     `json:"failed"`
	Saved        int     `json:"saved"`
	Availability float64 `json:"availability"`
	RunFailed    int     `json:"runFailed"`
	RunSaved     int     `json:"runSaved"`
}

// Latency is of the requests of the window that were answered well, from their
// scheduled time.
type Latency struct {
	P50  time.Duration `json:"p50"`
	P95  time.Duration `json:"p95"`
	P99  time.Duration `json:"p99"`
	P999 time.Duration `json:"p999"`
	Max  time.Duration `json:"max"`
}

// A Case is one request, told.
type Case struct {
	ID       string        `json:"id"`
	At       time.Duration `json:"at"` // scheduled
	Op       string        `json:"op"`
	Latency  time.Duration `json:"latency"`
	Result   string        `json:"result"`             // "503", "connect-timeout"
	Attempts int           `json:"attempts,omitempty"` // if there were several; the rest is of the last one
	Pod      string        `json:"pod,omitempty"`
	Node     string        `json:"node,omitempty"`
	Cause    string        `json:"cause,omitempty"`
	Story    string        `json:"story,omitempty"` // the evidence, in words
	Hops     []Hop         `json:"hops,omitempty"`  // what proxies say of it, in the order of its way
}

// Times of the fault; -1 where it did not come to that.
type Times struct {
	At       time.Duration `json:"at"`
	Detect   time.Duration `json:"detect"` // from the fault to the first sign that the platform knew
	DetectBy string        `json:"detectBy,omitempty"`
	Recover  time.Duration `json:"recover"`  // from the fault to the last request that it cost
	Restored time.Duration `json:"restored"` // from the fault until all replicas served again
	Outage   time.Duration `json:"outage"`   // failures put together: seconds at the full rate
}

// Budget is what the drill cost of a month at the promised availability.
type Budget struct {
	Month time.Duration `json:"month"` // allowed outage
	Spent time.Duration `json:"spent"`
	Share float64       `json:"share"`
}

// Writes compares what was acknowledged with what was found.
type Writes struct {
	Checked      bool   `json:"checked"`
	Acknowledged int    `json:"acknowledged"`
	Unknown      int    `json:"unknown"` // not acknowledged: may be stored or not
	Kept         int    `json:"kept"`    // unknown ones that were stored
	Lost         int    `json:"lost"`
	Doubled      int    `json:"doubled"`
	Changed      int    `json:"changed"`
	Strange      int    `json:"strange"` // stored, but never sent
	Examples     []Case `json:"examples,omitempty"`
}

// An Attribution is how many requests failed or were slow for one cause. The
// counts of all of them add up to the failed and slow requests of the run.
type Attribution struct {
	Cause    string   `json:"cause"`
	Text     string   `json:"text"` // the cause in words
	Count    int      `json:"count"`
	Failed   int      `json:"failed"`
	Slow     int      `json:"slow"`
	Evidence []string `json:"evidence"` // a few, as the record shows them
}

// Saved is how many requests failed at the first attempt for one cause and were
// answered well in the end. The counts of all of them add up to
// Requests.FirstAttempt.RunSaved.
type Saved struct {
	Cause    string   `json:"cause"`
	Text     string   `json:"text"`
	Count    int      `json:"count"`
	Evidence []string `json:"evidence"`
}

// A Fix is a change that would have prevented it.
type Fix struct {
	Field  string `json:"field"` // of nines.yaml: services.vehicle.scale.replicas
	Change string `json:"change"`
	Why    string `json:"why"`
}

// A Clock is one that differs from AKS.
type Clock struct {
	Name string        `json:"name"`
	Here time.Duration `json:"here"`
	AKS  time.Duration `json:"aks"`
}

// A Bucket is a slice of the timeline.
type Bucket struct {
	At       time.Duration `json:"at"`
	Length   time.Duration `json:"length"`
	Requests int           `json:"requests"`
	Failed   int           `json:"failed"`
	Slow     int           `json:"slow"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Ready    int           `json:"ready"` // endpoints at its end
}

// A Mark is something to show on the timeline.
type Mark struct {
	At   time.Duration `json:"at"`
	Kind string        `json:"kind"` // phase, or the kind of an event
	Text string        `json:"text"`
}
