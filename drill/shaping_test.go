package drill

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/record"
)

func TestShaped(t *testing.T) {
	preview := map[string]string{"X-Preview": "true"}
	for name, test := range map[string]struct {
		traffic []record.Share
		want    record.Shared
	}{
		"all three": {
			[]record.Share{{Service: "next", Weight: 0.1, Headers: preview}, {Service: "shadow", Mirror: 0.2}},
			record.Shared{Weights: map[string]float64{"web": 0.9, "next": 0.1}, Headed: true, Copies: map[string]float64{"shadow": 0.2}},
		},
		"a header alone": {
			[]record.Share{{Service: "next", Headers: preview}},
			record.Shared{Weights: map[string]float64{"web": 1, "next": 0}, Headed: true},
		},
		"all of it": {
			[]record.Share{{Service: "a", Weight: 0.7}, {Service: "b", Weight: 0.3}},
			record.Shared{Weights: map[string]float64{"web": 0, "a": 0.7, "b": 0.3}},
		},
	} {
		test.want.Tolerance = 0.01
		d, err := Find("shaping")
		if err != nil {
			t.Fatal(err)
		}
		p := d.Promise(objective, record.Service{Name: "web", Traffic: test.traffic})
		if diff := cmp.Diff(&test.want, p.Shared); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Only this drill has requests carry headers, and most carry none.
func TestWays(t *testing.T) {
	site := fault.Site{Traffic: []record.Share{{Service: "shadow", Mirror: 1}}}
	for i := range 10 {
		name := string(rune('a' + i))
		site.Traffic = append(site.Traffic, record.Share{Service: name, Headers: map[string]string{"X-To": name}})
	}
	for _, d := range All() {
		plan := Plan{Drill: d, Site: site}
		if ways := plan.ways(); (len(ways) > 0) != (d.Name == "shaping") {
			t.Errorf("%s: %v", d.Name, ways)
		}
	}
	d, err := Find("shaping")
	if err != nil {
		t.Fatal(err)
	}
	plan := Plan{Drill: d, Site: site}
	sum := 0.0
	for share := range maps.Values(load.Steered(plan.ways())) {
		sum += share
	}
	if sum < 0.499 || sum > 0.501 {
		t.Errorf("%v of the requests carry headers", sum)
	}
	plan.Site.Traffic = site.Traffic[:2]
	if diff := cmp.Diff([]load.Way{{To: "a", Headers: map[string]string{"X-To": "a"}, Share: 0.1}}, plan.ways()); diff != "" {
		t.Error(diff)
	}
}
