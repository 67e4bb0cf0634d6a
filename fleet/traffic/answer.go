package traffic

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/record"
)

// Answered reads an answer. An error of the service is left as it is, except
// that a vehicle which it says it does not know was read, and showed nothing.
func (t *Traffic) Answered(client int, out *load.Request, status int, body []byte, told *record.Request) {
	v := &t.vehicles[client]
	var wrong string
	switch {
	case out.Op == Read && status == http.StatusNotFound:
		told.Read = &record.Read{Entity: string(v.vin)}
	case status != http.StatusOK:
	case out.Op == Write:
		if wrong = v.receipt(body); wrong == "" {
			if told.Write == nil {
				told.Write = out.Write
			}
			told.Write.Acknowledged = true
			v.known = true
		}
	case out.Op == Read:
		var saw int64
		if saw, wrong = v.newest(body); wrong == "" {
			told.Read = &record.Read{Entity: string(v.vin), Saw: saw}
		}
	case out.Op == Range:
		wrong = v.page(body)
	}
	if wrong != "" {
		told.Error, told.Detail = record.WrongAnswer, wrong
	}
}

// receipt says what is wrong with the answer to a write, if it does not promise
// that the one sample is stored as it was sent.
func (v *vehicle) receipt(body []byte) string {
	var r wire.Receipt
	switch err := json.Unmarshal(body, &r); {
	case err != nil:
		return "not a receipt: " + err.Error()
	case r.VIN != string(v.vin):
		return "a receipt for another vehicle: " + clip(r.VIN)
	case len(r.Refused) > 0:
		return "refused: " + string(r.Refused[0].Code) + " " + clip(r.Refused[0].Detail)
	case r.Samples != 1 || r.Accepted != 1:
		return fmt.Sprintf("a receipt for %d samples of which %d were accepted, and one was sent", r.Samples, r.Accepted)
	}
	return ""
}

// newest is the time of the newest signal of a state.
func (v *vehicle) newest(body []byte) (saw int64, wrong string) {
	var s wire.State
	if err := json.Unmarshal(body, &s); err != nil {
		return 0, "not a state: " + err.Error()
	}
	if s.VIN != string(v.vin) {
		return 0, "the state of another vehicle: " + clip(s.VIN)
	}
	for _, value := range s.Signals {
		saw = max(saw, value.Time.UnixNano())
	}
	switch {
	case len(s.Signals) == 0:
		return 0, "a state without signals"
	case saw > v.last:
		return 0, "a state from " + time.Unix(0, saw).UTC().Format(time.RFC3339Nano) + ", which was never sent"
	}
	return saw, ""
}

func (v *vehicle) page(body []byte) string {
	var track wire.Track
	switch err := json.Unmarshal(body, &track); {
	case err != nil:
		return "not a track: " + err.Error()
	case track.VIN != string(v.vin):
		return "the track of another vehicle: " + clip(track.VIN)
	case len(track.Samples) > rangeLimit:
		return fmt.Sprintf("a page of %d samples, and %d were asked for", len(track.Samples), rangeLimit)
	}
	for i, sample := range track.Samples {
		if i > 0 && !sample.Time.After(track.Samples[i-1].Time) {
			return "a track that is not in order of time"
		}
		if sample.Time.UnixNano() > v.last {
			return "a track with " + sample.Time.UTC().Format(time.RFC3339Nano) + ", which was never sent"
		}
	}
	return ""
}

// clip keeps what came from outside short.
func clip(text string) string {
	const most = 80
	return text[:min(len(text), most)]
}
