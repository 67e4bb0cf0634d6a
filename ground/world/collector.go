package world

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/nines-ha/nines/ground/collector"
	"github.com/nines-ha/nines/ground/manifest"
	"github.com/nines-ha/nines/ground/part"
)

// collectorPart has what a region's pods export received outside its cluster, under
// a name inside it.
func (r *region) collectorPart() part.Part {
	var server *http.Server
	address := net.JoinHostPort(r.plan.Collector().String(), strconv.Itoa(collector.Port))
	return part.Part{
		Name: r.part("collector"), Needs: []string{"network", r.part("access")}, About: "receives traces at " + address + " and keeps the newest spans, where a cloud has an OpenTelemetry Collector",
		Prepare: func(ctx context.Context) error {
			l, err := r.network.Router().Listen("tcp", address)
			if err != nil {
				return err
			}
			server = &http.Server{Handler: r.traces, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
			go func() {
				if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
					r.world.log.Error("collector", "error", err)
				}
			}()
			root, err := r.cluster.Root()
			if err != nil {
				return err
			}
			set, err := manifest.NewSet("collector", root)
			if err != nil {
				return err
			}
			objects, err := decode([][]byte{collector.Manifests(r.plan.Collector())})
			if err != nil {
				return err
			}
			return set.Apply(ctx, objects)
		},
		Undo: func(context.Context) error {
			if server == nil {
				return nil
			}
			return server.Close()
		},
	}
}

// answerTraces tells spans that a region's collector was sent.
func (w *World) answerTraces(rw http.ResponseWriter, req *http.Request) {
	r, err := w.region(req.PathValue("region"))
	if err != nil {
		answer(rw, err)
		return
	}
	after, err := strconv.ParseUint(req.PathValue("after"), 10, 64)
	if err != nil {
		http.Error(rw, "after: "+err.Error(), http.StatusBadRequest)
		return
	}
	tell(rw, r.traces.After(after))
}
