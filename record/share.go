package record

// A Share is what another service gets of the requests to a service, as it is
// described.
type Share struct {
	Service string            `json:"service"`
	Weight  float64           `json:"weight,omitempty"` // of the requests that no header sends elsewhere
	Headers map[string]string `json:"headers,omitempty"`
	Mirror  float64           `json:"mirror,omitempty"` // of these, that it gets a copy of
}

// Answers says whether clients get answers of it; else it only has copies.
func (s Share) Answers() bool { return s.Weight > 0 || len(s.Headers) > 0 }

// Shared promises who gets which share of the requests. All are parts of one.
type Shared struct {
	// Weights are of the requests without headers, by the name of the service that
	// answers; they add up to 1. What has 0 answers none of these.
	Weights map[string]float64 `json:"weights"`
	// Tolerance is how far the share of a service may be from its weight, and a
	// third of how far that of its copies may be, which are counted for less long.
	Tolerance float64 `json:"tolerance"`
	// Headed says that each request with the headers of a service is answered by it.
	Headed bool `json:"headed,omitempty"`
	// Copies are the shares of requests that are copied, by who gets the copies.
	Copies map[string]float64 `json:"copies,omitempty"`
}
