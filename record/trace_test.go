package record

import "testing"

func TestTraceReturns(t *testing.T) {
	for _, id := range []string{"d1932574-000000000000063a", "d1932574-000000000000063a.1", "ffffffff-ffffffffffffffff.999", "00000001-0000000000000000"} {
		for flags, sampled := range map[string]bool{"-00": false, "-01": true} {
			parent := TraceParent(id, sampled)
			if len(parent) != 55 || RequestOf(parent) != id || parent[52:] != flags {
				t.Errorf("%s is %s, and that %q", id, parent, RequestOf(parent))
			}
			if trace, span := TraceOf(id); parent != "00-"+trace+"-"+span+flags || RequestOfTrace(trace) != id {
				t.Errorf("%s is in trace %s, span %s, which is of %q", id, trace, span, RequestOfTrace(trace))
			}
		}
	}
	for _, id := range []string{"", "r1", "d1932574-000000000000063a.0", "D1932574-000000000000063a", "d1932574-000000000000063a.", "d1932574-000000000000063a.70000", "d1932574-000000000000063ax1"} {
		if got := TraceParent(id, true); got != "" {
			t.Errorf("%q is %s", id, got)
		}
		if trace, span := TraceOf(id); trace != "" || span != "" {
			t.Errorf("%q is in trace %s", id, trace)
		}
	}
	for _, parent := range []string{"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-d1932574000000000000063a00000001-zz-00"} {
		if got := RequestOf(parent); got != "" {
			t.Errorf("%q is of %q", parent, got)
		}
	}
}
