package balancer

import "time"

// A Status is one balancer with what probes say of its backends.
type Status struct {
	Balancer
	Silent   bool            `json:"silent"` // a zonal frontend in a lost zone
	Backends []BackendStatus `json:"backends"`
}

// A BackendStatus is one backend as one rule of the balancer sees it.
type BackendStatus struct {
	Backend
	Protocol Protocol  `json:"protocol"`
	Port     uint16    `json:"port"`
	State    State     `json:"state"` // Up where the rule has no probe
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason,omitempty"`
}

// Status tells of every balancer, by name.
func (p *Plane) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	var statuses []Status
	for _, b := range p.sorted() {
		status := Status{Balancer: b.Balancer, Silent: b.Zone != "" && p.lost[b.Zone]}
		for _, port := range b.Ports {
			for _, backend := range b.backends {
				row := BackendStatus{Backend: backend, Protocol: port.Protocol, Port: port.Port, State: Up}
				if prober := p.probers[target{backend.Address, port.Probe}]; prober != nil {
					row.State, row.Since, row.Reason = prober.state, prober.since, prober.reason
				}
				status.Backends = append(status.Backends, row)
			}
		}
		statuses = append(statuses, status)
	}
	return statuses
}
