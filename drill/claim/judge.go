package claim

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/nines-ha/nines/internal/wording"
	"github.com/nines-ha/nines/record"
)

// Judge gives the verdict of a record. It is the same each time, to the byte. A
// record that is cut off or at odds with itself gives an inconclusive one; an
// error is only for what is no record at all.
func Judge(rec *record.Record) (*Verdict, error) {
	switch {
	case rec == nil || rec.Header == nil:
		return nil, errors.New("judge: this is no record of a drill: it has no header; write one with nines drill")
	case rec.Header.Version != record.Version:
		return nil, fmt.Errorf("judge: the record has version %d, and this program reads %d; judge it with the nines that wrote it", rec.Header.Version, record.Version)
	}
	q := newInquiry(rec)
	h := rec.Header
	v := &Verdict{
		Drill: h.Drill, Twin: h.Twin, About: h.About, System: h.System, Region: h.Region, Local: h.Local, Mesh: h.Mesh, Started: h.Started,
	}
	if q.retries() {
		v.Retry = h.Load.Retry
	}
	v.Requests = q.count()
	v.Latency = quantiles(goodLatencies(q.judged))
	v.Fault = q.times(v.Requests)
	v.Budget = q.budget(v.Fault)
	v.Writes = q.writes()
	v.StaleReads, v.Stale = q.stale()
	v.Attribution, v.Saved = q.attribution(), q.savedBy()
	v.Claims = q.claims(v)
	q.conclude(v)
	v.Worst = q.worst()
	v.Clocks, v.Unmodelled = q.clocks(v)
	v.Timeline = q.timeline()
	v.Marks = q.marks()
	v.Probes = q.probes()
	if rec.End != nil {
		v.Unread, v.Untraced = rec.End.Unread, rec.End.Untraced
	}
	return v, nil
}

// conclude makes the verdict from claims and doubts.
func (q *inquiry) conclude(v *Verdict) {
	var firm, refuted, open *Claim
	for i := range v.Claims {
		c := &v.Claims[i]
		switch {
		case c.Outcome == Inconclusive && open == nil:
			open = c
		case c.Outcome == Refuted && refuted == nil:
			refuted = c
		}
		if c.Outcome == Refuted && firm == nil && q.stands(c) {
			firm = c
		}
	}
	v.Doubts = append(slices.Clone(q.grave), q.behind...)
	if refuted != nil || open != nil {
		v.Doubts = append(v.Doubts, q.busy...)
	}
	v.Doubts = append(v.Doubts, q.open...)
	v.Doubts = append(v.Doubts, q.other...)
	switch {
	case len(q.grave) > 0:
		v.Verdict, v.Because = Inconclusive, q.grave[0]
	case firm != nil:
		v.Verdict, v.Because = Refuted, because(firm, v.Attribution)
		v.Fixes = q.fixes(v)
	case len(v.Doubts) > 0:
		v.Verdict, v.Because = Inconclusive, v.Doubts[0]
	case open != nil:
		v.Verdict, v.Because = Inconclusive, fmt.Sprintf("%s cannot be judged: %s", open.Name, open.Got)
	case len(v.Claims) == 0:
		v.Verdict, v.Because = Inconclusive, "nothing was promised, so nothing was proven"
	default:
		v.Verdict, v.Because = Held, fmt.Sprintf("all that was promised held: %s of %s failed%s in the %s after the fault",
			none(v.Requests.Failed), wording.Several(v.Requests.Total, "request", "requests"), q.atFirst(v.Requests.FirstAttempt.Failed), lasting(v.Requests.Window))+q.mostMeant()
	}
}

// stands tells whether what refutes a claim is beyond the doubts there are.
func (q *inquiry) stands(c *Claim) bool {
	switch measured := len(q.behind)+len(q.busy) == 0; c.Name {
	case "weights", "header", "copies":
		return true // they are about who answered, and not about when
	case "writes", "fresh":
		return true // nothing that is slow or late makes a store forget
	case "meshed":
		return true // it is about what was made
	case "local":
		return len(q.busy) == 0 // when a call is made is no matter, but proxies turn to others where a replica is late
	case "attempts":
		return true // it is about what clients sent
	case "goodput":
		return len(q.busy) == 0 // who is late with five times too much has sent enough
	case "refused":
		return true // an open door is one at any speed
	case "traced":
		return true // it is about what belongs together, and what was late is spared
	case "capacity", "restored", "ejected":
		return measured // they are about replicas, not about what clients saw
	default:
		return measured && len(q.open) == 0
	}
}

func none(n int) string {
	if n == 0 {
		return "none"
	}
	return wording.Count(n)
}

func because(c *Claim, attribution []Attribution) string {
	s := fmt.Sprintf("%s: promised %s, got %s", c.Name, c.Want, c.Got)
	count, what := func(a Attribution) int { return a.Count }, "failed or slow"
	switch c.Name {
	case "writes", "fresh", "local", "refused", "traced":
		return s
	case "availability", "failed":
		count, what = func(a Attribution) int { return a.Failed }, "failed"
	}
	most, of := Attribution{}, 0
	for _, a := range attribution {
		if of += count(a); count(a) > count(most) {
			most = a
		}
	}
	if of > 0 {
		s += fmt.Sprintf("; %s of %s %s because %s", wording.Count(count(most)), wording.Count(of), what, most.Text)
	}
	return s
}

// count is over the window by scheduled time: no waiting afterwards, and no
// quiet before, can dilute it.
func (q *inquiry) count() Requests {
	c := Requests{Window: q.window.length(), Total: len(q.judged), Run: len(q.run)}
	for _, s := range q.suspects {
		inside := q.injected && q.window.has(s.Scheduled)
		switch {
		case s.failed:
			c.RunFailed++
			if inside {
				c.Failed++
			}
		default:
			c.RunSlow++
			if inside {
				c.Slow++
			}
		}
	}
	if c.Total > 0 {
		c.Availability = float64(c.Total-c.Failed) / float64(c.Total)
	}
	q.countAttempts(&c)
	return c
}

func goodLatencies(requests []*record.Request) []time.Duration {
	good := make([]time.Duration, 0, len(requests))
	for _, r := range requests {
		if !r.Failed() {
			good = append(good, r.Latency())
		}
	}
	slices.Sort(good)
	return good
}

func quantiles(sorted []time.Duration) Latency {
	if len(sorted) == 0 {
		return Latency{}
	}
	return Latency{P50: rank(sorted, 500), P95: rank(sorted, 950), P99: rank(sorted, 990), P999: rank(sorted, 999), Max: sorted[len(sorted)-1]}
}

// rank is the nearest-rank percentile: the smallest value that at least so many
// of a thousand do not exceed.
func rank(sorted []time.Duration, perMille int) time.Duration {
	return sorted[max((len(sorted)*perMille+999)/1000, 1)-1]
}

// attribution counts the causes of the run; the commonest first.
func (q *inquiry) attribution() []Attribution {
	t := newTally(q)
	for _, s := range q.suspects {
		if a := t.add(s.Request); s.failed {
			a.Failed++
		} else {
			a.Slow++
		}
	}
	return t.sorted()
}

// A tally counts causes and keeps a few stories of each.
type tally struct {
	*inquiry
	causes map[string]*Attribution
	gists  map[string][]string // of each cause, in order of appearance
	first  map[[2]string]string
	times  map[[2]string]int
}

func newTally(q *inquiry) *tally {
	return &tally{inquiry: q, causes: map[string]*Attribution{}, gists: map[string][]string{}, first: map[[2]string]string{}, times: map[[2]string]int{}}
}

func (t *tally) add(r *record.Request) *Attribution {
	b := t.blames[r]
	a := t.causes[b.cause]
	if a == nil {
		a = &Attribution{Cause: b.cause, Text: meaning(b.cause)}
		t.causes[b.cause] = a
	}
	a.Count++
	key := [2]string{b.cause, b.gist}
	if t.times[key]++; t.times[key] == 1 {
		t.gists[b.cause] = append(t.gists[b.cause], b.gist)
		t.first[key] = b.story
	}
	return a
}

func (t *tally) sorted() []Attribution {
	all := make([]Attribution, 0, len(t.causes))
	for cause, a := range t.causes {
		order := t.gists[cause]
		slices.SortStableFunc(order, func(x, y string) int { return t.times[[2]string{cause, y}] - t.times[[2]string{cause, x}] })
		const most = 4
		for _, gist := range order[:min(len(order), most)] {
			key := [2]string{cause, gist}
			story := t.first[key]
			if n := t.times[key]; n > 1 {
				story += fmt.Sprintf(" (and %s like it)", wording.Several(n-1, "request", "requests"))
			}
			a.Evidence = append(a.Evidence, story)
		}
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Attribution) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Cause, b.Cause)) })
	return all
}

func meaning(cause string) string {
	switch cause {
	case PodEnded:
		return "its pod ended, or was ended, without drain"
	case NodeDown:
		return "its node was down, but still an endpoint"
	case BalancerUnaware:
		return "the load balancer did not know yet that a node was gone"
	case NoEndpoint:
		return "nobody was there to answer where it was sent"
	case NotServing:
		return "an endpoint was said to be ready and could not serve"
	case ConnectTimeout:
		return "nobody answered the handshake, and nothing else explains it"
	case ConnectionReset:
		return "the connection was ended, and nothing else explains it"
	case ServerError:
		return "the service answered with an error of its own"
	case Shed:
		return "it was refused to protect the rest"
	case Database:
		return "its store was down, restarting or stalled"
	case NoHealthyUpstream:
		return "a proxy found nobody fit to be asked, although replicas were ready"
	case UpstreamLost:
		return "a proxy's connection to whom it asked failed or broke, and nothing else explains it"
	case ProxyTimeout:
		return "a proxy gave up waiting for whom it asked"
	case PolicyDenied:
		return "a proxy refused it by a rule of the mesh"
	case CertificateExpired:
		return "the certificate of a proxy had expired, so that another refused it"
	case NoRoute:
		return "a proxy had no way for it"
	case Injected:
		return "a proxy was told to make it fail or wait"
	case SlowAnswer:
		return "the replica itself took so long to answer"
	case Starved:
		return "too few replicas were ready for the load"
	case Machine:
		return "this machine had no CPU to give"
	case Generator:
		return "the load generator was behind or at its limit"
	default:
		return "the record does not show why"
	}
}

// worst are the failed requests of the run, the longest first, and then the slowest.
func (q *inquiry) worst() []Case {
	const most = 10
	worse := func(a, b *record.Request) int {
		fa, fb := a.Failed(), b.Failed()
		switch {
		case fa && !fb:
			return -1
		case fb && !fa:
			return 1
		}
		return cmp.Or(cmp.Compare(b.Latency(), a.Latency()), cmp.Compare(a.Scheduled, b.Scheduled), cmp.Compare(a.ID, b.ID))
	}
	var worst []*record.Request
	for _, r := range q.run {
		i := sort.Search(len(worst), func(i int) bool { return worse(r, worst[i]) < 0 })
		if i < most {
			worst = slices.Insert(worst, i, r)
			worst = worst[:min(len(worst), most)]
		}
	}
	cases := make([]Case, 0, len(worst))
	for _, r := range worst {
		b := q.blames[r]
		c := tell(r)
		c.Cause, c.Story, c.Hops = b.cause, b.story, q.hopsOf(r.ID)
		cases = append(cases, c)
	}
	return cases
}

func tell(r *record.Request) Case {
	c := Case{ID: r.ID, At: r.Scheduled, Op: r.Op, Latency: r.Latency(), Result: result(r), Pod: r.Pod, Node: r.Node}
	if r.Retries > 0 {
		c.Attempts = r.Retries + 1
	}
	return c
}
