package drill

import "github.com/nines-ha/nines/drill/fault"

// What the service is made to serve in an overload, in multiples of the plan's rate,
// and the load before and after the peak, as a share of that: so little that nothing
// but the peak makes anybody wait.
const (
	serves = 2
	calm   = 0.25
)

// Highest is the highest rate of a drill, where the plan's is that.
func (d Drill) Highest(rate float64) float64 { return max(rate, d.Peak*serves*rate) }

// overload makes the load that of a drill whose fault the load is: the peak is two
// thirds of the window, and the last third is for what comes after.
func (p *Plan) overload() {
	if p.Drill.Peak == 0 {
		return
	}
	peak := p.Drill.Highest(p.Rate)
	p.Site.Overload = fault.Overload{Serves: serves * p.Rate, Peak: peak, Length: p.Drill.Window * 2 / 3}
	p.Rate *= serves * calm
	p.Steps = []float64{peak, peak, p.Rate}
}
