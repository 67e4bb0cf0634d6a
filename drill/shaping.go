package drill

import (
	"math"

	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/record"
)

const (
	// tolerance is what the share of a service may differ by: with 10,000 requests
	// chance alone makes one of a tenth differ so in one drill of a thousand.
	tolerance = 0.01
	// steered is the share of the requests that ask for a service by its header, for
	// each that has one, while there are few.
	steered = 0.1
	mostly  = 0.5 // of the requests at least carry no header
)

// shaped is of a service that others get a share of. That the ones who get copies
// fail is nobody's loss.
func shaped(p *record.Promise, s record.Service) {
	p.Failed = new(int)
	shared := &record.Shared{Weights: map[string]float64{}, Tolerance: tolerance}
	rest := 1.0
	for _, share := range s.Traffic {
		rest -= share.Weight
		if share.Answers() {
			shared.Weights[share.Service] = share.Weight
		}
		shared.Headed = shared.Headed || len(share.Headers) > 0
		if share.Mirror > 0 {
			if shared.Copies == nil {
				shared.Copies = map[string]float64{}
			}
			shared.Copies[share.Service] = share.Mirror
		}
	}
	shared.Weights[s.Name] = math.Round(rest*1e6) / 1e6 // 0 is none at all
	p.Shared = shared
}

// ways are those in which requests of this drill ask for a service.
func (p *Plan) ways() (ways []load.Way) {
	if p.Drill.steer == 0 {
		return nil
	}
	for _, share := range p.Site.Traffic {
		if len(share.Headers) > 0 {
			ways = append(ways, load.Way{To: share.Service, Headers: share.Headers})
		}
	}
	for i := range ways {
		ways[i].Share = min(p.Drill.steer, (1-mostly)/float64(len(ways)))
	}
	return ways
}
