// Package doctor says whether this machine can run the ground, and how to fix
// what it lacks. Call Here for the machine and Run for the report; call
// InstallPackages to have the missing Debian packages installed. A check tries
// what the ground will do (make namespaces, mount an overlay, load nftables
// rules) in a process of its own and leaves nothing behind. The package changes
// nothing else on the machine, and does not look at a running ground.
package doctor

import (
	"context"
	"time"
)

// A Status is the outcome of a check.
type Status string

const (
	OK      Status = "ok"
	Warning Status = "warning" // the ground starts, and something will be missing or slow
	Failed  Status = "failed"  // the ground cannot start
	Skipped Status = "skipped" // not tried: it needs root
)

// A Check is one thing that the ground needs.
type Check struct {
	ID   string
	What string
	Why  string // what breaks without it
	Fix  string // what to type or change

	root bool   // can only be tried by root
	bad  Status // the outcome when it does not hold
	run  func(context.Context, *Machine) (found string, held bool)
}

// A Result is a check and what it found.
type Result struct {
	ID     string `json:"id"`
	What   string `json:"what"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Why    string `json:"why,omitempty"` // empty when the status is ok
	Fix    string `json:"fix,omitempty"`
}

// A Report is the outcome of all checks. Fields are only ever added.
type Report struct {
	Ready  bool     `json:"ready"` // no check failed
	Checks []Result `json:"checks"`
}

// Checks returns every check in the order in which a person would fix them.
func Checks() []Check {
	checks := machineChecks()
	checks = append(checks, kernelChecks()...)
	for _, p := range Packages() {
		checks = append(checks, p.check())
	}
	return append(checks, goCheck())
}

// checkTime bounds one check, whatever the machine does.
const checkTime = 20 * time.Second

// Run makes the checks, one after another.
func Run(ctx context.Context, m *Machine, checks []Check) Report {
	report := Report{Ready: true}
	for _, c := range checks {
		result := Result{ID: c.ID, What: c.What, Status: OK}
		if c.root && m.UID != 0 {
			result.Status, result.Found = Skipped, "needs root"
		} else {
			checkCtx, cancel := context.WithTimeout(ctx, checkTime)
			found, held := c.run(checkCtx, m)
			cancel()
			result.Found = found
			if !held {
				result.Status = c.bad
			}
		}
		if result.Status == Warning || result.Status == Failed {
			result.Why, result.Fix = c.Why, c.Fix
		}
		if result.Status == Failed {
			report.Ready = false
		}
		report.Checks = append(report.Checks, result)
	}
	return report
}
