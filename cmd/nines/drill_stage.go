package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/drill/report"
	"github.com/nines-ha/nines/drill/watch"
	"github.com/nines-ha/nines/fleet/telemetry"
	"github.com/nines-ha/nines/fleet/traffic"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
	"github.com/nines-ha/nines/render/istio"
	"github.com/nines-ha/nines/system"
)

// stage is where drills are played: a running system and a way to reach it.
type stage struct {
	flags   *drillFlags
	story   *drillStory
	gateway *watch.Gateway // the way in of a mesh; nil: none that is known
	sys     *system.System
	service system.Service
	site    fault.Site
	outside *ground.Outside // nil: not a ground
	address string
	dir     string // of records
	unlock  func()
}

func (f *drillFlags) stage(cmd *cobra.Command) (*stage, error) {
	elsewhere, err := f.elsewhere()
	if err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	sys, err := readSystem(f.file)
	if err != nil {
		return nil, err
	}
	f.declare(sys.Clients)
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := f.writable(); err != nil {
		return nil, err
	}
	s := &stage{flags: f, sys: sys, story: newDrillStory(cmd.ErrOrStderr())}
	region, err := chooseRegion(sys, f.region)
	if err != nil {
		return nil, err
	}
	if s.service, err = chooseService(sys, f.service); err != nil {
		return nil, err
	}
	s.site = fault.Site{Region: region, Namespace: string(sys.Name), Service: string(s.service.Name), Seed: f.seed, Traces: sys.Traces.On()}
	s.site.Path = plainPath(s.service)
	s.site.Traffic = shares(s.service)
	if s.site.Seed == 0 {
		s.site.Seed = uint64(time.Now().UnixNano())
	}
	states, err := ground.States()
	if err != nil {
		return nil, err
	}
	s.dir = filepath.Join(states, string(sys.Name), "drills")
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if elsewhere {
		err = s.reach(cmd.Context(), f.kubeconfig, f.context, f.url)
	} else {
		err = s.enter(cmd.Context())
	}
	if err == nil {
		s.unlock, err = fault.Lock(&s.site)
	}
	if err != nil {
		s.close()
	}
	return s, err
}

func (f *drillFlags) check() error {
	switch {
	case !rateIsGood(f.rate):
		return errors.New("--rate is above 0 and at most 20000 a second")
	case len(f.steps) > 100 || slices.ContainsFunc(f.steps, func(rate float64) bool { return !rateIsGood(rate) }):
		return errors.New("--steps are at most 100 rates, each above 0 and at most 20000 a second")
	case f.clients < 1 || f.clients > 20000:
		return errors.New("--clients is 1 to 20000")
	case f.deadline != 0 && f.deadline < 10*time.Millisecond || f.deadline > 10*time.Minute:
		return errors.New("--deadline is 10ms to 10m")
	case f.highest() > traffic.PerVehicle*float64(f.clients):
		return fmt.Errorf("%g requests a second are more than %d vehicles send, %d a second each: raise --clients to %.0f at least", f.highest(), f.clients, traffic.PerVehicle, math.Ceil(f.highest()/traffic.PerVehicle))
	case f.window < 0 || f.window > time.Hour:
		return errors.New("--window is 0 (the drill's own) to 1h")
	case f.attempts < 0 || f.attempts > mostAttempts:
		return fmt.Errorf("--attempts is 1 to %d", mostAttempts)
	case f.timeout < 0 || f.timeout > 0 && f.timeout < 10*time.Millisecond || f.deadline > 0 && f.timeout > f.deadline:
		return errors.New("--attempt-timeout is 10ms to --deadline")
	case f.highest()*float64(max(f.attempts, f.declared.Attempts, 1))*(max(f.window, 90*time.Second)+f.steady+time.Minute).Seconds() > record.MaxRequests:
		return fmt.Errorf("that may be more than the %d requests that a record holds: lower --rate, --attempts, --window or --steady", record.MaxRequests)
	case f.steady < time.Second || f.steady > time.Hour:
		return errors.New("--steady is 1s to 1h")
	case f.arrivals != string(load.Poisson) && f.arrivals != string(load.Constant):
		return fmt.Errorf("--arrivals is %s or %s", load.Poisson, load.Constant)
	}
	_, err := f.retry()
	return err
}

// declare takes what the description says of clients, for what no flag says.
func (f *drillFlags) declare(c system.Clients) {
	if f.deadline == 0 {
		f.deadline = c.Deadline
	}
	f.declared = load.Retry{Attempts: c.Attempts, Timeout: min(c.Timeout, f.deadline), BackoffMin: c.Backoff.Min, BackoffMax: c.Backoff.Max, Budget: c.Budget.Fraction()}
}

const mostAttempts = 10

// retry is what clients do about failures: what is declared, and what flags say in
// its place. With --attempts 1 they do nothing, whatever is declared.
func (f *drillFlags) retry() (load.Retry, error) {
	low, high, err := f.pause()
	if err != nil {
		return load.Retry{}, err
	}
	share, err := f.share()
	if err != nil {
		return load.Retry{}, err
	}
	p := f.declared
	if f.attempts > 0 {
		p.Attempts = f.attempts
	}
	if p.Attempts < 2 {
		return load.Retry{Timeout: f.timeout}, nil
	}
	if f.timeout > 0 {
		p.Timeout = f.timeout
	}
	if f.backoff != "" {
		p.BackoffMin, p.BackoffMax = low, high
	}
	if f.budget != "" {
		p.Budget = share
	}
	return p, nil
}

// pause is --backoff, if it is given.
func (f *drillFlags) pause() (low, high time.Duration, err error) {
	if f.backoff == "" {
		return 0, 0, nil
	}
	from, to, _ := strings.Cut(f.backoff, "..")
	low, err = time.ParseDuration(from)
	if err == nil {
		high, err = time.ParseDuration(to)
	}
	if err != nil || low <= 0 || high < low || high > time.Minute {
		return 0, 0, fmt.Errorf("--backoff %s: want MIN..MAX above 0 and at most 1m, such as 200ms..2s", f.backoff)
	}
	return low, high, nil
}

// share is --retry-budget, if it is given; 0: none.
func (f *drillFlags) share() (float64, error) {
	if f.budget == "" || f.budget == "none" {
		return 0, nil
	}
	text, percent := strings.CutSuffix(f.budget, "%")
	share, err := strconv.ParseFloat(text, 64)
	if err != nil || !percent || !(share > 0 && share <= 100) {
		return 0, fmt.Errorf("--retry-budget %s: want a share above 0%% and at most 100%%, such as 20%%, or none", f.budget)
	}
	return share / 100, nil
}

// highest is the highest rate that is asked for.
func (f *drillFlags) highest() float64 { return slices.Max(append([]float64{f.rate}, f.steps...)) }

// records is how many attempts of a window a record may have to hold.
func (f *drillFlags) records(rate float64, window time.Duration, policy load.Retry) float64 {
	return rate * float64(max(policy.Attempts, 1)) * (window + f.steady + time.Minute).Seconds()
}

// writable makes sure, before anything is broken, that what comes of a drill can
// be written where it is wanted.
func (f *drillFlags) writable() error {
	for _, name := range []string{f.record, f.html, f.junit} {
		if name == "" {
			continue
		}
		file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}

func rateIsGood(rate float64) bool { return rate > 0 && rate <= 20000 }

// shares are what other services get of its requests.
func shares(service system.Service) (list []record.Share) {
	for _, s := range service.Traffic {
		list = append(list, record.Share{Service: string(s.Name), Weight: s.Weight.Fraction(), Headers: s.Header, Mirror: s.Mirror.Fraction()})
	}
	return list
}

func chooseService(sys *system.System, name string) (system.Service, error) {
	var exposed []string
	var found system.Service
	for _, s := range sys.Services {
		if s.Expose == system.Hidden {
			continue
		}
		exposed = append(exposed, string(s.Name))
		if name == "" || string(s.Name) == name {
			found = s
		}
	}
	switch {
	case len(exposed) == 0:
		return found, fmt.Errorf("%s exposes no service, so there is nowhere to send load to; give one \"expose: public\"", sys.File)
	case name == "" && len(exposed) > 1:
		return found, fmt.Errorf("%s exposes several services; choose one with --service: %s", sys.File, strings.Join(exposed, ", "))
	case found.Name == "":
		return found, fmt.Errorf("%s exposes no service %q; it exposes %s", sys.File, name, strings.Join(exposed, ", "))
	}
	return found, nil
}

// plainPath is that of a GET which the service answers whoever is meant by it; "":
// it declares none.
func plainPath(s system.Service) string {
	if len(s.Operations) == 0 {
		return "/"
	}
	for _, o := range s.Operations {
		if o.Name.Method() == http.MethodGet && !slices.Contains(o.Name.Segments(), "{}") {
			return "/" + strings.Join(o.Name.Segments(), "/")
		}
	}
	return ""
}

// enter finds the running ground.
func (s *stage) enter(ctx context.Context) error {
	client, err := ground.Connect(string(s.sys.Name))
	if err != nil {
		return err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	if !status.Ready {
		return fmt.Errorf("%s is %s; wait until \"nines status\" says that it is ready", status.Name, status.Phase)
	}
	if err := sameGround(s.sys, status); err != nil {
		return err
	}
	s.site.Ground, s.site.Mesh = client, status.Mesh != ""
	if s.site.Mesh {
		s.gateway = addOnGateway()
	}
	s.site.Access = fault.Access{Ground: client.Name, Kubeconfig: status.Kubeconfig, Context: s.site.Region}
	for _, st := range status.Stores {
		s.site.Stores = append(s.site.Stores, st.Name)
	}
	if err := s.kube(); err != nil {
		return err
	}
	if s.address, err = s.frontDoor(ctx); err != nil {
		return err
	}
	s.outside, err = client.Outside(ctx)
	return err
}

// reach goes to a cluster that is no ground.
func (s *stage) reach(ctx context.Context, kubeconfig, name, where string) error {
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("--url %s: want http://HOST:PORT, without a path; https is not spoken yet", where)
	}
	s.address = u.Host
	if u.Port() == "" {
		s.address = net.JoinHostPort(u.Hostname(), "80")
	}
	s.site.Access = fault.Access{Kubeconfig: kubeconfig, Context: name}
	if err := s.kube(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if s.site.Mesh, err = s.site.Meshed(ctx); err != nil || !s.site.Mesh {
		return err
	}
	switch _, err := s.site.Kube.CoreV1().Services(istio.IngressNamespace).Get(ctx, istio.Ingress, metav1.GetOptions{}); {
	case err == nil:
		s.gateway = addOnGateway()
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("look for the gateway of the mesh: %w", err)
	}
	return nil
}

// addOnGateway is the way in that AKS's add-on makes.
func addOnGateway() *watch.Gateway {
	return &watch.Gateway{Namespace: istio.IngressNamespace, Service: istio.Ingress}
}

func (s *stage) kube() error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = s.site.Access.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: s.site.Access.Context}).ClientConfig()
	if err != nil {
		return err
	}
	config.QPS, config.Burst, config.UserAgent = 50, 100, "nines-drill"
	if s.site.Objects, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	s.site.Kube, err = kubernetes.NewForConfig(config)
	return err
}

// frontDoor is the address of the load balancer: of the mesh's gateway, or of the
// service.
func (s *stage) frontDoor(ctx context.Context) (string, error) {
	namespace, name := s.site.Namespace, s.site.Service
	if s.site.Mesh {
		namespace, name = istio.IngressNamespace, istio.Ingress
	}
	service, err := s.site.Kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if len(service.Status.LoadBalancer.Ingress) == 0 || len(service.Spec.Ports) == 0 {
		return "", fmt.Errorf("service %s has no load balancer yet; see \"nines status\"", name)
	}
	return net.JoinHostPort(service.Status.LoadBalancer.Ingress[0].IP, strconv.Itoa(int(service.Spec.Ports[0].Port))), nil
}

func (s *stage) close() {
	if s.unlock != nil {
		s.unlock()
	}
	if s.outside != nil {
		s.outside.Close()
	}
}

// run plays one drill and leaves its record and report in files. A twin is judged
// by what is promised of the service that it should be.
func (s *stage) run(ctx context.Context, d drill.Drill, twin string, meant *record.Service) (*claim.Verdict, *record.Header, error) {
	plan, err := s.plan(d, twin)
	if err != nil {
		return nil, nil, err
	}
	plan.Meant = meant
	s.story.begin(d.Name, twin)
	if err := drill.Run(ctx, plan); err != nil {
		return nil, nil, err
	}
	verdict, rec, err := judgeFile(plan.Record)
	if err != nil {
		return nil, nil, err
	}
	page := s.flags.html
	if page == "" {
		page = strings.TrimSuffix(plan.Record, ".jsonl") + ".html"
	}
	s.story.say("record: %s", plan.Record)
	if err := writeFile(page, func(w *os.File) error { return report.HTML(w, verdict, rec) }); err != nil {
		s.story.say("no report: %v", err) // the verdict stands without it
	} else {
		s.story.say("report: %s", page)
	}
	return verdict, rec.Header, nil
}

func (s *stage) plan(d drill.Drill, twin string) (drill.Plan, error) {
	f := s.flags
	if f.window > 0 {
		d.Window = f.window
	}
	policy, err := f.retry()
	if err != nil {
		return drill.Plan{}, err
	}
	slo := s.sys.SLO
	plan := drill.Plan{
		Drill: d, Site: s.site, System: string(s.sys.Name), Program: version, Twin: twin,
		Objective: record.Promise{Availability: slo.Availability.Fraction(), P50: slo.P50, P95: slo.P95, P99: slo.P99, Recovery: slo.Recovery},
		Address:   s.address, Rate: f.rate, Steps: f.steps, Arrivals: load.Arrivals(f.arrivals), Clients: f.clients, Deadline: f.deadline, Retry: policy, Sample: s.sys.Traces.Sample.Fraction(),
		Warm: 6 * time.Second, Steady: f.steady,
		Record: f.record, Announce: s.story.announce, Progress: s.story.progress,
	}
	if f.quick {
		plan.Rate, plan.Clients = f.rate/2, max(1, f.clients/2)
		plan.Steps = nil
		for _, rate := range f.steps {
			plan.Steps = append(plan.Steps, rate/2)
		}
		plan.Warm, plan.Steady = 3*time.Second, 3*time.Second
	}
	if d.Peak > 0 {
		// The limits of a service are for what it serves, so that half is another drill.
		if plan.Rate, plan.Clients = f.rate, f.clients; len(f.steps) > 0 {
			return drill.Plan{}, fmt.Errorf("%s has steps of its own, made of --rate: leave --steps out", d.Name)
		}
		if peak := d.Highest(f.rate); !rateIsGood(peak) || f.records(peak, d.Window, policy) > record.MaxRequests {
			return drill.Plan{}, fmt.Errorf("%s sends %g requests a second, more than can be sent or kept in a record: lower --rate", d.Name, peak)
		}
	}
	now := time.Now()
	if plan.Record == "" {
		name := now.Format("20060102-150405") + "-" + d.Name
		if twin != "" {
			name += "-" + twin
		}
		plan.Record = filepath.Join(s.dir, name+".jsonl")
	}
	config := traffic.Config{Seed: s.site.Seed, Vehicles: plan.Clients, Run: now.Format("0102150405")}
	plan.Source = "generated"
	if f.telemetry != "" {
		file, err := os.Open(f.telemetry)
		if err != nil {
			return plan, fmt.Errorf("open telemetry: %w", err)
		}
		defer file.Close()
		if config.Source, err = telemetry.Open(file); err != nil {
			return plan, fmt.Errorf("open %s: %w", f.telemetry, err)
		}
		plan.Source = config.Source.Name
	}
	vehicles, err := traffic.New(config)
	if err != nil {
		return plan, err
	}
	plan.Traffic, plan.Mix = vehicles, vehicles.Mix()
	plan.Dial = func(ctx context.Context, _ int) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
	}
	plan.Gateway = s.gateway
	if s.outside == nil {
		return plan, nil
	}
	plan.Dial = func(ctx context.Context, client int) (net.Conn, error) { return s.outside.Dial(ctx, client, s.address) }
	for _, c := range ground.Clocks() {
		delay := ""
		if c.Delays == ground.Capacity {
			delay = "capacity"
		}
		plan.Clocks = append(plan.Clocks, record.Clock{Name: c.Name, Here: c.Here, AKS: c.AKS, Delay: delay})
	}
	if len(s.service.Stores) > 0 {
		plan.ReadBack = func(ctx context.Context, tell func(record.Stored)) error {
			return s.readBack(ctx, string(s.service.Stores[0]), vehicles, tell)
		}
	}
	return plan, nil
}

func judgeFile(name string) (*claim.Verdict, *record.Record, error) {
	rec, err := record.Open(name)
	if err != nil {
		return nil, nil, err
	}
	verdict, err := claim.Judge(rec)
	return verdict, rec, err
}
