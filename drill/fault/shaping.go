package fault

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const (
	copiesCounted = time.Minute // in which all is as it should be
	copiesSlow    = 20 * time.Second
	copiesGone    = 20 * time.Second
	copiesReady   = 2 * time.Minute // what is waited for them before anything is sent
)

// shaping breaks nothing of what clients get answers from. It counts copies for a
// while, has them wait on a ground, and then takes away who gets them.
func shaping(ctx context.Context, sc *scene) (*Injection, error) {
	var mirrors, others []*scene
	for _, share := range sc.site.Traffic {
		other, err := sc.at(ctx, share.Service)
		if err != nil {
			return nil, err
		}
		if share.Mirror > 0 && !share.Answers() {
			mirrors = append(mirrors, other)
		}
		others = append(others, other)
	}
	i := &Injection{before: func(ctx context.Context, _ func(record.Event)) error {
		ctx, cancel := context.WithTimeout(ctx, copiesReady)
		defer cancel()
		for _, other := range others {
			if err := other.settled(ctx); err != nil {
				return err
			}
		}
		return nil
	}}
	for _, share := range sc.site.Traffic {
		if len(share.Headers) > 0 {
			i.Touches = append(i.Touches, fmt.Sprintf("send some requests with %s, which %s has to answer", written(share.Headers), share.Service))
		}
	}
	var ill []*Injection
	for _, m := range mirrors {
		name := m.site.Service
		i.Touches = append(i.Touches, fmt.Sprintf("count for %s what arrives at %s, which gets copies", copiesCounted, name))
		if sc.site.Ground != nil {
			i.Touches = append(i.Touches, fmt.Sprintf("make every pod of %s answer %s late for %s", name, slowBy, copiesSlow))
			for _, p := range m.pods {
				slow, err := m.impair(ctx, p, fmt.Sprintf("answers %s late", slowBy), ground.Impairment{Delay: slowBy})
				if err != nil {
					return nil, err
				}
				ill = append(ill, slow)
				i.Heals = append(i.Heals, slow.Heals...)
			}
		}
		i.Touches = append(i.Touches, fmt.Sprintf("scale Deployment %s to 0, delete its pods with no grace period, and scale it back after %s", name, copiesGone))
		i.Heals = append(i.Heals, Heal{Do: "scale", Namespace: m.site.Namespace, Name: name, Replicas: m.replicas()})
	}
	if len(i.Touches) == 0 {
		i.Touches = []string{"nothing: it looks at who answers"}
	}
	if len(mirrors) == 0 {
		return i, nil
	}
	i.inject = func(ctx context.Context, tell func(record.Event)) error {
		for _, wait := range []time.Duration{copiesCounted, 0} {
			for _, m := range mirrors {
				if err := m.countCopies(ctx, tell); err != nil {
					return err
				}
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
		if err := sc.slowCopies(ctx, ill, tell); err != nil {
			return err
		}
		return takeAway(ctx, mirrors, tell)
	}
	return i, nil
}

// at is the same place with another service for its victim.
func (sc *scene) at(ctx context.Context, service string) (*scene, error) {
	site := *sc.site
	site.Service = service
	other := &scene{site: &site, dice: sc.dice, ground: sc.ground}
	return other, other.lookAtCluster(ctx)
}

func (sc *scene) settled(ctx context.Context) error {
	return until(ctx, "wait for "+sc.site.Service, func(ctx context.Context) error {
		_, err := completed(ctx, sc.site.Kube, sc.site.Namespace, sc.site.Service)
		return err
	})
}

func written(headers map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		list = append(list, name+": "+headers[name])
	}
	return strings.Join(list, ", ")
}

func (sc *scene) slowCopies(ctx context.Context, ill []*Injection, tell func(record.Event)) error {
	for _, slow := range ill {
		if err := slow.inject(ctx, tell); err != nil {
			return err
		}
	}
	if len(ill) == 0 {
		return nil
	}
	if err := pause(ctx, copiesSlow); err != nil {
		return err
	}
	for _, slow := range ill {
		for _, h := range slow.Heals {
			if err := sc.site.Ground.Mend(ctx, h.Region, h.Namespace, h.Name); err != nil {
				return err
			}
			tell(on(h.Name, undone, "pod "+h.Name+" is well again"))
		}
	}
	return nil
}

// takeAway removes every pod at once, for a while.
func takeAway(ctx context.Context, mirrors []*scene, tell func(record.Event)) error {
	for _, m := range mirrors {
		tell(m.onService(done, m.site.Service+" deleted with no grace period, and kept away"))
		if err := setReplicas(ctx, m.site.Kube, m.site.Namespace, m.site.Service, 0); err != nil {
			return err
		}
		pods, err := m.podsNow(ctx)
		if err != nil {
			return err
		}
		for _, p := range pods {
			if err := m.destroy(ctx, p); err != nil {
				return err
			}
		}
	}
	if err := pause(ctx, copiesGone); err != nil {
		return err
	}
	for _, m := range mirrors {
		if err := setReplicas(ctx, m.site.Kube, m.site.Namespace, m.site.Service, m.replicas()); err != nil {
			return err
		}
		tell(m.onService(undone, m.site.Service+" scaled back"))
	}
	for _, m := range mirrors {
		if err := m.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Where a sidecar tells its statistics to whoever asks, as Prometheus does, and
// what it calls those of requests that it passes on to its service.
const (
	statisticsPort = "15090"
	statisticsPath = "/stats/prometheus"
	requestsTotal  = "envoy_cluster_upstream_rq_total{"
	inboundCluster = `cluster_name="inbound|`
)

// countCopies tells how many requests have arrived at a service so far, as the
// sidecars of its pods have counted them.
func (sc *scene) countCopies(ctx context.Context, tell func(record.Event)) error {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	sum := 0
	for _, p := range sc.pods {
		text, err := sc.site.Kube.CoreV1().Pods(p.Namespace).ProxyGet("http", p.Name, statisticsPort, statisticsPath, map[string]string{"filter": "upstream_rq_total"}).DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("ask the sidecar of pod %s for its statistics: %w", p.Name, err)
		}
		n, err := arrived(text)
		if err != nil {
			return fmt.Errorf("statistics of the sidecar of pod %s: %w", p.Name, err)
		}
		sum += n
	}
	tell(record.Event{Kind: record.Copies, Name: sc.site.Service, State: record.Counted, Count: sum})
	return nil
}

// arrived is the sum of the requests that a sidecar has passed on to its service;
// of one that nobody has asked yet it tells nothing.
func arrived(statistics []byte) (sum int, err error) {
	lines := bufio.NewScanner(bytes.NewReader(statistics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, requestsTotal) || !strings.Contains(line, inboundCluster) {
			continue
		}
		n, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, lines.Err()
}
