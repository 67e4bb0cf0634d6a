package load

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Where everything fails, a client tries again ten times and no more.
func TestBudgetEnds(t *testing.T) {
	for share, want := range map[float64]int{0: 100 * 2, 0.2: budgetTokens} {
		synctest.Test(t, func(t *testing.T) {
			var j journal
			c := policy(&j, 10*time.Second)
			c.Retry.Budget = share
			s, _ := retrying(t, c, func(int, int, *http.Request) string { return refusal + "\r\n" })
			if s.Scheduled != 100 || s.Failed != 100 || s.Retried != want {
				t.Errorf("with a budget of %g: %+v, want %d retries", share, s, want)
			}
			chains(t, &j)
		})
	}
}

// What is answered well pays for retries, and a budget holds no more than at first.
func TestBudgetIsEarned(t *testing.T) {
	b := newBudget(0.2)
	for range 100 {
		b.earn()
	}
	spent := func() (n int) {
		for b.spend() {
			n++
		}
		return n
	}
	if n := spent(); n != budgetTokens {
		t.Errorf("%d retries of a full budget", n)
	}
	for range 12 {
		b.earn()
	}
	if n := spent(); n != 2 {
		t.Errorf("%d retries after 12 good answers", n)
	}
}

// Each client has its own: one that fails all the time takes nothing from others.
func TestBudgetIsOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		c := policy(&j, 10*time.Second)
		c.Clients, c.Retry.Budget = 5, 0.2
		r := newRun(c)
		r.Dial = func(context.Context, int) (net.Conn, error) { return nil, fmt.Errorf("no route") }
		s, err := r.carryOut(t.Context(), naps{})
		if err != nil || s.Retried != 5*budgetTokens {
			t.Errorf("%+v, %v: want %d retries", s, err, 5*budgetTokens)
		}
	})
}
