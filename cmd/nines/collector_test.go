package main

import (
	"testing"

	"github.com/nines-ha/nines/ground/collector"
	"github.com/nines-ha/nines/render/istio"
)

// What is rendered exports to where a ground has its collector.
func TestCollectorIsWhereItIsLookedFor(t *testing.T) {
	if istio.CollectorNamespace != collector.Namespace || istio.Collector != collector.Service || istio.CollectorPort != collector.Port {
		t.Errorf("rendered %s:%d, there is %s/%s:%d", istio.CollectorHost, istio.CollectorPort, collector.Namespace, collector.Service, collector.Port)
	}
}
