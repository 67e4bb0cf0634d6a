package api

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/nines-ha/nines/fleet/vss"
)

// rememberedVehicles bounds the memory of limits. A vehicle that falls out
// starts with a full burst again, which is what its silence has earned.
const rememberedVehicles = 50_000

// limits keep one vehicle from taking the service away from the others. They
// are of this copy; the limit over all copies is the edge's.
type limits struct {
	rate  rate.Limit
	burst int
	known *lru.Cache[vss.VIN, *rate.Limiter]
}

func newLimits(perSecond float64, burst int) *limits {
	if perSecond <= 0 {
		return nil
	}
	known, err := lru.New[vss.VIN, *rate.Limiter](rememberedVehicles)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &limits{rate.Limit(perSecond), max(burst, 1), known}
}

// wait is how long a vehicle must wait before its request may be answered; zero
// takes the request.
func (l *limits) wait(vin vss.VIN, now time.Time) time.Duration {
	limiter, ok := l.known.Get(vin)
	if !ok {
		limiter = rate.NewLimiter(l.rate, l.burst)
		if earlier, exists, _ := l.known.PeekOrAdd(vin, limiter); exists {
			limiter = earlier
		}
	}
	reservation := limiter.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay > 0 {
		reservation.CancelAt(now)
	}
	return delay
}

// limit answers 429 before the body is read.
func (h *handler) limit(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		vin, err := vss.ParseVIN(ctx.Param("vin"))
		if h.limits == nil || err != nil { // an invalid VIN is refused further on
			next(ctx)
			return
		}
		if delay := h.limits.wait(vin, time.Now()); delay > 0 {
			ctx.SetHeader("Retry-After", strconv.Itoa(int(math.Ceil(delay.Seconds()))))
			_ = huma.WriteErr(api, ctx, http.StatusTooManyRequests, "this vehicle sends too often; put more samples into one request")
			return
		}
		next(ctx)
	}
}
