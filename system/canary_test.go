package system_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nines-ha/nines/system"
)

func TestDelivery(t *testing.T) {
	sys, err := system.Parse(read(t, "testdata/valid/delivery.yaml"), "nines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := (system.Deliver{Environment: "production", Regions: system.Together}); sys.Deliver != want {
		t.Errorf("deliver: %+v", sys.Deliver)
	}
	const onePercent = 1_000_000
	byDefault := system.Canary{Steps: []system.Percent{5 * onePercent, 25 * onePercent, 50 * onePercent}, Hold: 2 * time.Minute, Success: 99_950_000, P99: 250 * time.Millisecond, Requests: 100, Deadline: 10 * time.Minute}
	slow, brief := byDefault, byDefault
	slow.Deadline = 15*time.Minute + 30*time.Second
	brief.Hold = time.Minute
	want := map[system.Name]system.Canary{
		"vehicle": {Steps: []system.Percent{onePercent, 10 * onePercent, 99 * onePercent}, Hold: 30 * time.Second, Success: 99 * onePercent, P99: 500 * time.Millisecond, Requests: 1000, Deadline: 5 * time.Minute},
		"profile": slow, "ledger": {}, "one": {}, "alone": {}, "shares": {}, "next": {},
		"asks": byDefault, "shown": brief, "preview": {},
	}
	got := map[system.Name]system.Canary{}
	for _, service := range sys.Services {
		got[service.Name] = service.Canary
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A system without deliver has none of it, and taking it away is as not saying it.
func TestWithoutDelivery(t *testing.T) {
	const said = "deliver: {}\n"
	const rest = "name: fleet\nservices: {vehicle: {source: ./vehicle, expose: public}}\n"
	plain, err := system.Parse([]byte(rest), "nines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sys, err := system.Parse([]byte(said+rest), "nines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if plain.Deliver.On() || plain.Services[0].Canary.On() || !sys.Deliver.On() || !sys.Services[0].Canary.On() {
		t.Errorf("delivered: %+v and %+v", plain.Deliver, sys.Deliver)
	}
	if diff := cmp.Diff(plain, sys.WithoutDelivery()); diff != "" {
		t.Error(diff)
	}
	if !sys.Services[0].Canary.On() {
		t.Error("the system itself was changed")
	}
}
