package istio

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nines-ha/nines/system"
)

// The first route that matches is taken, so none may stand behind one that matches
// all that it matches.
func TestRoutesBySpecificity(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	covers := func(a, b system.OperationName) bool {
		first, second := a.Segments(), b.Segments()
		if a.Method() != b.Method() || len(first) != len(second) {
			return false
		}
		for i := range first {
			if first[i] != "{}" && first[i] != second[i] {
				return false
			}
		}
		return true
	}
	for range 2000 {
		service := system.Service{Name: "s", Port: 8080}
		for range 2 + random.IntN(6) {
			name := []string{"GET ", "POST "}[random.IntN(2)]
			for range 1 + random.IntN(3) {
				name += []string{"/a", "/b", "/{x}"}[random.IntN(3)]
			}
			service.Operations = append(service.Operations, system.Operation{Name: system.OperationName(name)})
		}
		sorted := slices.SortedStableFunc(slices.Values(service.Operations), bySpecificity)
		for i, after := range sorted {
			for _, before := range sorted[:i] {
				if covers(before.Name, after.Name) && !covers(after.Name, before.Name) {
					t.Fatalf("%s stands behind %s, which takes its requests: %v", after.Name, before.Name, sorted)
				}
			}
		}
	}
}
