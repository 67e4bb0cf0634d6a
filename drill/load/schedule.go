package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

func (s Schedule) check() error {
	if s.Arrivals != Constant && s.Arrivals != Poisson {
		return fmt.Errorf("arrivals %q are not known: use %q or %q", s.Arrivals, Constant, Poisson)
	}
	if len(s.Stages) == 0 {
		return fmt.Errorf("a schedule needs a stage")
	}
	for i, stage := range s.Stages {
		switch last := i == len(s.Stages)-1; {
		case math.IsNaN(stage.Rate) || math.IsInf(stage.Rate, 0) || stage.Rate < 0 || stage.Rate > 1e6:
			return fmt.Errorf("stage %d: a rate of %g a second is not between 0 and a million", i+1, stage.Rate)
		case stage.Length < 0:
			return fmt.Errorf("stage %d: its length %s is negative", i+1, stage.Length)
		case stage.Length == 0 && !last:
			return fmt.Errorf("stage %d: only the last one may last until the end; give it a length", i+1)
		case stage.Length == 0 && stage.Rate == 0:
			return fmt.Errorf("stage %d: no rate and no length would wait for ever", i+1)
		}
	}
	return nil
}

func (s Schedule) highest() float64 {
	var highest float64
	for _, stage := range s.Stages {
		highest = max(highest, stage.Rate)
	}
	return highest
}

// grain is how late requests may be taken up so that several are at once. Waking
// up costs several times what sending does, which only counts where there is much
// to send.
func (s Schedule) grain() time.Duration {
	if s.highest() <= 2000 {
		return 0
	}
	return 500 * time.Microsecond
}

// arrivals tells when requests are due, one after the other.
type arrivals struct {
	Schedule
	random *rand.Rand
	began  time.Duration // of the stage
	in     float64       // seconds into the stage, of the latest Poisson arrival
	count  float64       // of constant arrivals in the stage
}

// next is when the next request is due, from the beginning of the schedule; it
// is false when the schedule has ended.
func (a *arrivals) next() (time.Duration, bool) {
	for len(a.Stages) > 0 {
		stage := a.Stages[0]
		if stage.Rate > 0 {
			seconds := a.count / stage.Rate // not a sum of gaps: those would drift
			if a.Arrivals == Poisson {
				seconds = a.in + a.random.ExpFloat64()/stage.Rate
			}
			if at := time.Duration(seconds * float64(time.Second)); stage.Length == 0 || at < stage.Length {
				a.count++
				a.in = seconds
				return a.began + at, true
			}
		}
		// A Poisson process has no memory: it may begin afresh with the next stage.
		a.began += stage.Length
		a.in, a.count = 0, 0
		a.Stages = a.Stages[1:]
	}
	return a.began, false
}

// turns tells whose turn it is: everybody's once, in an order that is shuffled
// each time.
type turns struct {
	random *rand.Rand
	order  []int
	at     int
}

func newTurns(clients int, random *rand.Rand) *turns {
	t := &turns{random: random, order: make([]int, clients), at: clients}
	for i := range t.order {
		t.order[i] = i
	}
	return t
}

func (t *turns) next() int {
	if t.at == len(t.order) {
		t.random.Shuffle(len(t.order), func(i, j int) { t.order[i], t.order[j] = t.order[j], t.order[i] })
		t.at = 0
	}
	t.at++
	return t.order[t.at-1]
}
