package hops

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	mostLine = 16 << 10         // bytes; what the kubelet writes as one
	silence  = 30 * time.Second // after which a stream is taken up again, as its end may have got lost
	again    = 500 * time.Millisecond
	rarely   = 5 * time.Second
)

// A log is that of one proxy.
type log struct {
	f              *Follower
	namespace, pod string
	node           string
	gateway        bool

	mu       sync.Mutex
	address  string
	restarts int32         // of the container that is there
	read     int32         // of the one that was read last
	newest   time.Time     // instant of the last line that was read
	same     int           // lines read of that instant
	skip     int           // those of them that come once more
	trouble  error         // why the last stream is not whole; nil: it ended in order
	gone     bool          // its pod is no more
	left     chan struct{} // closed then
}

var (
	errSilent = errors.New("nothing was heard of it for " + silence.String())
	errNever  = errors.New("it was never read")
)

func newLog(f *Follower, pod *corev1.Pod, status *corev1.ContainerStatus) *log {
	return &log{
		f: f, namespace: pod.Namespace, pod: pod.Name, node: pod.Spec.NodeName, address: pod.Status.PodIP, gateway: pod.Namespace == f.Gateway,
		restarts: status.RestartCount, read: status.RestartCount, trouble: errNever, left: make(chan struct{}),
	}
}

// learn takes in what has become of the pod.
func (l *log) learn(pod *corev1.Pod, status *corev1.ContainerStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restarts = status.RestartCount
	if pod.Status.PodIP != "" {
		l.address = pod.Status.PodIP
	}
}

func (l *log) ip() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address
}

// leave says that the pod is no more.
func (l *log) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.gone {
		l.gone = true
		close(l.left)
	}
}

// from is the instant up to which it was read.
func (l *log) from() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newest.Before(l.f.Started) {
		return l.f.Started
	}
	return l.newest
}

// follow reads until the pod is no more, and then gives why not all of its log was
// read; or until ctx ends.
func (l *log) follow(ctx context.Context) (over bool, lost error) {
	wait := again
	for {
		err := l.once(ctx, true)
		if ctx.Err() != nil {
			return false, nil
		}
		l.mu.Lock()
		gone, trouble := l.gone, l.trouble
		l.mu.Unlock()
		if gone && (err == nil || apierrors.IsNotFound(err)) {
			return true, trouble
		}
		wait = min(2*wait, rarely)
		if err == nil || errors.Is(err, errSilent) {
			wait = again
		}
		timer := time.NewTimer(wait)
		left := l.left
		if gone {
			left = nil // that is known
		}
		select {
		case <-ctx.Done():
		case <-left:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// last reads what there is by now, and gives why that was not possible.
func (l *log) last(ctx context.Context) error {
	err := l.once(ctx, false)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err):
		return l.trouble // what was read before was all, if it ended in order
	case err != nil && ctx.Err() != nil:
		return errors.New("no answer within " + settles.String())
	}
	return err
}

// once reads one stream to its end, and before it what a container that is no more
// has left.
func (l *log) once(ctx context.Context, on bool) error {
	l.mu.Lock()
	restarts := l.restarts
	behind := restarts > l.read || l.trouble != nil && !l.newest.IsZero()
	l.mu.Unlock()
	if behind {
		err := l.stream(ctx, corev1.PodLogOptions{Previous: true})
		if err != nil && !apierrors.IsBadRequest(err) { // bad: there is none
			if l.probe(ctx) != nil {
				return l.stands(ctx, err)
			}
			// It is reachable, and still that part is not to be had.
			l.f.mu.Lock()
			l.f.lose(l, "the end of the log of its previous container: "+err.Error())
			l.f.mu.Unlock()
		}
	}
	err := l.stream(ctx, corev1.PodLogOptions{Follow: on})
	if err == nil || apierrors.IsNotFound(err) || ctx.Err() != nil {
		l.mu.Lock()
		l.read = restarts
		l.mu.Unlock()
	}
	return l.stands(ctx, err)
}

// probe asks for nothing of the log, to see whether it could be had.
func (l *log) probe(ctx context.Context) error {
	none := int64(0)
	return l.stream(ctx, corev1.PodLogOptions{TailLines: &none})
}

// stands keeps how the last stream ended. That a pod is no more says nothing of
// the stream before, and neither does our own end.
func (l *log) stands(ctx context.Context, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !apierrors.IsNotFound(err) && ctx.Err() == nil {
		l.trouble = err
	}
	return err
}

// stream ends with nil where it ended in order.
func (l *log) stream(ctx context.Context, o corev1.PodLogOptions) (err error) {
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	silent := time.AfterFunc(silence, cancel)
	defer silent.Stop()
	defer func() {
		if err != nil && own.Err() != nil && ctx.Err() == nil {
			err = errSilent
		}
	}()
	l.mu.Lock()
	from := l.newest
	if from.IsZero() {
		from = l.f.Started
	}
	l.skip = l.same
	l.mu.Unlock()
	// It is told in whole seconds; what was read already is left out below.
	since := metav1.NewTime(from.Truncate(time.Second))
	o.Container, o.Timestamps, o.SinceTime = Container, true, &since
	body, err := l.f.Kube.CoreV1().Pods(l.namespace).GetLogs(l.pod, &o).Stream(own)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewReaderSize(body, mostLine)
	for {
		line, err := lines.ReadSlice('\n')
		silent.Reset(silence)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			err = l.tooLong(line, lines)
		case err == nil:
			l.line(line)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil // a line without its end comes again
		case err != nil:
			return err
		}
	}
}

// tooLong passes over the rest of a line.
func (l *log) tooLong(head []byte, lines *bufio.Reader) error {
	if _, ok := l.fresh(head); ok {
		l.f.mu.Lock()
		l.f.long++
		l.f.mu.Unlock()
	}
	for {
		_, err := lines.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// line takes in one.
func (l *log) line(line []byte) {
	rest, ok := l.fresh(bytes.TrimRight(line, "\r\n"))
	if !ok {
		return
	}
	if e, ok := parse(rest); ok {
		l.f.tell(l, e)
	}
}

// fresh takes off the instant at which the node wrote a line down, and tells whether
// the line was not read before: those instants never go back in a log.
func (l *log) fresh(line []byte) (rest []byte, ok bool) {
	stamp, rest, found := bytes.Cut(line, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !found || err != nil {
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case at.Before(l.newest):
		return nil, false
	case at.After(l.newest):
		l.newest, l.same, l.skip = at, 1, 0
	case l.skip > 0:
		l.skip--
		return nil, false
	default:
		l.same++
	}
	return rest, true
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

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
