package claim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/record"
)

// An Account is all that a record tells of one request, in the order of its way.
type Account struct {
	Case
	Steps  []Step   `json:"steps"`
	Unread []string `json:"unread,omitempty"` // logs of proxies that are not in the record
}

// A Step is one station of a request, or a turn of something on its way.
type Step struct {
	At    time.Duration `json:"at"`
	Where string        `json:"where"` // client, balancer, gateway, sidecar, service, store, trace, cluster
	Text  string        `json:"text"`
}

const (
	mostAccounts = 20 // attempts of one request
	mostTurns    = 12 // of one account
)

// Tell gives the whole story of a request, and of the attempts that a client made
// of it, one after the other.
func Tell(rec *record.Record, id string) ([]Account, error) {
	if _, err := Judge(rec); err != nil {
		return nil, err
	}
	q := newInquiry(rec)
	var accounts []Account
	for _, r := range q.attempts {
		if id == "" || r.ID != id && r.Of != id {
			continue
		}
		if len(accounts) < mostAccounts {
			accounts = append(accounts, q.account(r))
		}
	}
	if len(accounts) == 0 {
		return nil, errors.New("the record has no request " + id + "; the verdict names the worst ones, and the record has each as \"request\"")
	}
	return accounts, nil
}

func (q *inquiry) account(r *record.Request) Account {
	b := q.blames[r]
	a := Account{Case: tell(r)}
	a.Cause, a.Story, a.Hops = b.cause, b.story, q.hopsOf(r.ID)
	if q.End != nil {
		a.Unread = q.End.Unread
	}
	s := q.ways.suspect(r)
	say := func(at time.Duration, where, format string, args ...any) {
		a.Steps = append(a.Steps, Step{at, where, fmt.Sprintf(format, args...)})
	}
	q.tellClient(r, say)
	q.tellBalancer(s, say)
	for _, h := range q.trail[r.ID] {
		where := "sidecar"
		if h.Proxy == record.AtGateway {
			where = "gateway"
		}
		answer := "gave no answer"
		if h.Status > 0 {
			answer = fmt.Sprintf("answered %d", h.Status)
		}
		text := fmt.Sprintf("%s, %s after %s", q.hopWords(h), answer, lasting(h.Length))
		if h.Details != "" && !strings.HasPrefix(h.Details, "rbac_access_denied") {
			text += " (" + h.Details + ")"
		}
		if h.Trace != "" {
			text += ", trace " + h.Trace
		}
		say(h.At, where, "%s", text)
	}
	if q.history.gated() && gatewayHop(q.trail[r.ID]) == nil && r.Sent > 0 {
		say(r.Sent, "gateway", "its log has no line of it in the record: one of many that went well, or one that is missing")
	}
	switch {
	case r.Pod != "":
		text := "pod " + r.Pod
		if node := cmp.Or(r.Node, q.history.homes[r.Pod]); node != "" {
			text += " on " + node
		}
		say(cmp.Or(r.First, r.Done), "service", "%s answered %s%s", text, result(r), said(s))
	case r.Sent > 0:
		say(r.Done, "service", "no pod of it is known to have answered")
	}
	q.tellStore(r, s, say)
	q.tellTrace(r, say)
	q.tellTurns(r, s, say)
	return a
}

type sayer func(at time.Duration, where, format string, args ...any)

func (q *inquiry) tellClient(r *record.Request, say sayer) {
	text := fmt.Sprintf("%s of client %d, due %s", cmp.Or(r.Op, "request"), r.Client, since(q, r.Scheduled))
	if late := lag(r); late > 0 {
		text += ", taken up " + lasting(late) + " later"
	}
	if r.Waited > 0 {
		text += ", waited " + lasting(r.Waited) + " for a connection"
	}
	say(r.Scheduled, "client", "%s", text)
	if r.Sent > 0 {
		kind := "a new connection"
		if r.Reused {
			kind = "a connection that had served before"
		}
		say(r.Sent, "client", "sent on %s (%s)", kind, cmp.Or(r.Conn, "address not known"))
	}
	outcome := outcomeOf(&suspect{Request: r, failed: r.Failed(), life: span{max(r.Scheduled, r.Taken), max(r.Done, r.Scheduled)}})
	say(r.Done, "client", "%s, %s after it was due", outcome, lasting(r.Latency()))
}

func (q *inquiry) tellBalancer(s *suspect, say sayer) {
	at := cmp.Or(s.Sent, s.life.from)
	if s.node == "" {
		say(at, "balancer", "where it sent the connection is not known")
		return
	}
	text := "the connection went to " + s.node + " " + s.how
	if state := q.history.state(record.Backend, s.node, s.life.from); state != "" {
		text += ", which it saw " + state
	}
	if gone, how, ok := q.history.lost(s.node, s.life); ok {
		text += fmt.Sprintf("; %s %s", how, apart(gone.from, s.life.from))
	}
	if s.pod != "" {
		text += "; there to " + q.history.podWords(s.pod)
	}
	say(at, "balancer", "%s", text)
}

// tellStore is what befell stores, and connections to them as sidecars tell it.
func (q *inquiry) tellStore(r *record.Request, s *suspect, say sayer) {
	if trouble, store, ok := q.storeTrouble(s.life); ok {
		text := fmt.Sprintf("the store %s was %s", store, trouble.began.State)
		if trouble.began.Reason != "" {
			text += " (" + trouble.began.Reason + ")"
		}
		if trouble.to != forever {
			text += " for " + lasting(trouble.length())
		}
		say(trouble.from, "store", "%s", text)
	}
	told := 0
	for _, h := range q.nameless {
		if h.At > s.life.to || h.At+h.Length < s.life.from || told == mostTurns {
			continue
		}
		if pods := q.way(r, s); len(pods) > 0 && !slices.Contains(pods, h.Pod) {
			continue
		}
		told++
		say(h.At, "store", "%s", q.hopWords(h))
	}
}

// way are the pods that a request passed, or can have passed.
func (q *inquiry) way(r *record.Request, s *suspect) []string {
	pods := []string{s.pod, r.Pod}
	for _, h := range q.trail[r.ID] {
		pods = append(pods, h.Pod, h.UpstreamPod)
	}
	slices.Sort(pods)
	return slices.DeleteFunc(slices.Compact(pods), func(pod string) bool { return pod == "" })
}

// tellTurns is what happened near a request to what it passed, and to zones.
func (q *inquiry) tellTurns(r *record.Request, s *suspect, say sayer) {
	pods := q.way(r, s)
	nodes := []string{s.node, r.Node}
	for _, pod := range pods {
		nodes = append(nodes, q.history.homes[pod])
	}
	told := 0
	for _, e := range q.events {
		if e.At < s.life.from-nearby || e.At > s.life.to+nearby || told == mostTurns {
			continue
		}
		switch e.Kind {
		case record.Pod, record.Endpoint, record.GatewayKind:
			if !slices.Contains(pods, e.Name) {
				continue
			}
		case record.Machine, record.NodeKind, record.Backend:
			if !slices.Contains(nodes, e.Name) {
				continue
			}
		case record.Part: // stores are told above
			continue
		}
		told++
		say(e.At, "cluster", "%s, %s", label(e), apart(e.At, s.life.from))
	}
}
