package world

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/ground/argo"
	"github.com/nines-ha/nines/ground/mesh"
	"github.com/nines-ha/nines/ground/network"
	"github.com/nines-ha/nines/ground/part"
	"github.com/nines-ha/nines/ground/postgres"
)

// engineNames are the engines that a ground needs, in the order in which their
// absence would hold it up.
var engineNames = []string{"kubernetes", "etcd", "containerd", "runc", "pause", "coredns", "metrics-server"}

// NeededEngines names what the owner has to announce with Message.Ready.
func NeededEngines(withMesh, withDelivery bool) []string {
	names := slices.Clone(engineNames)
	if withMesh {
		names = append(names, mesh.Engines...)
	}
	if withDelivery {
		names = append(names, argo.Engines...)
	}
	return names
}

// parts is the whole plan.
func (w *World) parts() []part.Part {
	var parts []part.Part
	for _, name := range NeededEngines(w.spec.Mesh, w.spec.Delivery) {
		parts = append(parts, w.arrival("engine/"+name, "compiled from the module that engines/ pins"))
	}
	if len(w.stores) > 0 {
		parts = append(parts, w.arrival("root/"+postgres.RootName, "Debian root file system with "+strings.Join(postgres.RootPackages, ", ")))
	}
	parts = append(parts, part.Part{
		Name: "network", About: fmt.Sprintf("backbone, %s and their zones", plural(len(w.regions), "region router")),
		Prepare: w.buildNetwork,
	})
	parts = append(parts, w.images.parts()...)
	for _, s := range w.stores {
		p := s.server.Part("network")
		ready := p.Ready
		p.Ready = func(ctx context.Context) error {
			if err := ready(ctx); err != nil {
				return err
			}
			for _, r := range w.regions {
				if err := r.dns.Set(s.server.Host(), s.address); err != nil {
					return err
				}
			}
			return nil
		}
		parts = append(parts, p)
	}
	if w.git != nil {
		parts = append(parts, w.gitParts()...)
	}
	for _, r := range w.regions {
		parts = append(parts, r.parts()...)
	}
	return parts
}

func (w *World) arrival(name, about string) part.Part {
	return part.Part{Name: name, About: about, Within: 3 * time.Hour, Prepare: func(ctx context.Context) error { return w.arrivals.wait(ctx, name) }}
}

func (w *World) buildNetwork(context.Context) error {
	// One machine stands for many. Where it has too little CPU for all, what a cloud
	// would have on machines of its own must not take it from the services.
	for name, weight := range map[string]int{"system": 100, "managed": 100, "stores": 400, "nodes": 800} {
		group := w.group.Child(name)
		if err := errors.Join(group.Make(), group.Weigh(weight)); err != nil {
			return err
		}
	}
	fabric, err := network.New()
	if err != nil {
		return err
	}
	if err := fabric.AddOutside(); err != nil {
		return err
	}
	for _, r := range w.regions {
		built, err := fabric.AddRegion(r.plan, r.spec.Zones)
		if err != nil {
			return err
		}
		r.mu.Lock() // a status may be asked for meanwhile
		r.network = built
		r.mu.Unlock()
	}
	w.fabric.Store(fabric)
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
