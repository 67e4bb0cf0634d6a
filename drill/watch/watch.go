// Package watch tells what a cluster and the ground below it do while a drill
// runs, as events of the record. With a gateway in Config, its endpoints and pods
// are told like those of the service, and the backends are those of its Service. Call Start before the load and Stop after it;
// Await waits until everything is in order, Unsteady says what is not. It changes
// nothing and judges nothing.
//
// # What At means
//
// Events of one thing come in order, with At never going back. How exact At is
// depends on who tells:
//
//   - Machine, Zone, Part, Backend: exact, from the ground. A loss counts from the
//     beginning of the act that brought it, a return from the end of its act.
//     They are seen up to 200 ms later. That a store is suspended is dated by
//     when it was seen; so is a backend that left the pool.
//   - Pod, NodeKind: Kubernetes tells whole seconds, the fraction cut off. At is
//     when it was seen, if that was in the very second that is told: the turn was
//     before At, by less than a second. Otherwise At is the beginning of the second
//     that is told: the turn was after At, by less than a second. Terminating
//     counts from the request to delete, ended from the end of the container.
//   - Endpoint, GatewayKind, deleted pods and nodes, cordoned: nobody tells an instant; At is
//     when it was seen. The API server tells it some milliseconds after it is so,
//     or when it answers again.
package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/nines-ha/nines/drill/workload"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// Config says what to watch.
type Config struct {
	Kube      kubernetes.Interface
	Ground    *ground.Client // nil: not a ground, and no events of machines, zones, backends and parts
	Region    string
	Namespace string
	Service   string
	Gateway   *Gateway  // nil: clients reach the service itself
	Started   time.Time // instants are told relative to it
	// Tell hears of every event, one at a time. It must not wait for long.
	Tell func(record.Event)
}

// A Gateway is the Service of type LoadBalancer through which clients come to a
// mesh, and the proxies behind it: the way in, and as much to be in order as the
// service.
type Gateway struct{ Namespace, Service string }

const (
	startWithin = 15 * time.Second       // for the first look at everything
	askWithin   = 2 * time.Second        // for one answer
	lookEvery   = 200 * time.Millisecond // at the ground
	askEvery    = 500 * time.Millisecond // for the deployment
	maxUpdates  = 256                    // that wait to be taken in
)

// A Watch runs from Start to Stop. Its methods may be called at any time from
// anywhere.
type Watch struct {
	Config
	look    func(context.Context) (ground.WorldStatus, error) // nil: not a ground
	updates chan func()
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	book    *book
	changed chan struct{} // closed and replaced when something new is known
}

// Start returns when the initial state of everything has been told. ctx bounds
// that alone; what follows ends with Stop.
func Start(ctx context.Context, c Config) (*Watch, error) {
	w := &Watch{Config: c}
	if c.Ground != nil {
		w.look = c.Ground.World
	}
	return w, w.start(ctx)
}

func (w *Watch) start(ctx context.Context) error {
	w.updates, w.changed = make(chan func(), maxUpdates), make(chan struct{})
	w.book = newBook(w.Config, w.look != nil)
	ctx, done := context.WithTimeout(ctx, startWithin)
	defer done()
	life, cancel := context.WithCancel(silent(context.WithoutCancel(ctx)))
	w.cancel = cancel
	err := w.begin(ctx, life)
	if err != nil {
		w.Stop()
		return fmt.Errorf("watch %s/%s: %w", w.Namespace, w.Service, err)
	}
	return nil
}

func (w *Watch) begin(ctx, life context.Context) error {
	d, err := workload.Get(ctx, w.Kube, w.Namespace, w.Service)
	if err != nil {
		return err
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return err
	}
	w.wg.Go(func() { w.takeIn(life) })
	// Nodes first: what is on them has their zone.
	service := w.book.service
	sources := []source{w.nodes(), w.pods(service, selector.String()), w.slices(service)}
	polls := []poll{{every: askEvery, ask: w.askDeployment}}
	if gateway := w.book.gateway; gateway != nil {
		selector, err := w.gatewaySelector(ctx)
		if err != nil {
			return err
		}
		sources = append(sources, w.pods(gateway, selector.String()), w.slices(gateway))
		polls = append(polls, poll{every: askEvery, ask: func(ctx context.Context) error { return w.askGateway(ctx, selector) }})
	}
	if w.look != nil {
		polls = append(polls, poll{every: lookEvery, ask: w.lookAtGround})
	}
	var first []func(chan<- error)
	for _, s := range sources {
		first = append(first, func(told chan<- error) { w.wg.Go(func() { w.follow(life, s, told) }) })
	}
	for _, p := range polls {
		first = append(first, func(told chan<- error) { w.wg.Go(func() { p.run(life, told) }) })
	}
	for _, begin := range first {
		told := make(chan error, 1)
		begin(told)
		select {
		case err := <-told:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Stop returns when nothing more will be told. It may be called more than once.
func (w *Watch) Stop() {
	w.cancel()
	w.wg.Wait()
}

// takeIn applies updates one after the other and tells what they turn.
func (w *Watch) takeIn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case update := <-w.updates:
			w.mu.Lock()
			update()
			events := w.book.take()
			close(w.changed)
			w.changed = make(chan struct{})
			w.mu.Unlock()
			for _, e := range events {
				w.Tell(e)
			}
		}
	}
}

var errStopped = errors.New("the watch has ended")

// post returns when the update was applied and told.
func (w *Watch) post(ctx context.Context, update func(b *book, seen time.Duration)) error {
	seen := time.Since(w.Started)
	applied := make(chan struct{})
	f := func() {
		update(w.book, seen)
		close(applied)
	}
	select {
	case w.updates <- f:
	case <-ctx.Done():
		return errStopped
	}
	select {
	case <-applied:
		return nil
	case <-ctx.Done():
		return errStopped
	}
}

// Ready counts the endpoints of the service that are ready now.
func (w *Watch) Ready() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.book.service.ready()
}
