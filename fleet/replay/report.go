package replay

import "time"

// A Report is the outcome of a replay. It is the --json answer of the command:
// fields are only added.
type Report struct {
	Source   string   `json:"source"`
	Notes    []string `json:"notes"`
	URL      string   `json:"url"`
	Rows     int      `json:"rows"` // taken from the source
	Vehicles int      `json:"vehicles"`

	// Accepted counts rows of which the service holds at least one value, and
	// RefusedRows the others: together they are Rows. Duplicates are accepted
	// rows that the service held already.
	Accepted    int `json:"accepted"`
	Duplicates  int `json:"duplicates"`
	RefusedRows int `json:"refused_rows"`

	// Refused counts single refusals: a value, a position (both halves as one),
	// or a row that could not be read. Reasons counts the same by who refused
	// what and why.
	Refused int            `json:"refused"`
	Reasons map[string]int `json:"reasons"`

	Requests      int     `json:"requests"`
	Retries       int     `json:"retries"`
	Seconds       float64 `json:"seconds"` // reading back included
	RowsPerSecond float64 `json:"rows_per_second"`

	ReadBack ReadBack `json:"readback"`
}

// ReadBack is the comparison of what is held with what was accepted.
type ReadBack struct {
	Done      bool `json:"done"`  // everything accepted was compared
	Equal     bool `json:"equal"` // and none was missing or different
	Rows      int  `json:"rows"`
	Values    int  `json:"values"`
	Missing   int  `json:"missing"`   // values that are not held
	Different int  `json:"different"` // values that are held otherwise
	// Examples are the first few faults.
	Examples []string `json:"examples,omitempty"`
}

func (r *Report) refuse(who, subject, reason string) {
	r.Refused++
	if subject != "" {
		reason = subject + ": " + reason
	}
	r.Reasons[who+": "+reason]++
}

func (r *Report) finish(took time.Duration, vehicles, requests, retries int) {
	r.Vehicles, r.Requests, r.Retries = vehicles, requests, retries
	r.Seconds = took.Seconds()
	if r.Seconds > 0 {
		r.RowsPerSecond = float64(r.Accepted) / r.Seconds
	}
	r.ReadBack.Done = r.ReadBack.Rows == r.Accepted && r.ReadBack.Rows > 0
	r.ReadBack.Equal = r.ReadBack.Done && r.ReadBack.Missing == 0 && r.ReadBack.Different == 0
}

const mostExamples = 10

func (b *ReadBack) example(text string) {
	if len(b.Examples) < mostExamples {
		b.Examples = append(b.Examples, text)
	}
}
