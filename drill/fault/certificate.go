package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

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

var destinationRules = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}

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
	proxies []corev1.Pod      // that requests pass
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

// shorten finds the patches that make certificates and connections short-lived,
// and those that undo them.
func (r *rotation) shorten(ctx context.Context) error {
	s := r.site
	all, err := s.Kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	for _, p := range all.Items {
		if p.Namespace != s.Namespace && p.Namespace != mesh.IngressNamespace && hasSidecar(&p) {
			return &ImpossibleError{fmt.Sprintf("certificate-rotation takes the root of the mesh away, and pod %s/%s, which is none of %s, is in the mesh too", p.Namespace, p.Name, s.Namespace)}
		}
	}
	rule, err := s.Objects.Resource(destinationRules).Namespace(s.Namespace).Get(ctx, s.Service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &ImpossibleError{fmt.Sprintf("namespace %s has no DestinationRule %s, which says how long connections last", s.Namespace, s.Service)}
	}
	if err != nil {
		return fmt.Errorf("look at DestinationRule %s: %w", s.Service, err)
	}
	list, err := s.Kube.AppsV1().Deployments(s.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Deployments of %s: %w", s.Namespace, err)
	}
	gateways, err := s.Kube.AppsV1().Deployments(mesh.IngressNamespace).List(ctx, metav1.ListOptions{LabelSelector: "istio=" + mesh.Ingress})
	if err != nil {
		return fmt.Errorf("list Deployments of %s: %w", mesh.IngressNamespace, err)
	}
	if len(gateways.Items) == 0 {
		return fmt.Errorf("namespace %s has no Deployment of the gateway", mesh.IngressNamespace)
	}
	add := func(kind, namespace, name, do, back string) {
		r.brief = append(r.brief, Heal{Do: "patch", Kind: kind, Namespace: namespace, Name: name, Patch: do})
		r.lasting = append(r.lasting, Heal{Do: "patch", Kind: kind, Namespace: namespace, Name: name, Patch: back})
	}
	do, back := briefConnections(rule.Object)
	add("DestinationRule", s.Namespace, s.Service, do, back)
	for _, d := range list.Items {
		do, back, err := briefCertificates(&d)
		if err != nil {
			return fmt.Errorf("annotation %s of Deployment %s: %w", proxyConfig, d.Name, err)
		}
		add("Deployment", d.Namespace, d.Name, do, back)
	}
	for _, d := range gateways.Items {
		do, back := briefGateway()
		add("Deployment", d.Namespace, d.Name, do, back)
	}
	return nil
}

// briefConnections keeps what the rule says of a connection's duration, if anything.
func briefConnections(rule map[string]any) (do, back string) {
	own, _, _ := unstructured.NestedFieldNoCopy(rule, "spec", "trafficPolicy", "connectionPool", "tcp", "maxConnectionDuration")
	patch := func(value any) string {
		return mustJSON(map[string]any{"spec": map[string]any{"trafficPolicy": map[string]any{"connectionPool": map[string]any{"tcp": map[string]any{"maxConnectionDuration": value}}}}})
	}
	return patch(connectionLife.String()), patch(own)
}

// proxyConfig is the annotation from which the injector takes a sidecar's environment.
const proxyConfig = "proxy.istio.io/config"

// agentSettings are those of Istio's agent beside each Envoy.
func agentSettings() map[string]string {
	return map[string]string{"SECRET_TTL": certificateLife.String(), "SECRET_GRACE_PERIOD_RATIO": fmt.Sprint(certificateGrace)}
}

func briefCertificates(d *appsv1.Deployment) (do, back string, err error) {
	own, there := d.Spec.Template.Annotations[proxyConfig]
	config := map[string]any{}
	if err := yaml.Unmarshal([]byte(own), &config); err != nil {
		return "", "", err
	}
	environment, _ := config["proxyMetadata"].(map[string]any)
	environment = maps.Clone(environment)
	if environment == nil {
		environment = map[string]any{}
	}
	for name, value := range agentSettings() {
		environment[name] = value
	}
	config["proxyMetadata"] = environment
	patch := func(value any) string {
		return mustJSON(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{proxyConfig: value}}}}})
	}
	if !there {
		return patch(mustJSON(config)), patch(nil), nil
	}
	return patch(mustJSON(config)), patch(own), nil
}

// briefGateway sets the environment itself: a gateway of Istio's chart is not
// injected.
func briefGateway() (do, back string) {
	patch := func(f func(name, value string) map[string]any) string {
		var environment []any
		for _, name := range slices.Sorted(maps.Keys(agentSettings())) {
			environment = append(environment, f(name, agentSettings()[name]))
		}
		return mustJSON(map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": sidecar, "env": environment}}}}}})
	}
	return patch(func(name, value string) map[string]any { return map[string]any{"name": name, "value": value} }),
		patch(func(name, _ string) map[string]any { return map[string]any{"name": name, "$patch": "delete"} })
}

// mustJSON is of plain values, which cannot fail.
func mustJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// patched names what patches change.
func patched(list []Heal) string {
	var names []string
	for _, h := range list {
		names = append(names, h.Kind+" "+h.Name)
	}
	return strings.Join(names, ", ")
}

// patchBack says whether it changed anything. What is gone needs nothing.
func patchBack(ctx context.Context, kube kubernetes.Interface, objects dynamic.Interface, h Heal) (changed bool, err error) {
	var before, after metav1.Object
	options := metav1.PatchOptions{FieldManager: manager}
	switch h.Kind {
	case "Deployment":
		list := kube.AppsV1().Deployments(h.Namespace)
		before, err = list.Get(ctx, h.Name, metav1.GetOptions{})
		if err == nil {
			after, err = list.Patch(ctx, h.Name, types.StrategicMergePatchType, []byte(h.Patch), options)
		}
	case "DestinationRule":
		list := objects.Resource(destinationRules).Namespace(h.Namespace)
		before, err = list.Get(ctx, h.Name, metav1.GetOptions{})
		if err == nil {
			after, err = list.Patch(ctx, h.Name, types.MergePatchType, []byte(h.Patch), options)
		}
	default:
		return false, fmt.Errorf("nobody knows how to patch a %s", h.Kind)
	}
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("patch %s %s: %w", h.Kind, h.Name, err)
	}
	return before.GetGeneration() != after.GetGeneration(), nil
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
		if _, err := patchBack(ctx, r.site.Kube, r.site.Objects, h); err != nil {
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
		d, err := r.site.Kube.AppsV1().Deployments(h.Namespace).Get(ctx, h.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := complete(d); err != nil {
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

// find is of the proxies that requests pass, and of what they have now.
func (r *rotation) find(ctx context.Context, tell func(record.Event)) error {
	pods, err := r.podsNow(ctx)
	if err != nil {
		return err
	}
	gateways, err := r.podsOf(ctx, mesh.IngressNamespace, "istio="+mesh.Ingress)
	if err != nil {
		return err
	}
	r.proxies = readyOf(slices.Concat(pods, gateways))
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
