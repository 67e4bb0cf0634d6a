package system

import (
	"fmt"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Clients are those outside: how they send a request, and again if it fails.
// One call ends with the first good answer, after Attempts, or at Deadline.
type Clients struct {
	Attempts int           `yaml:"attempts" jsonschema:"minimum=1,maximum=10" example:"attempts: 3" jsonschema_description:"How often they send a request at most, the first time counted."`
	Timeout  time.Duration `yaml:"timeout" example:"timeout: 1s" jsonschema_description:"How long they wait for an answer to one attempt. No public operation takes longer."`
	Backoff  Span          `yaml:"backoff" example:"backoff: 200ms..2s" jsonschema_description:"What they wait between attempts: from the low end, doubled each time, to the high end, and each wait with jitter."`
	Budget   Percent       `yaml:"budget" example:"budget: 20%" jsonschema_description:"How often they try again beside the first ten times: this share of their requests that were answered well, 1% to 100%. More would make an overload worse."`
	Deadline time.Duration `yaml:"deadline" example:"deadline: 5s" jsonschema_description:"When they give up, however many attempts are left."`
}

// A Span is a range of time.
type Span struct {
	Min, Max time.Duration
}

const spanPattern = `^([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h))+\.\.([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h))+$`

func (s *Span) parse(text string, kind ast.NodeType) error {
	if kind != ast.StringType || !is(spanPattern, text) {
		return fmt.Errorf("%s is not a range of time, FROM..TO", describe(text, kind))
	}
	low, high, _ := strings.Cut(text, "..")
	var err error
	if s.Min, err = parseDuration(low, ast.StringType); err != nil {
		return fmt.Errorf("the low end %w", err)
	}
	if s.Max, err = parseDuration(high, ast.StringType); err != nil {
		return fmt.Errorf("the high end %w", err)
	}
	return nil
}

func (s Span) String() string {
	return shortDuration(s.Min) + ".." + shortDuration(s.Max)
}

func (d *decoder) checkClients(c Clients) {
	if c.Budget < onePercent {
		d.reportAt("clients.budget", c.Budget.String()+" is not from 1% to 100%", "budget: 20%")
	}
	if c.Timeout < leastTry || c.Timeout > time.Minute {
		d.reportAt("clients.timeout", fmt.Sprintf("%s is not from %s to 1m", shortDuration(c.Timeout), leastTry), "timeout: 1s")
	}
	switch {
	case c.Deadline > 10*time.Minute:
		d.reportAt("clients.deadline", shortDuration(c.Deadline)+" is more than 10m", "deadline: 5s")
	case c.Timeout > c.Deadline:
		d.reportAt("clients.deadline", fmt.Sprintf("%s ends before the timeout of one attempt, %s", shortDuration(c.Deadline), shortDuration(c.Timeout)), "deadline: "+shortDuration(time.Duration(max(c.Attempts, 1))*c.Timeout))
	}
	if c.Backoff.Min > c.Backoff.Max {
		d.reportAt("clients.backoff", c.Backoff.String()+" ends before it begins", "backoff: "+Span{c.Backoff.Max, c.Backoff.Min}.String())
	}
	// Waits are random from nothing up, so the timeouts alone decide.
	if before := time.Duration(c.Attempts-1) * c.Timeout; 0 < c.Timeout && c.Timeout <= c.Deadline && before >= c.Deadline {
		d.reportAt("clients.attempts", fmt.Sprintf("the last of %d attempts would begin after %s of waiting for the others, and the deadline is %s", c.Attempts, shortDuration(before), shortDuration(c.Deadline)), fmt.Sprintf("attempts: %d", (c.Deadline-1)/c.Timeout+1))
	}
}
