package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

const (
	proofWait  = 10 * time.Second // a proxy keeps its lines for a second
	mostOfALog = int64(4 << 20)   // bytes, from the probe on
	mostProof  = 320              // characters
	adminPort  = 15000            // of a sidecar, for its own pod alone
	blockAll   = "block_all"      // the route to what nobody has declared, in words of Istio's
)

// A proof is where the refusal of a probe shows: a line in the log of one of
// these pods' proxies. Where Envoy writes none, a counter of the first one's tells.
type proof struct {
	pods    []corev1.Pod
	counter string // a regular expression for names of statistics; "": the log
}

// prove gives the proof in words. before is what count gave before the probe.
func (sc *prober) prove(ctx context.Context, p probe, a ground.Answer, before counters) (text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, proofWait)
	defer cancel()
	look := func(ctx context.Context) (string, error) { return sc.logged(ctx, p, a) }
	if p.proof.counter != "" {
		look = func(ctx context.Context) (string, error) { return sc.counted(ctx, p.proof, before) }
	}
	err = until(ctx, "look for a proof", func(ctx context.Context) (err error) {
		if text, err = look(ctx); err == nil && text == "" {
			err = errors.New("there is none")
		}
		return err
	})
	if runes := []rune(text); len(runes) > mostProof {
		text = string(runes[:mostProof])
	}
	return text, err
}

// logged is the line of the proxy that refused, in words.
func (sc *prober) logged(ctx context.Context, p probe, a ground.Answer) (string, error) {
	for _, pod := range p.proof.pods {
		body, err := sc.read(ctx, pod.Namespace, pod.Name, a.At)
		if err != nil {
			return "", fmt.Errorf("read the log of %s: %w", pod.Name, err)
		}
		for text := range bytes.Lines(body) {
			var l line
			if len(text) > 0 && text[0] == '{' && json.Unmarshal(text, &l) == nil && l.refuses(p.id, a.From) {
				return fmt.Sprintf("%s (log of %s)", l, pod.Name), nil
			}
		}
	}
	return "", nil
}

// readLog gives what a pod's proxy has written since an instant.
func (s *Site) readLog(ctx context.Context, namespace, pod string, since time.Time) ([]byte, error) {
	from := metav1.NewTime(since.Truncate(time.Second)) // it is told in whole seconds
	body, err := s.Kube.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: sidecar, SinceTime: &from, LimitBytes: new(mostOfALog)}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, mostOfALog))
}

// A line is one of an access log, by the fields that render/istio gives it.
type line map[string]any

func (l line) text(field string) string {
	switch v := l[field].(type) {
	case string:
		if v != "-" {
			return v
		}
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// refuses tells whether a proxy says in it that it refused this very exchange: the
// request, by a rule, or the connection that came from there, for which it had
// nothing.
func (l line) refuses(id string, from netip.AddrPort) bool {
	if record.RequestOf(l.text("trace")) == id {
		details := l.text("details")
		return strings.HasPrefix(details, "rbac_access_denied") || details == "direct_response" && l.text("route") == blockAll
	}
	if !from.IsValid() || l.text("from") != from.String() || l.text("method") != "" {
		return false
	}
	flags := strings.Split(l.text("flags"), ",")
	return slices.Contains(flags, "NR") || slices.Contains(flags, "UH") && l.text("upstream") == ""
}

func (l line) String() string {
	var words []string
	if status := l.text("status"); status != "0" {
		words = append(words, status)
	}
	words = append(words, l.text("flags"), l.text("details"), strings.TrimSuffix(l.text("cluster"), ";"))
	for _, field := range []string{"from", "to", "peer"} {
		if v := l.text(field); v != "" {
			words = append(words, field+" "+v)
		}
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// counters are statistics of one proxy.
type counters map[string]int

// count asks the proxy of the proof's first pod, from inside the pod.
func (sc *prober) count(ctx context.Context, p proof) (counters, error) {
	pod := p.pods[0]
	a, err := sc.try(ctx, ground.Probe{
		Namespace: pod.Namespace, Pod: pod.Name, To: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), adminPort),
		Host: "localhost", Path: "/stats?filter=" + url.QueryEscape(p.counter),
	})
	switch {
	case err != nil:
		return nil, err
	case a.Status != 200:
		return nil, fmt.Errorf("the proxy of %s gives no statistics: %s", pod.Name, a)
	}
	all := counters{}
	for text := range strings.Lines(a.Body) {
		name, value, _ := strings.Cut(strings.TrimSpace(text), ": ")
		if n, err := strconv.Atoi(value); err == nil {
			all[name] = n
		}
	}
	return all, nil
}

// counted are the counters that have grown, in words.
func (sc *prober) counted(ctx context.Context, p proof, before counters) (string, error) {
	now, err := sc.count(ctx, p)
	if err != nil {
		return "", err
	}
	var grown []string
	for name, n := range now {
		if n > before[name] {
			grown = append(grown, fmt.Sprintf("%s from %d to %d", name, before[name], n))
		}
	}
	if len(grown) == 0 {
		return "", nil
	}
	slices.Sort(grown)
	return fmt.Sprintf("%s (statistics of %s: Envoy logs none of it)", strings.Join(grown, ", "), p.pods[0].Name), nil
}
