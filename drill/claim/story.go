package claim

import (
	"fmt"
	"time"

	"github.com/nines-ha/nines/record"
)

// unexplained tells what is known of a request that no rule explains.
func (q *inquiry) unexplained(s *suspect) string {
	story := outcomeOf(s) + where(s)
	if e := q.nearest(s.life); e != nil {
		return fmt.Sprintf("%s; the nearest turn was %s %s %s, %s", story, e.Kind, e.Name, e.State, apart(e.At, s.life.to))
	}
	return story + "; nothing happened within " + lasting(nearby)
}

func outcomeOf(s *suspect) string {
	switch s.Error {
	case record.ConnectTimeout:
		return "no connection within " + lasting(s.life.length())
	case record.ConnectRefused:
		return "connection refused"
	case record.ConnectFailed:
		return "connection failed" + said(s)
	case record.Reset:
		return "connection reset"
	case record.Closed:
		return "connection closed before the answer was whole"
	case record.Timeout:
		if s.Sent == 0 {
			return "no connection was free within " + lasting(s.life.length())
		}
		return "no answer within " + lasting(s.Request.Latency())
	case record.Malformed:
		return "an answer that is not HTTP"
	case record.WrongAnswer:
		return "a wrong answer" + said(s)
	case "":
		if s.failed {
			return fmt.Sprintf("answered %d", s.Status)
		}
		return "answered after " + lasting(s.Request.Latency())
	default:
		return string(s.Error)
	}
}

func by(s *suspect) string {
	switch {
	case s.who != "" && s.at != "":
		return s.who + " on " + s.at
	case s.who != "":
		return s.who
	case s.at != "":
		return "a pod on " + s.at
	default:
		return "somebody who does not tell the name"
	}
}

func where(s *suspect) string {
	switch {
	case s.node == "":
		return ", where it was sent is not known"
	case s.pod == "":
		return ", sent to " + s.node + " " + s.how
	default:
		return ", sent to " + s.pod + " on " + s.node + " " + s.how
	}
}

func said(s *suspect) string {
	if s.Detail == "" {
		return ""
	}
	return ": " + quoted(s.Detail)
}

// since tells an instant from the fault on.
func since(q *inquiry, at time.Duration) string {
	switch d := at - q.window.from; {
	case !q.injected:
		return lasting(at) + " in the record"
	case d < 0:
		return lasting(-d) + " before the fault"
	default:
		return lasting(d) + " after the fault"
	}
}

func until(q *inquiry, s span) string { return " from " + since(q, s.from) }
