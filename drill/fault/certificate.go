package fault

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/record"
)

// RotationStopped is the variant in which nobody renews certificates.
const RotationStopped = "rotation-stopped"

const (
	// A proxy asks for a certificate of a minute, and for another one when a quarter
	// of that is over. With Istio's own numbers it is a day and half of it.
	certificateLife  = time.Minute
	certificateGrace = 0.75
	// A connection shows certificates when it is made and never again. With ones that
	// are kept, a mesh with expired certificates looks well for hours.
	connectionLife = 5 * time.Second

	rotationLasts = 85 * time.Second // the look at certificates, less than the window
	rotationReady = 5 * time.Minute  // two rollouts before the load
	lookEach      = 2 * time.Second
	lookAtOne     = 5 * time.Second
)

// A rotation replaces the root in three steps: a second root is trusted, then
// certificates lead to it, then the first is trusted no more. Each waits until
// every proxy has taken the one before in, or one that is ahead would refuse one
// that is behind.
type rotation struct {
	*scene
	was     map[string][]byte // what istiod issues certificates with
	next    map[string][]byte // what it is to issue them with
	both    []byte            // roots
	brief   []Heal            // patches that make certificates and connections short-lived
	lasting []Heal            // that undo them
	proxies []corev1.Pod      // pods with one
	seen    map[string]record.Certificate
	ask     func(ctx context.Context, namespace, pod string) (ground.Certificate, error)
}

func certificateRotation(ctx context.Context, sc *scene) (*Injection, error) {
	r, err := newRotation(ctx, sc)
	if err != nil {
		return nil, err
	}
	return r.injection(ctx)
}

func newRotation(ctx context.Context, sc *scene) (*rotation, error) {
	secret, err := sc.site.Kube.CoreV1().Secrets(mesh.System).Get(ctx, mesh.AuthoritySecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, &ImpossibleError{fmt.Sprintf("certificate-rotation needs a certificate authority that is plugged in, and there is no Secret %s/%s", mesh.System, mesh.AuthoritySecret)}
	}
	if err != nil {
		return nil, fmt.Errorf("look at Secret %s: %w", mesh.AuthoritySecret, err)
	}
	next, err := mesh.NewAuthority()
	if err != nil {
		return nil, err
	}
	r := &rotation{scene: sc, was: secret.Data, next: next, both: slices.Concat(secret.Data[mesh.Roots], next[mesh.Roots]), seen: map[string]record.Certificate{}}
	r.ask = func(ctx context.Context, namespace, pod string) (ground.Certificate, error) {
		return sc.site.Ground.Certificate(ctx, sc.site.Region, namespace, pod)
	}
	return r, r.shorten(ctx)
}

func (r *rotation) injection(ctx context.Context) (*Injection, error) {
	old, next := strings.Join(mesh.Fingerprints(r.was[mesh.Roots]), " "), mesh.Fingerprints(r.next[mesh.Roots])[0]
	i := &Injection{
		Touches: []string{
			fmt.Sprintf("before the load: let Secret %s/%s name root %s beside %s", mesh.System, mesh.AuthoritySecret, next, old),
			fmt.Sprintf("before the load: patch %s: certificates of %s that are renewed after %s, and connections between proxies of %s",
				patched(r.brief), certificateLife, certificateLife-time.Duration(certificateGrace*float64(certificateLife)), connectionLife),
		},
		Heals:  r.lasting,
		before: r.prepare,
		inject: r.rotate,
	}
	if r.site.Variant != RotationStopped {
		i.Touches = append(i.Touches, "let istiod issue certificates that lead to root "+next, "when every proxy has one, let them trust root "+next+" alone")
		return i, nil
	}
	away, err := r.withoutIstiod(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	i.Touches = append(i.Touches, away.Touches[0]+"; it stays away, and nobody renews certificates")
	i.Heals = slices.Concat(away.Heals, i.Heals)
	i.inject = func(ctx context.Context, tell func(record.Event)) error { return r.stop(ctx, away.Heals, tell) }
	return i, nil
}

// prepare is the first step, and what makes certificates and connections
// short-lived. Pods that start after the new root is told trust both at once.
func (r *rotation) prepare(ctx context.Context, tell func(record.Event)) error {
	ctx, cancel := context.WithTimeout(ctx, rotationReady)
	defer cancel()
	tell(on(mesh.AuthoritySecret, done, "both roots are trusted"))
	files := maps.Clone(r.was)
	files[mesh.Roots] = r.both
	if err := r.plug(ctx, files); err != nil {
		return err
	}
	for _, namespace := range []string{r.site.Namespace, mesh.IngressNamespace} {
		err := until(ctx, "wait for istiod to tell both roots to "+namespace, func(ctx context.Context) error {
			told, err := r.site.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, mesh.TrustConfig, metav1.GetOptions{})
			if err == nil && !slices.Equal(mesh.Fingerprints([]byte(told.Data[mesh.RootsTold])), mesh.Fingerprints(r.both)) {
				err = fmt.Errorf("ConfigMap %s has other roots", mesh.TrustConfig)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, h := range r.brief {
		if h.Kind == "Deployment" {
			tell(on(h.Name, done, h.Kind+" "+h.Name+" rolls, for certificates of "+certificateLife.String()))
		}
		if _, err := patchObject(ctx, r.site.Kube, r.site.Objects, h); err != nil {
			return err
		}
	}
	return until(ctx, "wait for pods with certificates of "+certificateLife.String(), r.rolled)
}

// rolled says nil when every pod is new, and none from before is left: it knows one
// root alone.
func (r *rotation) rolled(ctx context.Context) error {
	for _, h := range r.brief {
		if h.Kind != "Deployment" {
			continue
		}
		if _, err := completed(ctx, r.site.Kube, h.Namespace, h.Name); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	for _, namespace := range []string{r.site.Namespace, mesh.IngressNamespace} {
		pods, err := r.podsOf(ctx, namespace, "")
		if err != nil {
			return err
		}
		for _, p := range pods {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("pod %s is still there", p.Name)
			}
		}
	}
	return nil
}

// plug gives istiod other files to issue certificates with.
func (r *rotation) plug(ctx context.Context, files map[string][]byte) error {
	patch := mustJSON(map[string]any{"data": files})
	_, err := r.site.Kube.CoreV1().Secrets(mesh.System).Patch(ctx, mesh.AuthoritySecret, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: manager})
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", mesh.AuthoritySecret, err)
	}
	return nil
}

// rotate is the second and the third step, and a look at what comes of them.
func (r *rotation) rotate(ctx context.Context, tell func(record.Event)) error {
	began := time.Now()
	next := mesh.Fingerprints(r.next[mesh.Roots])
	if err := r.find(ctx, tell); err != nil {
		return err
	}
	files := maps.Clone(r.next)
	files[mesh.Roots] = r.both
	tell(on(mesh.AuthoritySecret, done, "istiod is to issue certificates that lead to another root"))
	if err := r.plug(ctx, files); err != nil {
		return err
	}
	last := began.Add(rotationLasts)
	err := r.look(ctx, tell, last, func(c record.Certificate) bool { return c.Root == next[0] })
	if err != nil || !time.Now().Before(last) {
		return err
	}
	tell(on(mesh.AuthoritySecret, done, "the root from before is to be trusted no more"))
	if err := r.plug(ctx, r.next); err != nil {
		return err
	}
	return r.look(ctx, tell, last, nil)
}

// stop is the variant: istiod does not come back before all of it is undone.
func (r *rotation) stop(ctx context.Context, istiod []Heal, tell func(record.Event)) error {
	began := time.Now()
	var names []string
	for _, h := range istiod {
		names = append(names, h.Name)
	}
	if err := r.find(ctx, tell); err != nil {
		return err
	}
	name := strings.Join(names, " and ")
	tell(on(name, done, name+" deleted with no grace period, and kept away: nobody renews certificates"))
	if err := r.removeIstiod(ctx, names); err != nil {
		return err
	}
	return r.look(ctx, tell, began.Add(rotationLasts), nil)
}

// find is of all proxies, and of what they have now. Those of other services count:
// the root is theirs too.
func (r *rotation) find(ctx context.Context, tell func(record.Event)) error {
	pods, err := r.podsOf(ctx, r.site.Namespace, "")
	if err != nil {
		return err
	}
	gateways, err := r.podsOf(ctx, mesh.IngressNamespace, gatewayLabel)
	if err != nil {
		return err
	}
	r.proxies = readyOf(slices.DeleteFunc(slices.Concat(pods, gateways), func(p corev1.Pod) bool { return !hasSidecar(&p) }))
	return r.look(ctx, tell, time.Now(), nil)
}

// look tells of certificates until an instant, or until all of them are as they
// should be. A proxy that cannot be asked is asked again: what was never seen is
// missing in the record.
func (r *rotation) look(ctx context.Context, tell func(record.Event), last time.Time, enough func(record.Certificate) bool) error {
	for {
		good := 0
		for _, p := range r.proxies {
			c, err := r.lookAt(ctx, &p, tell)
			if err == nil && enough != nil && enough(c) {
				good++
			}
		}
		left := time.Until(last)
		if enough != nil && good == len(r.proxies) || left <= 0 {
			return nil
		}
		if err := pause(ctx, min(lookEach, left)); err != nil {
			return err
		}
	}
}

func (r *rotation) lookAt(ctx context.Context, p *corev1.Pod, tell func(record.Event)) (record.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, lookAtOne)
	defer cancel()
	found, err := r.ask(ctx, p.Namespace, p.Name)
	if err != nil {
		return record.Certificate{}, err
	}
	c := record.Certificate{Serial: found.Serial, Left: time.Until(found.Expires), Root: found.Root, Trusts: found.Trusts}
	before, known := r.seen[p.Name]
	state := record.Issued
	switch {
	case known && before.Serial == c.Serial && slices.Equal(before.Trusts, c.Trusts):
		return c, nil
	case known && before.Serial == c.Serial:
		state = record.Trusts
	case known:
		state = record.Rotated
	}
	r.seen[p.Name] = c
	tell(record.Event{
		Kind: record.CertificateKind, Name: p.Name, State: state, Node: p.Spec.NodeName, Zone: r.zoneOf(p.Spec.NodeName), Certificate: &c,
		Text: fmt.Sprintf("valid for %s, leads to root %s, trusts %s", c.Left.Round(time.Second), c.Root, strings.Join(c.Trusts, " ")),
	})
	return c, nil
}
