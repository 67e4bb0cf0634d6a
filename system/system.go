// Package system is nines.yaml as plain typed data: what runs, where, with
// which stores, and the objective that drills judge it by. Call Parse first;
// it returns either a whole System, defaults filled in, or every problem of
// the file at once as Errors. Schema describes the same file to editors. The
// package reads no files, knows no Kubernetes and starts nothing: renderers
// and the proving ground take the System from here.
package system

import (
	"path"
	"path/filepath"
	"time"
)

// A System is one description. The struct tags are the file's format: yaml
// names the field, jsonschema its bounds, example what an error shows.
type System struct {
	Name     Name      `yaml:"name" jsonschema:"required" example:"name: fleet" jsonschema_description:"Name of the system. It is also the namespace its services run in."`
	SLO      SLO       `yaml:"slo" example:"slo: {availability: 99.9%, p99: 300ms, recovery: 30s}" jsonschema_description:"The objective that every drill is judged by."`
	Regions  []Region  `yaml:"regions" example:"regions: {westeurope: {zones: 3}}" jsonschema_description:"Regions by name, the first one first. Without any: westeurope with three zones."`
	Services []Service `yaml:"services" jsonschema:"required" example:"services: {vehicle: {source: ./vehicle}}" jsonschema_description:"Services by name."`
	Stores   []Store   `yaml:"stores" example:"stores: {telemetry: {postgres: 15}}" jsonschema_description:"Managed services outside the cluster, by name."`
	Clients  Clients   `yaml:"clients" example:"clients: {attempts: 3, timeout: 1s, backoff: 200ms..2s, deadline: 5s}" jsonschema_description:"What those outside do, a vehicle's modem for instance. Drills behave so, and no public operation takes longer than they wait."`
	Traces   Traces    `yaml:"traces" example:"traces: {sample: 1%}" jsonschema_description:"Traces of requests, as proxies and services export them to an OpenTelemetry Collector. None, if nothing is said."`
	Deliver  Deliver   `yaml:"deliver" example:"deliver: {}" jsonschema_description:"Delivery from a Git repository, by Argo CD and Argo Rollouts, in a mesh. deliver: {} is all it takes. Without it, what is described is applied."`
	Registry Registry  `yaml:"registry" example:"registry: registry.local" jsonschema_description:"Registry that images built from source are pushed to and pulled from."`

	// File is the name that was given to Parse.
	File string `yaml:"-"`
}

// An SLO is what the system promises. A percentile of 0 is not promised.
type SLO struct {
	Availability Percent       `yaml:"availability" example:"availability: 99.9%" jsonschema_description:"Share of requests that must be answered well."`
	P50          time.Duration `yaml:"p50" example:"p50: 20ms" jsonschema_description:"Half of the requests are answered within this."`
	P95          time.Duration `yaml:"p95" example:"p95: 100ms" jsonschema_description:"95 % of the requests are answered within this."`
	P99          time.Duration `yaml:"p99" example:"p99: 300ms" jsonschema_description:"99 % of the requests are answered within this."`
	Recovery     time.Duration `yaml:"recovery" example:"recovery: 30s" jsonschema_description:"After a fault the promise holds again within this."`
}

// A Region is one cluster.
type Region struct {
	Name  Name `yaml:"-" system:"key"`
	Zones int  `yaml:"zones" jsonschema:"minimum=1,maximum=3" example:"zones: 3" jsonschema_description:"Availability zones in use; a region of Azure has three."`
	Nodes int  `yaml:"nodes" jsonschema:"minimum=1,maximum=20" example:"nodes: 1" jsonschema_description:"Nodes in each zone."`
}

// A Store is a managed service outside the cluster. A service that lists it
// gets host, port, database, user, password and certificate as files.
type Store struct {
	Name     Name     `yaml:"-" system:"key"`
	Postgres int      `yaml:"postgres" jsonschema:"required,minimum=15,maximum=15" example:"postgres: 15" jsonschema_description:"PostgreSQL of this major version; 15 is the one there is."`
	Storage  Quantity `yaml:"storage" example:"storage: 16Gi" jsonschema_description:"Size of its disk, 1Gi to 32Ti."`
}

// Traces are what is traced. A sample of 0 is no traces at all.
type Traces struct {
	Sample Percent `yaml:"sample" jsonschema:"required" example:"sample: 1%" jsonschema_description:"Share of the requests that are traced, unless they come with a W3C trace context that says no."`
}

// On says whether anything is traced.
func (t Traces) On() bool { return t.Sample > 0 }

func (s *System) setDefaults() {
	s.SLO = SLO{Availability: 99_900_000, P99: 300 * time.Millisecond, Recovery: 30 * time.Second}
	s.Clients = Clients{Attempts: 3, Timeout: time.Second, Backoff: Span{200 * time.Millisecond, 2 * time.Second}, Budget: 20 * onePercent, Deadline: 5 * time.Second}
	s.Deliver = Deliver{Environment: "local", Regions: OneAtATime}
	s.Registry = "registry.local"
}

func (r *Region) setDefaults() {
	r.Zones, r.Nodes = 3, 1
}

func (s *Store) setDefaults() {
	s.Storage = "16Gi"
}

// Region finds a region by name.
func (s *System) Region(name string) (Region, bool) {
	for _, r := range s.Regions {
		if string(r.Name) == name {
			return r, true
		}
	}
	return Region{}, false
}

// Service finds a service by name.
func (s *System) Service(name string) (Service, bool) {
	for _, service := range s.Services {
		if string(service.Name) == name {
			return service, true
		}
	}
	return Service{}, false
}

// Store finds a store by name.
func (s *System) Store(name string) (Store, bool) {
	for _, store := range s.Stores {
		if string(store.Name) == name {
			return store, true
		}
	}
	return Store{}, false
}

// Folder is where the source of a service is: sources are relative to the
// folder of the file that names them.
func (s *System) Folder(service Service) string {
	return filepath.Join(filepath.Dir(s.File), filepath.FromSlash(string(service.Source)))
}

// Repository is the image repository of a service that is built from source,
// without tag or digest.
func (s *System) Repository(service Service) string {
	return path.Join(string(s.Registry), string(s.Name), string(service.Name))
}
