package main

import (
	"testing"
	"time"

	"github.com/nines-ha/nines/drill/load"
)

// Flags say it in place of what is declared, one by one.
func TestDrillRetry(t *testing.T) {
	const ms = time.Millisecond
	declared := load.Retry{Attempts: 4, Timeout: 700 * ms, BackoffMin: 50 * ms, BackoffMax: 90 * ms, Budget: 0.2}
	for name, test := range map[string]struct {
		flags    drillFlags
		declared load.Retry
		want     load.Retry
		refused  bool
	}{
		"nothing":           {},
		"declared":          {declared: declared, want: declared},
		"none in its place": {flags: drillFlags{attempts: 1}, declared: declared},
		"a timeout alone":   {flags: drillFlags{timeout: 2 * time.Second}, want: load.Retry{Timeout: 2 * time.Second}},
		"other attempts": {
			flags: drillFlags{attempts: 2}, declared: declared,
			want: load.Retry{Attempts: 2, Timeout: 700 * ms, BackoffMin: 50 * ms, BackoffMax: 90 * ms, Budget: 0.2},
		},
		"other waits": {
			flags: drillFlags{timeout: 300 * ms, backoff: "10ms..1s"}, declared: declared,
			want: load.Retry{Attempts: 4, Timeout: 300 * ms, BackoffMin: 10 * ms, BackoffMax: time.Second, Budget: 0.2},
		},
		"another budget": {
			flags: drillFlags{budget: "7.5%"}, declared: declared,
			want: load.Retry{Attempts: 4, Timeout: 700 * ms, BackoffMin: 50 * ms, BackoffMax: 90 * ms, Budget: 0.075},
		},
		"no budget": {
			flags: drillFlags{budget: "none"}, declared: declared,
			want: load.Retry{Attempts: 4, Timeout: 700 * ms, BackoffMin: 50 * ms, BackoffMax: 90 * ms},
		},
		"no share":    {flags: drillFlags{budget: "0.2"}, refused: true},
		"all and one": {flags: drillFlags{budget: "101%"}, refused: true},
		"no range":    {flags: drillFlags{backoff: "200ms"}, refused: true},
		"turned":      {flags: drillFlags{backoff: "2s..1s"}, refused: true},
		"from zero":   {flags: drillFlags{backoff: "0s..1s"}, refused: true},
		"no duration": {flags: drillFlags{backoff: "1..2"}, refused: true},
	} {
		test.flags.deadline = 5 * time.Second
		test.flags.declared = test.declared
		got, err := test.flags.retry()
		if test.refused != (err != nil) || err == nil && got != test.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, test.want)
		}
	}
}
