package load

import "sync"

// budgetTokens is what a client's budget holds at most, and at first.
const budgetTokens = 10

// A budget bounds how often a client tries again, so that many clients do not
// together add to the load that they failed by: a retry takes a token, and a
// request that is answered well gives a share of one back, as gRPC and the SDKs of
// AWS have it. A client with an empty one goes on sending requests, once each.
type budget struct {
	mu     sync.Mutex
	share  float64 // of a token; 0: there is no budget
	tokens float64
}

func newBudget(share float64) *budget { return &budget{share: share, tokens: budgetTokens} }

func (b *budget) spend() bool {
	if b.share == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+b.share, budgetTokens)
}
