// Package hops reads the access logs of a mesh's proxies while a drill runs, and
// tells them as hops of the record. Call Start before the load and Finish after it.
// It asks the Kubernetes API alone, so it works on any cluster; it changes nothing.
//
// The proxies are the containers named istio-proxy of all pods in the namespaces
// that are watched, native sidecars too. Each is read from the instant at which the
// drill began, through pods/log with follow. A stream that breaks, or is silent for
// long, is taken up again after the last line that came, to the line; where the
// container may have restarted meanwhile, the end of its previous life is read
// first. In the end all are asked once more. What could not be read then, or went
// with a pod before its node came back, is told by Finish, and so is what had to be
// dropped. A stream that ended in order, and whose pod has gone, is taken for whole.
package hops

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/record"
)

// Config says what to read.
type Config struct {
	Kube      kubernetes.Interface
	Namespace string // of the service, and of the sidecars beside it
	Gateway   string // namespace of the gateway; "": there is none
	Started   time.Time
	// Zone is that of a node; nil: nobody knows.
	Zone func(node string) string
	// Tell hears of every hop, one at a time. It must not wait for long.
	Tell func(record.Hop)
}

// Container is what Istio calls its proxies, at a gateway and beside a service.
const Container = "istio-proxy"

const (
	lookEvery  = time.Second      // for pods
	askWithin  = 5 * time.Second  // for one list of them
	mostLogs   = 256              // that are followed at once
	mostAddr   = 10_000           // addresses that are remembered
	mostUnread = 20               // sentences
	flushes    = 2 * time.Second  // after which a proxy has written what it knows
	settles    = 15 * time.Second // what Finish waits for at most
	mostLast   = 16               // logs that it asks at once
)

// A Follower runs from Start to Finish.
type Follower struct {
	Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	logs      map[string]*log   // that are followed, by namespace and pod
	addresses map[string]string // pods by address
	told      int
	dropped   int      // beyond what a record holds
	long      int      // lines that are too long to be one of an access log
	unread    []string // what is missing for good
	more      int      // sentences that are not among them
	crowded   map[string]bool
	listed    bool  // pods were seen
	trouble   error // of the last list
}

// Start begins at once. ctx bounds it all; Finish must be called.
func Start(ctx context.Context, c Config) *Follower {
	if c.Zone == nil {
		c.Zone = func(string) string { return "" }
	}
	f := &Follower{Config: c, logs: map[string]*log{}, addresses: map[string]string{}, crowded: map[string]bool{}}
	f.ctx, f.cancel = context.WithCancel(ctx)
	f.wg.Go(f.lookAlong)
	return f
}

// Finish waits until what the proxies have written by now was read, but not for
// long, ends the reading and says what is missing, in a sentence each.
func (f *Follower) Finish(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, settles)
	defer cancel()
	pause(ctx, flushes) // a proxy keeps lines for up to a second
	f.cancel()
	f.wg.Wait()
	// A stream to a node that was lost is as quiet as one of a proxy that has nothing
	// to say, so that following alone proves nothing.
	var asking sync.WaitGroup
	slots := make(chan struct{}, mostLast)
	for _, name := range sorted(f.logs) {
		l := f.logs[name]
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			if why := l.last(ctx); why != nil {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.lose(l, why.Error())
			}
		})
	}
	asking.Wait()
	return f.missing()
}

func (f *Follower) missing() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.unread)
	if !f.listed {
		f.say(fmt.Sprintf("no pods were found whose logs could be read: %v", f.trouble))
	}
	if f.more > 0 {
		f.unread = append(f.unread, fmt.Sprintf("and %d more logs", f.more))
	}
	if f.dropped > 0 {
		f.unread = append(f.unread, fmt.Sprintf("%d lines beyond the %d that a record holds were dropped", f.dropped, record.MaxHops))
	}
	if f.long > 0 {
		f.unread = append(f.unread, fmt.Sprintf("%d lines of more than %d bytes were dropped", f.long, mostLine))
	}
	return f.unread
}

// lose wants the lock held.
func (f *Follower) lose(l *log, why string) {
	f.say(fmt.Sprintf("the access log of %s/%s on %s from %.1f s on: %s", l.namespace, l.pod, l.node, l.from().Sub(f.Started).Seconds(), why))
}

func (f *Follower) say(what string) {
	if slices.Contains(f.unread, what) {
		return
	}
	if len(f.unread) == mostUnread {
		f.more++
		return
	}
	f.unread = append(f.unread, what)
}

func (f *Follower) lookAlong() {
	for {
		err := f.look()
		f.mu.Lock()
		f.listed = f.listed || err == nil
		f.trouble = err
		f.mu.Unlock()
		if !pause(f.ctx, lookEvery) {
			return
		}
	}
}

// look begins with pods that are new, and lets go of logs whose pods are no more.
func (f *Follower) look() error {
	namespaces := []string{f.Namespace}
	if f.Gateway != "" && f.Gateway != f.Namespace {
		namespaces = append(namespaces, f.Gateway)
	}
	there := map[string]bool{}
	for _, namespace := range namespaces {
		ctx, cancel := context.WithTimeout(f.ctx, askWithin)
		// What the API server has at hand is enough.
		list, err := f.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		cancel()
		if err != nil {
			return err
		}
		for i := range list.Items {
			pod := &list.Items[i]
			there[key(pod)] = true
			f.take(pod)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, l := range f.logs {
		if !there[name] {
			l.leave()
		}
	}
	return nil
}

// key tells pods of one name apart, as a StatefulSet makes them.
func key(p *corev1.Pod) string { return p.Namespace + "/" + p.Name + "/" + string(p.UID) }

func (f *Follower) take(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded // its address may be another's
	if pod.Status.PodIP != "" && !pod.Spec.HostNetwork && !over && (len(f.addresses) < mostAddr || f.addresses[pod.Status.PodIP] != "") {
		f.addresses[pod.Status.PodIP] = pod.Name
	}
	status := proxyOf(pod)
	if status == nil {
		return
	}
	l := f.logs[key(pod)]
	switch {
	case l != nil:
		l.learn(pod, status)
	case status.State.Running == nil && status.RestartCount == 0 && status.State.Terminated == nil:
		// It has not begun.
	case len(f.logs) == mostLogs:
		if name := key(pod); !f.crowded[name] && len(f.crowded) < mostAddr {
			f.crowded[name] = true
			f.say(fmt.Sprintf("the access log of %s/%s: %d others are followed already", pod.Namespace, pod.Name, mostLogs))
		}
	default:
		l = newLog(f, pod, status)
		f.logs[key(pod)] = l
		f.wg.Go(func() {
			over, lost := l.follow(f.ctx)
			if !over {
				return
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.logs, key(pod))
			if lost != nil {
				f.lose(l, lost.Error())
			}
		})
	}
}

// proxyOf is the state of a pod's proxy; nil: it has none.
func proxyOf(pod *corev1.Pod) *corev1.ContainerStatus {
	for _, all := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range all {
			if all[i].Name == Container {
				return &all[i]
			}
		}
	}
	return nil
}

// tell puts together what a line says and what is known of where it was written.
func (f *Follower) tell(l *log, e entry) {
	hop := e.hop
	hop.At = e.at.Sub(f.Started)
	hop.Proxy = e.proxy(l.gateway, l.ip())
	f.mu.Lock()
	defer f.mu.Unlock()
	if hop.At < 0 && hop.At+hop.Length < 0 || hop.ID == "" && hop.Proxy != record.Outbound {
		return
	}
	hop.Pod, hop.Node, hop.Zone = l.pod, l.node, f.Zone(l.node)
	hop.UpstreamPod = f.addresses[host(hop.Upstream)]
	if hop.Proxy == record.Inbound {
		hop.UpstreamPod = l.pod // it asks its own, by an address of the machine itself
	}
	if f.told == record.MaxHops {
		f.dropped++
		return
	}
	f.told++
	f.Tell(hop)
}
