package deliver

import "time"

// An Event is one thing that has changed since it was last told. Fields are only
// ever added.
type Event struct {
	At      time.Time `json:"at"` // when it was seen
	Kind    string    `json:"kind"`
	Region  string    `json:"region"`
	Sync    *Sync     `json:"sync,omitempty"`
	Rollout *Rollout  `json:"rollout,omitempty"`
	Metric  *Metric   `json:"metric,omitempty"`
	Trouble string    `json:"trouble,omitempty"` // why nothing is seen at present; "": it is seen again
}

// Kinds of events.
const (
	KindSync    = "sync"
	KindRelease = "rollout"
	KindMetric  = "metric"
	KindTrouble = "trouble"
)

// Sync is what Argo CD says of the Application.
type Sync struct {
	Status    string   `json:"status"`              // Synced, OutOfSync, Unknown
	Revision  string   `json:"revision"`            // that Status is about
	Health    string   `json:"health"`              // of all that the Application has
	Operation string   `json:"operation,omitempty"` // Running, Succeeded, Failed, Error, Terminating
	Syncing   string   `json:"syncing,omitempty"`   // revision that Operation is about
	Retries   int      `json:"retries,omitempty"`
	Message   string   `json:"message,omitempty"`
	Refused   []string `json:"refused,omitempty"` // objects that were not applied, with the reason
	Error     string   `json:"error,omitempty"`   // why the repository cannot be rendered or compared
}

// Rollout is what Argo Rollouts, or Kubernetes itself, says of the service.
type Rollout struct {
	Phase   string `json:"phase"` // Progressing, Paused, Healthy, Degraded
	Message string `json:"message,omitempty"`
	Image   string `json:"image"` // that is to run
	Step    int    `json:"step,omitempty"`
	Steps   int    `json:"steps,omitempty"`
	Weight  int    `json:"weight"` // percent that the canary gets
	Canary  Pods   `json:"canary"`
	Stable  Pods   `json:"stable"`
	Paused  string `json:"paused,omitempty"` // reason
	Aborted bool   `json:"aborted,omitempty"`
}

// InFlight says that a canary of another version than the stable one runs.
func (r Rollout) InFlight() bool {
	return !r.Aborted && (r.Phase == "Progressing" || r.Phase == "Paused")
}

// Inconclusive says that a canary waits since its analysis could not tell.
func (r Rollout) Inconclusive() bool { return r.Paused == "InconclusiveAnalysisRun" }

// Pods are those of one version.
type Pods struct {
	Ready  int    `json:"ready"`
	Wanted int    `json:"wanted"`
	Why    string `json:"why,omitempty"` // one that is not ready cannot get so
}

// Metric is one measure of an analysis, with its last value.
type Metric struct {
	Run     string `json:"run"` // AnalysisRun
	Name    string `json:"name"`
	Phase   string `json:"phase"` // Running, Successful, Failed, Inconclusive, Error, Pending
	Value   string `json:"value,omitempty"`
	Last    string `json:"last,omitempty"` // phase of the last measurement
	Message string `json:"message,omitempty"`
	Count   int    `json:"count"` // measurements; and of those:
	Failed  int    `json:"failed,omitempty"`
	Unsure  int    `json:"inconclusive,omitempty"`
	Errors  int    `json:"errors,omitempty"`
}

// An Outcome is how following a release ends.
type Outcome string

// Outcomes.
const (
	Promoted    Outcome = "promoted"    // everywhere
	Aborted     Outcome = "aborted"     // the canary was taken back, or the new version does not get ready
	Refused     Outcome = "refused"     // Argo CD cannot bring what Git holds to a cluster
	TimedOut    Outcome = "timeout"     // it still goes on, or nothing could be seen
	Interrupted Outcome = "interrupted" // nobody looks any more; it goes on by itself
)

// A Verdict is the end of it.
type Verdict struct {
	Outcome  Outcome       `json:"outcome"`
	Because  string        `json:"because"`
	Region   string        `json:"region,omitempty"`  // that decided
	Waiting  []string      `json:"waiting,omitempty"` // regions that have not got it
	Service  string        `json:"service"`
	Revision string        `json:"revision"`
	Image    string        `json:"image"`
	Previous string        `json:"previous,omitempty"`
	Took     time.Duration `json:"took"` // nanoseconds
}
