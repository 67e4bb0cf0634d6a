package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
)

// A source is one kind of objects of the API server.
type source struct {
	name  string
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (kwatch.Interface, error)
	// all takes everything that there is, one what was added or changed, gone
	// what was deleted.
	all  func(b *book, items []runtime.Object, seen time.Duration)
	one  func(b *book, item runtime.Object, seen time.Duration)
	gone func(b *book, item runtime.Object, seen time.Duration)
}

// listAgain is the pause between two attempts to list.
const listAgain = 500 * time.Millisecond

// follow lists, then watches from there, resuming where a watch broke off, so
// that nothing is missed that the API server still knows. What it does not know
// any more is made up for by another list. told gets the first outcome.
func (w *Watch) follow(ctx context.Context, s source, told chan<- error) {
	for first := true; ctx.Err() == nil; first = false {
		version, err := w.list(ctx, s)
		if err == nil {
			if first {
				told <- nil
			}
			err = w.resume(ctx, s, version)
		} else if first {
			told <- fmt.Errorf("list %s: %w", s.name, err)
			return
		}
		if err != nil {
			pause(ctx, listAgain)
		}
	}
}

func (w *Watch) list(ctx context.Context, s source) (version string, err error) {
	limited, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	list, err := s.list(limited, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return "", err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return "", err
	}
	return accessor.GetResourceVersion(), w.post(ctx, func(b *book, seen time.Duration) { s.all(b, items, seen) })
}

// resume watches until the API server no longer knows what came after version.
func (w *Watch) resume(ctx context.Context, s source, version string) error {
	again := int64(60) // seconds; a stream that is dead without a word is noticed then
	watcher, err := toolswatch.NewRetryWatcherWithContext(ctx, version, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (kwatch.Interface, error) {
			options.TimeoutSeconds = &again
			stream, err := s.watch(ctx, options)
			if err != nil {
				return nil, err
			}
			w.hear(s.name, true)
			return &heard{stream, func() { w.hear(s.name, false) }}, nil
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		watcher.Stop()
		for range watcher.ResultChan() { // it may be sending
		}
		<-watcher.Done()
	}()
	for event := range watcher.ResultChan() {
		take := s.one
		switch event.Type {
		case kwatch.Added, kwatch.Modified:
		case kwatch.Deleted:
			take = s.gone
		default:
			return errors.New("the watch is too old")
		}
		if err := w.post(ctx, func(b *book, seen time.Duration) { take(b, event.Object, seen) }); err != nil {
			return err
		}
	}
	return nil
}

// heard tells when a stream ends, so that an old view is not taken for order.
type heard struct {
	kwatch.Interface
	ended func()
}

func (h *heard) Stop() {
	h.ended()
	h.Interface.Stop()
}

func (w *Watch) hear(source string, now bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.book.unheard[source] = !now
	close(w.changed)
	w.changed = make(chan struct{})
}

// silent keeps what client-go would log to the process's standard error.
func silent(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }

// A poll asks again and again, and never two questions at once.
type poll struct {
	every time.Duration
	ask   func(context.Context) error
}

func (p poll) run(ctx context.Context, told chan<- error) {
	for {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, askWithin)
		err := p.ask(limited)
		cancel()
		if told != nil {
			told <- err
			told = nil
		}
		if !pause(ctx, p.every-time.Since(began)) {
			return
		}
	}
}

// pause says whether ctx still goes on after it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
