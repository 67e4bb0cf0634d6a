package system

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// An Operation is one thing that a service can be asked.
type Operation struct {
	Name       OperationName `yaml:"-" system:"key"`
	Idempotent bool          `yaml:"idempotent" example:"idempotent: true" jsonschema_description:"Doing it twice is as doing it once, so that it may be tried again after it may have been done. GET, HEAD, PUT and DELETE are; POST and PATCH if this says so."`
	Timeout    time.Duration `yaml:"timeout" example:"timeout: 1s" jsonschema_description:"How long it may take, attempts and waits together. As long as clients wait for one attempt (clients.timeout), if nothing is said."`
	Attempts   int           `yaml:"attempts" jsonschema:"minimum=1,maximum=5" example:"attempts: 3" jsonschema_description:"How often it is tried at most, the first time counted, and more than once only if it is idempotent. 3, or as many as the timeout has room for; 1 where the service calls others, whose hop tries again."`
}

// OperationName is METHOD /path/{parameter}.
type OperationName string

const (
	// No segment is . or .. alone.
	operationPattern = `^(GET|HEAD|POST|PUT|PATCH|DELETE) (/|(/(\.{0,2}[A-Za-z0-9_~-][A-Za-z0-9._~-]*|\.{3}[A-Za-z0-9._~-]*|\{[A-Za-z][A-Za-z0-9_]*\}))+)$`

	defaultAttempts = 3
	// A try that is given less fails for a hiccup of the scheduler.
	leastTry = 20 * time.Millisecond
)

func (o *OperationName) parse(text string, kind ast.NodeType) error {
	switch segments := OperationName(text).Segments(); {
	case slices.Contains(segments, "."), slices.Contains(segments, ".."):
		return fmt.Errorf("%s has a segment . or .., and no request comes with one: paths are normalized on their way", quote(text))
	case !is(operationPattern, text):
		return fmt.Errorf("%s is not an operation: GET, HEAD, POST, PUT, PATCH or DELETE, a space, and a path whose segments are fixed or a {parameter}", quote(text))
	}
	*o = OperationName(text)
	return nil
}

// Method is the part before the space.
func (o OperationName) Method() string {
	method, _, _ := strings.Cut(string(o), " ")
	return method
}

// Segments are those of the path; none for "/". A parameter is "{}".
func (o OperationName) Segments() []string {
	_, path, _ := strings.Cut(string(o), " ")
	var segments []string
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch {
		case strings.HasPrefix(segment, "{"):
			segment = "{}"
		case segment == "":
			continue
		}
		segments = append(segments, segment)
	}
	return segments
}

// retryPause is the base of the waits between tries: before the n-th retry a
// proxy waits a random time up to 2^n-1 times as much, at most ten times.
const retryPause = 25 * time.Millisecond

// waits is the most that is waited before the last of so many tries.
func waits(attempts int) time.Duration {
	var sum time.Duration
	for n := 1; n < attempts; n++ {
		sum += retryPause * time.Duration(min(1<<n-1, 10))
	}
	return sum
}

// perTry is what each of so many tries gets, so that they and the waits
// between them fit into the timeout.
func perTry(timeout time.Duration, attempts int) time.Duration {
	return ((timeout - waits(attempts)) / time.Duration(attempts)).Truncate(time.Millisecond)
}

// PerTry is how long one try may take: tries and waits fit into the timeout.
func (o Operation) PerTry() time.Duration {
	return perTry(o.Timeout, o.Attempts)
}

func (o *Operation) finish(s Service, clients Clients, given func(field string) bool) {
	if !given("idempotent") {
		o.Idempotent = !slices.Contains([]string{"POST", "PATCH"}, o.Name.Method())
	}
	if !given("timeout") {
		o.Timeout = clients.Timeout
	}
	if given("attempts") {
		return
	}
	o.Attempts = 1
	if o.Idempotent && len(s.Calls) == 0 {
		for o.Attempts < defaultAttempts && perTry(o.Timeout, o.Attempts+1) >= leastTry {
			o.Attempts++
		}
	}
}

// Longest is the most that an answer of the service may take.
func (s Service) Longest(clients Clients) time.Duration {
	if len(s.Operations) == 0 {
		return clients.Timeout
	}
	return slices.MaxFunc(s.Operations, func(a, b Operation) int { return int(a.Timeout - b.Timeout) }).Timeout
}

// shape is what tells operations apart: a parameter's name does not.
func (o Operation) shape() string {
	return o.Name.Method() + " /" + strings.Join(o.Name.Segments(), "/")
}

func (d *decoder) checkOperations(sys *System, at func(...string) string, service Service) {
	same := map[string]OperationName{}
	for _, o := range service.Operations {
		path := at("operations", string(o.Name))
		shape := o.shape()
		if before, twice := same[shape]; twice {
			d.report(d.at(path), path, fmt.Sprintf("is the same as %s: a parameter's name tells nothing apart", quote(string(before))), "")
		}
		same[shape] = o.Name
		d.checkOperation(sys, path, service, o)
	}
}

func (d *decoder) checkOperation(sys *System, path string, service Service, o Operation) {
	timeout := join(path, "timeout")
	switch {
	case o.Timeout < leastTry || o.Timeout > time.Minute || o.Timeout%time.Millisecond != 0:
		d.reportAt(timeout, fmt.Sprintf("%s is not whole milliseconds from %s to 1m", shortDuration(o.Timeout), leastTry), "timeout: 1s")
		return
	case service.Expose != Hidden && o.Timeout > sys.Clients.Timeout:
		d.reportAt(timeout, fmt.Sprintf("%s is longer than clients wait, %s; they would be gone before the answer", shortDuration(o.Timeout), shortDuration(sys.Clients.Timeout)), "timeout: "+shortDuration(sys.Clients.Timeout))
	}
	attempts := join(path, "attempts")
	switch {
	case o.Attempts < 1: // refused by its bounds
	case o.Attempts > 1 && !o.Idempotent:
		d.reportAt(attempts, fmt.Sprintf("%d attempts of what is not idempotent could do it twice; say idempotent: true if doing it twice is as doing it once, or leave attempts out", o.Attempts), "idempotent: true")
	case o.Attempts > 1 && len(service.Calls) > 0:
		d.reportAt(attempts, fmt.Sprintf("%s calls %s, and that hop tries again by itself; attempts here would multiply with it", service.Name, service.Calls[0]), "attempts: 1")
	case o.PerTry() < leastTry:
		d.reportAt(attempts, fmt.Sprintf("%d attempts, and up to %s of waits between them, leave each %s of the %s that the operation may take; it needs %s or more: make fewer, or give it longer", o.Attempts, waits(o.Attempts), max(o.PerTry(), 0), shortDuration(o.Timeout), leastTry), fmt.Sprintf("attempts: %d, or timeout: %s", fitting(o), shortDuration(time.Duration(o.Attempts)*leastTry+waits(o.Attempts))))
	}
}

// fitting is how many attempts the timeout of an operation has room for.
func fitting(o Operation) int {
	n := max(o.Attempts, 1)
	for n > 1 && perTry(o.Timeout, n) < leastTry {
		n--
	}
	return n
}

// need is the longest that one of those may take which a service calls.
func (s *System) need(service Service) (longest time.Duration, of Name) {
	for _, call := range service.Calls {
		if callee, ok := s.Service(string(call)); ok && callee.Longest(s.Clients) > longest {
			longest, of = callee.Longest(s.Clients), call
		}
	}
	return longest, of
}

// checkCycles refuses calls that lead back to who makes them: the budget of each
// would have to hold itself and more.
func (d *decoder) checkCycles(sys *System) {
	done := map[Name]bool{}
	var way []string
	var follow func(service Service)
	follow = func(service Service) {
		way = append(way, string(service.Name))
		for i, call := range service.Calls {
			callee, ok := sys.Service(string(call))
			if from := slices.Index(way, string(call)); from >= 0 {
				circle := way[from:]
				if n := len(circle); n > 6 {
					circle = []string{circle[0], circle[1], "…", circle[n-2], circle[n-1]}
				}
				d.reportAt(join("services", string(service.Name), "calls", fmt.Sprint(i)), fmt.Sprintf("%s calls %s again, and so on: the time that each may take would have to hold that of itself; take one of these calls out", strings.Join(circle, " calls "), call), "")
			} else if ok && !done[call] {
				follow(callee)
			}
		}
		way = way[:len(way)-1]
		done[service.Name] = true
	}
	for _, service := range sys.Services {
		if !done[service.Name] {
			follow(service)
		}
	}
}

// checkBudgets refuses a service that may take less time than one it calls:
// it would give up on an answer that is still allowed to come. The file does
// not say which operation calls what, so each must have room for the longest.
func (d *decoder) checkBudgets(sys *System, at func(...string) string, service Service) {
	for i, call := range service.Calls {
		callee, ok := sys.Service(string(call))
		if !ok {
			continue
		}
		need := callee.Longest(sys.Clients)
		short := func(path, what string, has time.Duration) {
			d.reportAt(path, fmt.Sprintf("%s may take %s, and %s, which it calls, up to %s; a budget holds that of what it needs", what, shortDuration(has), call, shortDuration(need)), "timeout: "+shortDuration(need))
		}
		if len(service.Operations) == 0 && sys.Clients.Timeout < need {
			short(at("calls", fmt.Sprint(i)), "anything asked of "+string(service.Name), sys.Clients.Timeout)
		}
		for _, o := range service.Operations {
			if o.Timeout < need {
				short(at("operations", string(o.Name), "timeout"), "it", o.Timeout)
			}
		}
	}
}
