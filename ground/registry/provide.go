package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nines-ha/nines/ground/image"
)

// stillMaking sends a client to ask again at once, because it would not wait
// longer for one answer.
type stillMaking struct{ location string }

func (*stillMaking) Error() string { return "still being made" }

// provide asks the catalogue for an image, once for all who wait for it. The
// work goes on when a client gives up: kubelet asks again and finds it done.
func (r *Registry) provide(req *http.Request, full string) error {
	if r.catalogue.Provide == nil {
		return nil
	}
	result := r.making.DoChan(full, func() (any, error) {
		if err := r.enter(); err != nil {
			return nil, err
		}
		defer r.workers.Done()
		work, cancel := context.WithTimeout(r.done, provideLimit)
		defer cancel()
		began := time.Now()
		if err := r.lately(full); err != nil {
			return nil, err
		}
		err := r.catalogue.Provide(work, full)
		r.remember(full, err)
		if took := time.Since(began); err == nil && took > time.Second {
			r.log.Info("image made", "reference", full, "took", took.Round(100*time.Millisecond))
		}
		return nil, err
	})
	patience := time.NewTimer(r.hold)
	defer patience.Stop()
	select {
	case got := <-result:
		if errors.Is(got.Err, image.ErrNotFound) {
			return nil
		}
		return got.Err
	case <-patience.C:
		return waitMore(req, full)
	case <-req.Context().Done():
		return fmt.Errorf("wait for image %s: %w", full, context.Cause(req.Context()))
	}
}

// waitMore counts in the address how often a client has been sent on.
func waitMore(req *http.Request, full string) error {
	query := req.URL.Query()
	held, _ := strconv.Atoi(query.Get("held"))
	if held < 0 || held >= maxHolds {
		return fmt.Errorf("image %s is still being made; pull it again in a minute", full)
	}
	query.Set("held", strconv.Itoa(held+1))
	return &stillMaking{req.URL.Path + "?" + query.Encode()}
}

// enter counts a worker that Close has to wait for.
func (r *Registry) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done.Err() != nil {
		return errors.New("the registry is closing")
	}
	r.workers.Add(1)
	return nil
}

// refusal is why an image could not be made, kept for a moment: containerd
// asks a second time for the reason, and that should not compile again.
type refusal struct {
	err error
	at  time.Time
}

const refusalAge = 15 * time.Second

func (r *Registry) lately(full string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.refused[full]; ok && time.Since(old.at) < refusalAge {
		return old.err
	}
	return nil
}

func (r *Registry) remember(full string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || errors.Is(err, image.ErrNotFound) {
		delete(r.refused, full)
		return
	}
	r.refused[full] = refusal{err, time.Now()}
}
