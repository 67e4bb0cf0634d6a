package cloud

import (
	"net/netip"
	"strings"
	"testing"
)

func TestFrontends(t *testing.T) {
	addr := netip.MustParseAddr
	f := &frontends{public: netip.MustParsePrefix("198.18.0.0/29"), internal: netip.MustParsePrefix("10.10.239.0/24"), owner: map[netip.Addr]string{}}
	f.keep(request{service: "old", current: addr("198.18.0.1")})
	f.keep(request{service: "late", current: addr("198.18.0.1")})
	for _, step := range []struct {
		ask  request
		want string // an address, or what the error says
	}{
		{request{service: "a"}, "198.18.0.2"},
		{request{service: "a"}, "198.18.0.2"},
		{request{service: "old", current: addr("198.18.0.1")}, "198.18.0.1"},
		{request{service: "b", wanted: addr("198.18.0.5")}, "198.18.0.5"},
		{request{service: "c", wanted: addr("198.18.0.5")}, "belongs to service b"},
		{request{service: "c", wanted: addr("198.18.0.7")}, "is not one of the public network"},
		{request{service: "c", internal: true, wanted: addr("198.18.0.4")}, "is not one of the internal network"},
		{request{service: "c", internal: true}, "10.10.239.1"},
		{request{service: "c", current: addr("10.10.239.1")}, "198.18.0.3"},
		{request{service: "d"}, "198.18.0.4"},
		{request{service: "e"}, "198.18.0.6"},
		{request{service: "f"}, "no free address"},
	} {
		got, err := f.take(step.ask)
		if err != nil {
			if !strings.Contains(err.Error(), step.want) {
				t.Errorf("%+v: %v; want %s", step.ask, err, step.want)
			}
			continue
		}
		if got.String() != step.want {
			t.Errorf("%+v: %s; want %s", step.ask, got, step.want)
		}
	}
	f.release("a")
	if got, err := f.take(request{service: "f"}); err != nil || got != addr("198.18.0.2") {
		t.Errorf("after a release: %v, %v", got, err)
	}
}
