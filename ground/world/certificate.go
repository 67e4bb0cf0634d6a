package world

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(c)
}

// certificate asks the proxy of a pod from inside the pod's network, where alone it
// answers.
func (r *region) certificate(ctx context.Context, space, name string) (mesh.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, certificateWait)
	defer cancel()
	pod, err := r.client.CoreV1().Pods(space).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return mesh.Certificate{}, unknown("region %s has no pod %s/%s", r.spec.Name, space, name)
	}
	if err != nil {
		return mesh.Certificate{}, err
	}
	pid, err := r.processOf(pod)
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
