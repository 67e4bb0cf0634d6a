package deliver

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Release is what is followed: a version of a service on its way from a commit
// to the clusters.
type Release struct {
	Service   string
	Namespace string // of the service
	Kind      string // of what runs it: KindRollout or KindDeployment
	Revision  string // commit that brings it
	Image     string
	Previous  string // image before that commit; the same as Image: only its settings change
}

const (
	aside   = 3 * time.Second  // that something may be out of sight and nobody is told
	missing = 30 * time.Second // that an Application may not be there
	broken  = 45 * time.Second // that Argo CD may fail to read a commit; it may be about the one before
	degrade = 5 * time.Second  // that a service may be degraded without having been aborted
	retries = 2 * time.Minute  // that Argo CD may try again what an API server refuses; a webhook may be away

	mostEvents = 5000
)

// A sight is one look at one region.
type sight struct {
	at                    time.Time
	application, workload *unstructured.Unstructured // nil: there is none
	sets, runs            []unstructured.Unstructured
	pods                  []unstructured.Unstructured // of the version that the Rollout is about
	err                   error
}

// A course is where a release is, region by region, as far as it was seen. It
// judges objects and asks nobody.
type course struct {
	Release
	began   time.Time
	regions []*arrival
	events  int
}

// An arrival is a release in one region.
type arrival struct {
	region, application string

	sync     Sync
	rollout  Rollout
	metrics  map[string]Metric
	seen     bool // rollout is about the release
	unseen   time.Time
	trouble  string // told
	absent   time.Time
	failing  time.Time // since when sync.Error is what it is
	degraded time.Time
	retrying time.Time

	outcome Outcome // "": not yet
	because string
}

func newCourse(r Release, began time.Time, regions []Region) *course {
	c := &course{Release: r, began: began}
	for _, one := range regions {
		c.regions = append(c.regions, &arrival{region: one.Name, application: one.Application, metrics: map[string]Metric{}})
	}
	return c
}

// look takes in a sight of a region, and tells what it changes.
func (c *course) look(region int, s sight) []Event {
	a := c.regions[region]
	if a.outcome != "" {
		return nil
	}
	var events []Event
	tell := func(e Event) {
		if c.events++; c.events <= mostEvents {
			e.At, e.Region = s.at, a.region
			events = append(events, e)
		}
	}
	if err := a.take(c.Release, s, tell); err != nil {
		a.out(s.at, err.Error(), tell)
	}
	return events
}

// out is said of what cannot be seen, once that has lasted.
func (a *arrival) out(at time.Time, why string, tell func(Event)) {
	if a.unseen.IsZero() {
		a.unseen = at
	}
	if at.Sub(a.unseen) >= aside && a.trouble != why {
		a.trouble = why
		tell(Event{Kind: KindTrouble, Trouble: why})
	}
}

func (a *arrival) take(r Release, s sight, tell func(Event)) error {
	if s.err != nil {
		return s.err
	}
	if s.application == nil {
		if a.absent.IsZero() {
			a.absent = s.at
		}
		why := fmt.Sprintf("Argo CD has no Application %s", a.application)
		if s.at.Sub(a.absent) >= missing {
			a.end(TimedOut, why+"; is delivery set up on this ground? See \"nines status\"")
		}
		a.out(s.at, why, tell)
		return nil
	}
	sync, err := syncOf(*s.application)
	if err != nil {
		return err
	}
	var w workload
	var metrics []Metric
	if s.workload != nil {
		if w, err = workloadOf(*s.workload, s.sets); err != nil {
			return err
		}
		if metrics, err = metricsOf(w, s.runs); err != nil {
			return err
		}
		if w.Canary.Ready < w.Canary.Wanted {
			if w.Canary.Why, err = whyNot(s.pods); err != nil {
				return err
			}
		}
	}
	a.unseen, a.absent = time.Time{}, time.Time{}
	if a.trouble != "" {
		a.trouble = ""
		tell(Event{Kind: KindTrouble})
	}
	if sync.Error != a.sync.Error {
		a.failing = s.at
	}
	if !reflect.DeepEqual(sync, a.sync) {
		a.sync = sync
		tell(Event{Kind: KindSync, Sync: &sync})
	}
	a.judgeSync(r, s.at)
	if a.arrived(r, w) {
		a.follow(s.at, w, metrics, tell)
		a.judge(r, s.at, w)
	}
	return nil
}

// arrived says that what the cluster tells is about the release, and not about
// what ran before it.
func (a *arrival) arrived(r Release, w workload) bool {
	if !w.known || w.Image != r.Image {
		return false
	}
	return r.Previous != r.Image || a.applied(r)
}

// applied says that Argo CD has applied the release's commit.
func (a *arrival) applied(r Release) bool {
	return a.sync.Revision == r.Revision && a.sync.Status == "Synced" || a.sync.Syncing == r.Revision && a.sync.Operation == "Succeeded"
}

// overtaken says that Argo CD is at another commit. If the release runs all the
// same, that one came later and has it too.
func (a *arrival) overtaken(r Release) bool {
	return a.sync.Revision != "" && a.sync.Revision != r.Revision && a.sync.Syncing != r.Revision
}

func (a *arrival) judgeSync(r Release, at time.Time) {
	why := a.sync.Message
	if len(a.sync.Refused) > 0 {
		why += ": " + strings.Join(a.sync.Refused, "; ")
	}
	switch {
	case a.sync.Syncing != r.Revision:
		a.retrying = time.Time{}
	case a.sync.Operation == "Failed", a.sync.Operation == "Error":
		a.end(Refused, why)
		return
	case a.sync.Operation != "Running", a.sync.Retries == 0, len(a.sync.Refused) == 0:
		a.retrying = time.Time{}
	case a.retrying.IsZero():
		a.retrying = at
	case at.Sub(a.retrying) >= retries:
		a.end(Refused, why+" (Argo CD tries on by itself)")
		return
	}
	if a.sync.Error != "" && !passing(a.sync.Error) && at.Sub(a.failing) >= broken {
		a.end(Refused, a.sync.Error)
	}
}

// passing says that an error is about who was asked, and not about what.
func passing(text string) bool {
	for _, sign := range []string{"connection refused", "connection error", "connection reset", "Unavailable", "deadline exceeded", "DeadlineExceeded", "i/o timeout", "no such host", "EOF"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// follow tells how the rollout goes.
func (a *arrival) follow(at time.Time, w workload, metrics []Metric, tell func(Event)) {
	if !a.seen && w.stable {
		metrics = nil // what promoted it is over
	}
	if !a.seen || w.Rollout != a.rollout {
		a.seen, a.rollout = true, w.Rollout
		rollout := w.Rollout
		tell(Event{Kind: KindRelease, Rollout: &rollout})
	}
	for _, m := range metrics {
		key := m.Run + "/" + m.Name
		if a.metrics[key] != m {
			a.metrics[key] = m
			tell(Event{Kind: KindMetric, Metric: &m})
		}
	}
	if w.Phase != "Degraded" {
		a.degraded = time.Time{}
	} else if a.degraded.IsZero() {
		a.degraded = at
	}
}

func (a *arrival) judge(r Release, at time.Time, w workload) {
	switch {
	case a.outcome != "":
	case w.Aborted && w.stable:
		// The abort was of what came before, and this took its place.
	case w.Aborted, w.Phase == "Degraded" && at.Sub(a.degraded) >= degrade:
		why := w.Message
		if why == "" {
			why = "the rollout was aborted, and nobody said why"
		}
		a.end(Aborted, why)
	case w.Phase == "Healthy" && w.stable && (a.applied(r) || a.overtaken(r)):
		a.end(Promoted, "")
	}
}

func (a *arrival) end(o Outcome, because string) { a.outcome, a.because = o, because }

// verdict is there when there is nothing left to wait for.
func (c *course) verdict(at time.Time) (Verdict, bool) {
	var names []string
	for _, a := range c.regions {
		switch a.outcome {
		case Promoted:
			names = append(names, a.region)
		case "":
		default:
			return c.end(at, a.outcome, a.region, a.because), true
		}
	}
	if len(names) < len(c.regions) {
		return Verdict{}, false
	}
	return c.end(at, Promoted, "", fmt.Sprintf("%s runs alone in %s", ShortImage(c.Image), strings.Join(names, ", "))), true
}

func (c *course) end(at time.Time, o Outcome, region, because string) Verdict {
	return Verdict{
		Outcome: o, Because: because, Region: region, Service: c.Service,
		Revision: c.Revision, Image: c.Image, Previous: c.Previous, Took: at.Sub(c.began),
	}
}

// unfinished is the verdict where nobody waits any longer.
func (c *course) unfinished(at time.Time, o Outcome) Verdict {
	var where []string
	for _, a := range c.regions {
		where = append(where, a.region+": "+a.state(c.Release))
	}
	return c.end(at, o, "", strings.Join(where, "; "))
}

// state is where a release is, in words.
func (a *arrival) state(r Release) string {
	switch {
	case a.outcome == Promoted:
		return "promoted"
	case a.trouble != "":
		return a.trouble
	case a.seen && a.rollout.Inconclusive():
		return fmt.Sprintf("paused at step %d of %d, since the analysis could not tell", a.rollout.Step, a.rollout.Steps)
	case a.seen && a.rollout.Steps > 0:
		return fmt.Sprintf("%s at step %d of %d, weight %d %%", strings.ToLower(a.rollout.Phase), a.rollout.Step, a.rollout.Steps, a.rollout.Weight)
	case a.seen:
		return strings.ToLower(a.rollout.Phase) + ", " + a.rollout.Message
	case a.sync.Error != "":
		return a.sync.Error
	case a.sync.Syncing == r.Revision && a.sync.Operation != "":
		return strings.TrimSuffix(fmt.Sprintf("sync %s: %s", strings.ToLower(a.sync.Operation), a.sync.Message), ": ")
	case a.sync.Revision != "" && a.sync.Revision != r.Revision:
		return fmt.Sprintf("Argo CD is at %s still", Short(a.sync.Revision))
	case a.sync.Revision == r.Revision:
		return "Argo CD knows the commit and has not applied it"
	}
	return "nothing was seen of it"
}
