package world

import (
	"context"
	"net/http"
	"time"

	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/internal/namespace"
)

// certificateWait is how long a proxy may take to tell its certificate.
const certificateWait = 5 * time.Second

func (w *World) answerCertificate(rw http.ResponseWriter, req *http.Request) {
	r, err := w.region(req.PathValue("region"))
	if err != nil {
		answer(rw, err)
		return
	}
	c, err := r.certificate(req.Context(), req.PathValue("namespace"), req.PathValue("pod"))
	if err != nil {
		answer(rw, err)
		return
	}
	tell(rw, c)
}

// certificate asks the proxy of a pod from inside the pod's network, where alone it
// answers.
func (r *region) certificate(ctx context.Context, space, name string) (mesh.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, certificateWait)
	defer cancel()
	_, pid, err := r.holderOf(ctx, space, name)
	if err != nil {
		return mesh.Certificate{}, err
	}
	net, err := namespace.NetOf(pid)
	if err != nil {
		return mesh.Certificate{}, err
	}
	defer net.Close()
	return mesh.AskCertificate(ctx, net.Dial)
}
