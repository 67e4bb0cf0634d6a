package world

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nines-ha/nines/ground/impair"
)

const (
	maxImpaired = 64
	mendWithin  = 20 * time.Second
)

// ImpairedStatus is a pod that is unwell, and Kubernetes does not know it.
type ImpairedStatus struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Node      string `json:"node"`
	impair.Status
}

// impaired are the pods of a region that are unwell.
type impaired struct {
	turn sync.Mutex // held by what makes a pod unwell or well

	mu   sync.Mutex             // never for long: a status may be asked for meanwhile
	pods map[[2]string]*patient // by namespace and name
}

type patient struct {
	*impair.Pod
	node string
}

func (l *impaired) status() []ImpairedStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []ImpairedStatus
	for key, p := range l.pods {
		list = append(list, ImpairedStatus{Namespace: key[0], Pod: key[1], Node: p.node, Status: p.Status()})
	}
	slices.SortFunc(list, func(a, b ImpairedStatus) int {
		return strings.Compare(a.Namespace+"/"+a.Pod, b.Namespace+"/"+b.Pod)
	})
	return list
}

func (w *World) answerImpair(rw http.ResponseWriter, req *http.Request) {
	r, what, ok := asked[impair.Impairment](w, rw, req)
	if !ok {
		return
	}
	answer(rw, r.impair(req.Context(), what))
}

// impair makes a pod unwell until it is mended or ends, with the world at the
// latest. One that is unwell already is refused.
func (r *region) impair(ctx context.Context, what impair.Impairment) error {
	pod, pid, err := r.holderOf(ctx, what.Namespace, what.Pod)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(r.world.spec.Dirs.Logs, r.spec.Name+"-impair.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()

	l, key := &r.impaired, [2]string{what.Namespace, what.Pod}
	l.turn.Lock()
	defer l.turn.Unlock()
	now, number := l.find(key)
	switch {
	case now != nil:
		return fmt.Errorf("pod %s/%s is impaired already; mend it first", what.Namespace, what.Pod)
	case number >= maxImpaired:
		return fmt.Errorf("region %s has %d impaired pods, and there may be no more", r.spec.Name, number)
	}
	p, err := impair.Start(ctx, pid, what, log)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pods == nil {
		l.pods = map[[2]string]*patient{}
	}
	l.pods[key] = &patient{p, pod.Spec.NodeName}
	go func() {
		<-p.Over()
		if err := r.discharge(key, p); err != nil {
			r.world.log.Error("impaired pod", "error", err)
		}
	}()
	return nil
}

// find is the patient of that name, or nil, and how many there are.
func (l *impaired) find(key [2]string) (*patient, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods[key], len(l.pods)
}

// mend makes a pod well. One that is well, or gone, is left alone.
func (r *region) mend(namespace, name string) error {
	l, key := &r.impaired, [2]string{namespace, name}
	l.turn.Lock()
	defer l.turn.Unlock()
	p, _ := l.find(key)
	if p == nil {
		return nil
	}
	return r.discharge(key, p.Pod)
}

// discharge ends an impairment, whoever may have asked and left meanwhile.
func (r *region) discharge(key [2]string, p *impair.Pod) error {
	ctx, cancel := context.WithTimeout(context.Background(), mendWithin)
	defer cancel()
	err := p.Stop(ctx)
	l := &r.impaired
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.pods[key]; now != nil && now.Pod == p {
		delete(l.pods, key)
	}
	return err
}
