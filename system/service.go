package system

import "time"

// A Service is one microservice: a Go main package or an image.
type Service struct {
	Name       Name        `yaml:"-" system:"key"`
	Source     Source      `yaml:"source" example:"source: ./vehicle" jsonschema_description:"Folder of a Go main package, relative to this file. Either this or image."`
	Image      Image       `yaml:"image" example:"image: ghcr.io/example/vehicle:1.4.0" jsonschema_description:"Image reference with registry and tag or digest. Either this or source."`
	Port       int         `yaml:"port" jsonschema:"minimum=1024,maximum=65535" example:"port: 8080" jsonschema_description:"Port the service answers on. Others reach it on port 80 of its name."`
	Expose     Exposure    `yaml:"expose" example:"expose: public" jsonschema_description:"Put a load balancer before the service, so that it is reached from outside. true is short for public."`
	Host       Host        `yaml:"host" example:"host: api.fleet.example" jsonschema_description:"Name by which a public service is asked for. Any name, if only one service is public."`
	Scale      Scale       `yaml:"scale" example:"scale: {replicas: 3..12, cpu: 60%}" jsonschema_description:"How many replicas, and when there are more."`
	Resources  Resources   `yaml:"resources" example:"resources: {cpu: 100m, memory: 128Mi}" jsonschema_description:"What one replica asks for."`
	Probes     Probes      `yaml:"probes" example:"probes: {readiness: /readyz}" jsonschema_description:"Where health is asked for. Services built on the service library need none."`
	Disruption Disruption  `yaml:"disruption" example:"disruption: {maxUnavailable: 1}" jsonschema_description:"How many replicas maintenance may take at once. One, if nothing is said."`
	Drain      Drain       `yaml:"drain" example:"drain: {delay: 10s, timeout: 20s}" jsonschema_description:"How a replica goes away."`
	Operations []Operation `yaml:"operations" example:"operations: {'GET /v1/vehicles/{vin}': {timeout: 300ms}}" jsonschema_description:"What the service can be asked, by method and path: METHOD /path/{parameter}. In a mesh nothing else gets through to it."`
	Limits     Limits      `yaml:"limits" example:"limits: {connections: 256, pending: 64, requests: 256}" jsonschema_description:"What one proxy sends the service at once at most; the rest is refused at once. Each proxy counts for itself."`
	Calls      []Name      `yaml:"calls" example:"calls: [command]" jsonschema_description:"Services this one calls. It finds each at NAME_URL in its environment."`
	Traffic    []Share     `yaml:"traffic" example:"traffic: {vehicle-next: {weight: 10%}}" jsonschema_description:"Services that get a share of what this one is asked, in a mesh."`
	Canary     Canary      `yaml:"canary" example:"canary: {steps: [5%, 25%, 50%], hold: 2m}" jsonschema_description:"How a new version takes over, in a system that says deliver. Each service that can have a canary has one, if nothing is said."`
	Stores     []Name      `yaml:"stores" example:"stores: [telemetry]" jsonschema_description:"Stores this one uses. It finds each as files in /var/run/stores/NAME."`
	Env        Environment `yaml:"env" example:"env: {LOG_LEVEL: info}" jsonschema_description:"Environment of the service. Nothing secret: that comes from a store."`
}

// Scale is the number of replicas. A range scales on CPU.
type Scale struct {
	Replicas Range   `yaml:"replicas" example:"replicas: 3..12" jsonschema_description:"A number, or a range in which the number follows the load; at most 1000."`
	CPU      Percent `yaml:"cpu" example:"cpu: 60%" jsonschema_description:"Share of the requested CPU that scaling aims at, 10% to 95%. Only with a range; 60% if nothing is said."`
}

// Resources are what one replica asks for. Memory has a hard limit a quarter
// above, so that the garbage collector meets its limit before the kernel does.
type Resources struct {
	CPU    Quantity `yaml:"cpu" example:"cpu: 100m" jsonschema_description:"CPU, 1m to 64. There is no limit: an idle core is free to use."`
	Memory Quantity `yaml:"memory" example:"memory: 128Mi" jsonschema_description:"Memory, 16Mi to 1Ti."`
}

// Probes are the paths that say how a replica is.
type Probes struct {
	Port      int           `yaml:"port" jsonschema:"minimum=1024,maximum=65535" example:"port: 8081" jsonschema_description:"Port that probes ask."`
	Startup   HTTPPath      `yaml:"startup" example:"startup: /startupz" jsonschema_description:"Answers once the replica has started."`
	Liveness  HTTPPath      `yaml:"liveness" example:"liveness: /livez" jsonschema_description:"Fails when only a restart helps."`
	Readiness HTTPPath      `yaml:"readiness" example:"readiness: /readyz" jsonschema_description:"Fails when the replica should get no requests."`
	Start     time.Duration `yaml:"start" example:"start: 60s" jsonschema_description:"How long a start may take, 1s to 15m."`
}

// Disruption is the budget of voluntary evictions; one of the two is set.
type Disruption struct {
	MaxUnavailable Amount `yaml:"maxUnavailable" example:"maxUnavailable: 1" jsonschema_description:"At most so many are away. Either this or minAvailable."`
	MinAvailable   Amount `yaml:"minAvailable" example:"minAvailable: 2" jsonschema_description:"At least so many are there. Either this or maxUnavailable."`
}

// Drain is how a replica goes away: it keeps serving for Delay while everyone
// learns that it leaves, then has Timeout to answer what it has begun.
type Drain struct {
	// Given says that the file gives Delay. Where no load balancer points at
	// the replicas, one that it does not give is that of a hidden service.
	Given   bool          `yaml:"-"`
	Delay   time.Duration `yaml:"delay" example:"delay: 10s" jsonschema_description:"How long a leaving replica keeps serving, in whole seconds. 10s, if nothing is said; 15s for an exposed service without a mesh, since the load balancer probes it there, and not a gateway."`
	Timeout time.Duration `yaml:"timeout" example:"timeout: 20s" jsonschema_description:"How long it then has to answer what it has begun, in whole seconds, more than 5s."`
}

// Farewell lies between Delay and Timeout. The replica knows by then that it
// leaves, still serves, and asks with each answer for the connection to be
// closed, so that few connections are left to be closed under a request.
const Farewell = 2 * time.Second

// Grace is the least time a pod with this drain must be given. Five seconds
// are for closing what the requests used.
func (d Drain) Grace() time.Duration {
	return d.Delay + Farewell + d.Timeout + 5*time.Second
}

// InMesh is the drain behind a mesh's gateway: what the file says, or else
// that of a hidden service, since the load balancer probes the gateway.
func (d Drain) InMesh() Drain {
	if !d.Given {
		d.Delay = defaultDelay
	}
	return d
}

const (
	defaultDelay = 10 * time.Second
	// A load balancer drops a backend after two failed probes, five seconds
	// apart; the rest is for the news to reach the node.
	exposedDelay = 15 * time.Second
	defaultCPU   = Percent(60_000_000)
)

func (s *Service) setDefaults() {
	s.Port = 8080
	s.Scale = Scale{Replicas: Range{3, 3}}
	s.Resources = Resources{CPU: "100m", Memory: "128Mi"}
	s.Probes = Probes{Port: 8081, Startup: "/startupz", Liveness: "/livez", Readiness: "/readyz", Start: time.Minute}
	s.Drain = Drain{Delay: defaultDelay, Timeout: 20 * time.Second}
	s.Canary = defaultCanary
}

// finish fills in the defaults that depend on other fields. given says
// whether the file has a field.
func (s *Service) finish(clients Clients, given func(fields ...string) bool) {
	if s.Scale.Replicas.Scales() && s.Scale.CPU == 0 {
		s.Scale.CPU = defaultCPU
	}
	s.Drain.Given = given("drain", "delay")
	if s.Expose != Hidden && !s.Drain.Given {
		s.Drain.Delay = exposedDelay
	}
	s.Limits.finish(s.Scale.Replicas)
	for i := range s.Operations {
		o := &s.Operations[i]
		o.finish(*s, clients, func(field string) bool { return given("operations", string(o.Name), field) })
	}
	if s.Disruption == (Disruption{}) {
		s.Disruption.MaxUnavailable.Count = 1
	}
}
