package load

import "math/rand/v2"

// A Way is a service that requests ask for by their headers, and the share of all
// requests that do.
type Way struct {
	To      string
	Headers map[string]string
	Share   float64
}

// Steer has shares of the requests of a traffic carry headers. It throws dice of
// its own: the requests are those that they would be without.
func Steer(traffic Traffic, clients int, seed uint64, ways []Way) Traffic {
	s := &steered{Traffic: traffic, ways: ways, dice: make([]*rand.Rand, clients)}
	for i := range s.dice {
		s.dice[i] = rand.New(rand.NewPCG(seed, uint64(i)^steerSalt))
	}
	return s
}

// steerSalt keeps the dice from being those of anybody else with the same seed.
const steerSalt = 0x5_7ee2 << 32

type steered struct {
	Traffic
	ways []Way
	dice []*rand.Rand // a client's each: it is never asked twice at once
}

func (s *steered) Next(client int, out *Request) {
	s.Traffic.Next(client, out)
	draw := s.dice[client].Float64()
	for _, way := range s.ways {
		if draw -= way.Share; draw < 0 {
			out.To, out.Headers = way.To, way.Headers
			return
		}
	}
}

// Steered is the share of each way, for the record.
func Steered(ways []Way) map[string]float64 {
	shares := map[string]float64{}
	for _, way := range ways {
		shares[way.To] += way.Share
	}
	return shares
}
