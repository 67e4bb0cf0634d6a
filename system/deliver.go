package system

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// Deliver has the system delivered from a Git repository: Argo CD brings what is
// committed into the clusters, and each new version of a service is a canary
// first. It needs a mesh.
type Deliver struct {
	Environment Name  `yaml:"environment" example:"environment: production" jsonschema_description:"Folder of the repository that this system is delivered from. What is tried in one environment gets to the next by a commit."`
	Regions     Order `yaml:"regions" example:"regions: one at a time" jsonschema_description:"In which order a commit gets to the regions: one at a time, in the order of this file, each only when the one before is healthy, or together."`
}

// On says whether the system is delivered.
func (d Deliver) On() bool { return d.Environment != "" }

// Order is how a commit gets to several regions.
type Order string

const (
	OneAtATime Order = "one at a time" // so that a bad one gets to one region at most
	Together   Order = "together"
)

func (o *Order) parse(text string, kind ast.NodeType) error {
	switch order := Order(text); {
	case kind != ast.StringType:
		return fmt.Errorf("%s is not an order of regions; there are one at a time and together", describe(text, kind))
	case order != OneAtATime && order != Together:
		return fmt.Errorf("%s is not an order of regions; there are one at a time and together", quote(text))
	default:
		*o = order
		return nil
	}
}

// WithoutDelivery is the same system as if the file did not say deliver: a new
// version of a service takes the place of the old one as a Deployment has it.
func (s *System) WithoutDelivery() *System {
	plain := *s
	plain.Deliver = Deliver{}
	plain.Services = make([]Service, len(s.Services))
	for i, service := range s.Services {
		service.Canary = Canary{}
		plain.Services[i] = service
	}
	return &plain
}

// finishDelivery fills in what depends on more than one service.
func (d *decoder) finishDelivery(sys *System) {
	if !d.given("deliver") {
		sys.Deliver = Deliver{}
	}
	for i := range sys.Services {
		service := &sys.Services[i]
		given := func(fields ...string) bool {
			return d.given(join("services", append([]string{string(service.Name)}, fields...)...))
		}
		service.Canary.finish(sys, *service, given)
	}
}

func (d *decoder) checkDelivery(sys *System) {
	if d.given("deliver.regions") && len(sys.Regions) == 1 {
		d.reportAt("deliver.regions", fmt.Sprintf("%s is the only region, and there is no order of one; leave it out, or name another region", sys.Regions[0].Name), "deliver: {}")
	}
}
