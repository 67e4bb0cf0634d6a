package ground

import (
	"fmt"
	"net"
	"strconv"

	"github.com/nines-ha/nines/ground/world"
)

// expose opens a loopback port for each TCP port of each load balancer.
func (o *Owner) expose(now []world.Frontend) {
	o.mu.Lock()
	defer o.mu.Unlock()
	want := map[world.Frontend]bool{}
	for _, f := range now {
		if f.Protocol == "tcp" {
			want[f] = true
		}
	}
	for f, fw := range o.forwards {
		if !want[f] {
			fw.Close()
			delete(o.forwards, f)
		}
	}
	for _, f := range now {
		if !want[f] || o.forwards[f] != nil {
			continue
		}
		l, err := listenNear(firstEntryPort + o.regionIndex(f.Region)*regionPorts)
		if err != nil {
			fmt.Fprintf(o.log, "expose %s: %v\n", f.Service, err)
			continue
		}
		o.forwards[f] = newForward(l, o.inside, net.JoinHostPort(f.Address, strconv.Itoa(f.Port)))
	}
	o.status.Endpoints = nil
	for _, f := range now {
		if fw := o.forwards[f]; fw != nil {
			o.status.Endpoints = append(o.status.Endpoints, Endpoint{Region: f.Region, Service: f.Service, URL: "http://" + fw.listener.Addr().String()})
		}
	}
}

func (o *Owner) regionIndex(name string) int {
	for i, r := range o.config.Regions {
		if r.Name == name {
			return i
		}
	}
	return 0
}

func (o *Owner) closeForwards() {
	o.mu.Lock()
	forwards := o.apis
	for _, f := range o.forwards {
		forwards = append(forwards, f)
	}
	o.mu.Unlock()
	for _, f := range forwards {
		f.Close()
	}
}
