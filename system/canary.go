package system

import (
	"fmt"
	"slices"
	"time"
)

// A Canary is how a new version of a service takes over, in a system that is
// delivered: step by step, each a share of the requests for a while, and on only
// if those that asked it were answered well. Without steps there is none.
type Canary struct {
	Steps    []Percent     `yaml:"steps" example:"steps: [5%, 25%, 50%]" jsonschema_description:"Shares of the requests that the new version answers, one after the other, in whole percent; then it answers all. 5%, 25%, 50%, if nothing is said. None, [], replaces replicas a few at a time instead, and judges nothing."`
	Hold     time.Duration `yaml:"hold" example:"hold: 2m" jsonschema_description:"How long each share is judged, in whole seconds, 10s or more."`
	Success  Percent       `yaml:"success" example:"success: 99.9%" jsonschema_description:"Share of its answers that must be good. That of slo.availability, if nothing is said."`
	P99      time.Duration `yaml:"p99" example:"p99: 300ms" jsonschema_description:"99 % of its answers come within this. slo.p99, if nothing is said."`
	Requests int           `yaml:"requests" jsonschema:"minimum=100,maximum=1000000" example:"requests: 100" jsonschema_description:"How many requests it must have been asked at a step before that says anything. Fewer are waited for, and never taken for good."`
	Deadline time.Duration `yaml:"deadline" example:"deadline: 10m" jsonschema_description:"How long a step may wait for its replicas, and for its requests, in whole seconds. After that the new version is taken back."`
}

// On says whether a new version is a canary first.
func (c Canary) On() bool { return len(c.Steps) > 0 }

const (
	// Metrics are asked for every few seconds, and a rate needs four of them.
	leastHold = 10 * time.Second
	mostHold  = 24 * time.Hour
	mostSteps = 10
	// One of two that goes away leaves one.
	leastCanary = 2
)

var (
	defaultSteps  = []Percent{5 * onePercent, 25 * onePercent, 50 * onePercent}
	defaultCanary = Canary{Hold: 2 * time.Minute, Requests: 100, Deadline: 10 * time.Minute}
)

// finish gives each service a canary that can have one, if the system is
// delivered and the service does not say otherwise.
func (c *Canary) finish(sys *System, service Service, given func(fields ...string) bool) {
	if !given("canary", "steps") && (given("canary") || sys.noCanary(service) == "") {
		c.Steps = slices.Clone(defaultSteps)
	}
	if !sys.Deliver.On() || !c.On() {
		*c = Canary{}
		return
	}
	if !given("canary", "success") {
		c.Success = sys.SLO.Availability
	}
	if !given("canary", "p99") {
		c.P99 = sys.SLO.P99
	}
	if !given("canary", "deadline") {
		c.Deadline = max(c.Deadline, c.leastDeadline(service))
	}
}

// leastDeadline has room for a start that takes all of its time, and then lasts.
func (c Canary) leastDeadline(service Service) time.Duration {
	return max(c.Hold, service.Probes.Start) + 30*time.Second
}

// noCanary says why a service cannot have one, "" if it can.
func (s *System) noCanary(service Service) string {
	if service.Scale.Replicas.Min < leastCanary {
		return fmt.Sprintf("there may be one replica, and a canary needs %d, so that it outlives the loss of one", leastCanary)
	}
	for _, share := range service.Traffic {
		if share.Weight > 0 {
			return fmt.Sprintf("%s gets a weight of its traffic, and a request is drawn once: by version, or by service", share.Name)
		}
	}
	asked := service.Expose != Hidden
	for _, other := range s.Services {
		if slices.ContainsFunc(other.Traffic, func(share Share) bool { return share.Name == service.Name }) {
			return fmt.Sprintf("it gets a share of the traffic of %s, which knows no versions of it", other.Name)
		}
		asked = asked || slices.Contains(other.Calls, service.Name)
	}
	if !asked {
		return "nobody asks it: it is not exposed, and no service calls it, so that there is nothing to judge it by"
	}
	return ""
}

func (d *decoder) checkCanary(sys *System, at func(...string) string, service Service) {
	path, canary := at("canary"), service.Canary
	if !d.given(path) || d.failed[path] || d.failed[at("canary", "steps")] {
		return
	}
	if !d.given("deliver") {
		d.report(d.at(path), path, "nothing delivers the system, so nothing leads a canary; add deliver, or leave canary out", "deliver: {}")
		return
	}
	if d.given(at("canary", "steps")) && !canary.On() {
		for _, field := range []string{"hold", "success", "p99", "requests", "deadline"} {
			if d.given(at("canary", field)) {
				d.reportAt(at("canary", field), "there are no steps at which it would hold; give some, or leave it out", "steps: [5%, 25%, 50%]")
			}
		}
		return
	}
	if why := sys.noCanary(service); why != "" {
		d.report(d.at(path), path, why+"; leave canary out", "")
		return
	}
	d.checkSteps(at("canary", "steps"), canary.Steps)
	if canary.Hold < leastHold || canary.Hold > mostHold || canary.Hold%time.Second != 0 {
		d.reportAt(at("canary", "hold"), fmt.Sprintf("%s is not whole seconds from %s to 24h; in less there are too few measurements to judge by", shortDuration(canary.Hold), shortDuration(leastHold)), "hold: 2m")
	}
	if d.given(at("canary", "success")) && (canary.Success < 50*onePercent || canary.Success >= 100*onePercent) {
		d.reportAt(at("canary", "success"), canary.Success.String()+" is not from 50% to just under 100%; a single failed request would take every version back", "success: "+sys.SLO.Availability.String())
	}
	if d.given(at("canary", "p99")) && (canary.P99 > time.Minute || canary.P99%time.Millisecond != 0) {
		d.reportAt(at("canary", "p99"), shortDuration(canary.P99)+" is not whole milliseconds up to 1m", "p99: "+shortDuration(sys.SLO.P99))
	}
	if least := canary.leastDeadline(service); canary.Deadline < least || canary.Deadline > mostHold || canary.Deadline%time.Second != 0 {
		d.reportAt(at("canary", "deadline"), fmt.Sprintf("%s is not whole seconds from %s to 24h: it must have room for hold (%s) and for a start (%s), and 30s more", shortDuration(canary.Deadline), shortDuration(least), shortDuration(canary.Hold), shortDuration(service.Probes.Start)), "deadline: "+shortDuration(least))
	}
}

func (d *decoder) checkSteps(path string, steps []Percent) {
	if len(steps) > mostSteps {
		d.reportAt(path, fmt.Sprintf("%d steps are more than %d", len(steps), mostSteps), "steps: [5%, 25%, 50%]")
	}
	for i, step := range steps {
		one := join(path, fmt.Sprint(i))
		switch {
		case step == 100*onePercent:
			d.reportAt(one, "100% comes after the last step by itself; leave it out", "steps: [5%, 25%, 50%]")
		case step < onePercent || step%onePercent != 0:
			d.reportAt(one, step.String()+" is not a whole percentage from 1% to 99%", "steps: [5%, 25%, 50%]")
		case i > 0 && step < steps[i-1]:
			d.reportAt(one, fmt.Sprintf("%s comes after %s; each step is larger than the one before", step, steps[i-1]), "steps: [5%, 25%, 50%]")
		}
	}
}
