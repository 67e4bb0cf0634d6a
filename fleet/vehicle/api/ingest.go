package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vehicle/wire"
	"github.com/nines-ha/nines/fleet/vss"
)

type ingestInput struct {
	Vehicle
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/json"`
}

const ingestPath = "/v1/vehicles/{vin}/signals"

type ingestOutput struct{ Body wire.Receipt }

// lenient is wire.Sample as it may arrive: what is wrong with one value must not
// cost the others, so times and values are read one by one.
type lenient struct {
	Time    json.RawMessage            `json:"time"`
	Signals map[string]json.RawMessage `json:"signals"`
}

func (h *handler) ingestOperation(api huma.API) huma.Operation {
	return huma.Operation{
		OperationID: "ingest-signals", Method: http.MethodPost, Path: ingestPath,
		Summary: "Store what a vehicle measured",
		Description: "Safe to repeat: the first value for a vehicle, time and signal is kept. Samples may come in any order. " +
			"A value that cannot be is refused by name and the rest is stored. The answer means that what it accepts is on disk. " +
			fmt.Sprintf("At most %d samples and %d bytes.", wire.MaxSamples, wire.MaxBody),
		RequestBody:      &huma.RequestBody{Required: true},
		SkipValidateBody: true,
		MaxBodyBytes:     wire.MaxBody,
		Middlewares:      huma.Middlewares{h.limit(api)},
		Errors: []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
			http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
	}
}

// describeBatch says in the document what the handler reads by itself.
func describeBatch(api huma.API) {
	document := api.OpenAPI()
	schema := document.Components.Schemas.Schema(reflect.TypeFor[wire.Batch](), true, "Batch")
	document.Paths[ingestPath].Post.RequestBody.Content = map[string]*huma.MediaType{"application/json": {Schema: schema}}
}

func (h *handler) ingest(ctx context.Context, in *ingestInput) (*ingestOutput, error) {
	if media, _, err := mime.ParseMediaType(in.ContentType); in.ContentType != "" && (err != nil || media != "application/json") {
		return nil, huma.Error415UnsupportedMediaType("send application/json")
	}
	sent, err := readBatch(in.RawBody)
	if err != nil {
		return nil, err
	}
	receipt := wire.Receipt{VIN: string(in.vin), Samples: len(sent), Refused: []wire.Refusal{}}
	samples, places := h.examine(sent, &receipt)
	stored, held := 0, 0
	if len(samples) > 0 {
		outcomes, err := h.store.Ingest(ctx, in.vin, samples)
		if err != nil {
			return nil, h.problem(ctx, err)
		}
		for i, outcome := range outcomes {
			stored, held = stored+outcome.Stored, held+outcome.Held
			switch {
			case outcome.Stored > 0:
				receipt.Accepted++
			case outcome.Held > 0:
				receipt.Accepted++
				receipt.Duplicates++
			}
			for _, c := range outcome.Conflicts {
				receipt.Refused = append(receipt.Refused, wire.Refusal{Sample: places[i], Signal: c.Signal, Code: wire.Conflict,
					Detail: fmt.Sprintf("%v is held for this time, not %v", c.Kept, c.Sent)})
			}
		}
		slices.SortStableFunc(receipt.Refused, func(a, b wire.Refusal) int { return a.Sample - b.Sample })
	}
	h.counted(ctx, stored, held, len(receipt.Refused))
	return &ingestOutput{receipt}, nil
}

// readBatch reads one sample at a time and stops at the first too many, so that
// a body of empty ones does not become memory.
func readBatch(body []byte) ([]lenient, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	malformed := func(err error) error {
		return huma.Error400BadRequest(`the body is not a batch of samples, {"samples":[{"time":"...","signals":{"Vehicle.Speed":1}}]}: ` + err.Error())
	}
	for _, want := range []json.Token{json.Delim('{'), "samples", json.Delim('[')} {
		if got, err := decoder.Token(); err != nil {
			return nil, malformed(err)
		} else if got != want {
			return nil, malformed(fmt.Errorf("%v comes where %v should", clip(fmt.Sprint(got)), want))
		}
	}
	var batch []lenient
	for decoder.More() && len(batch) <= wire.MaxSamples {
		var sample lenient
		if err := decoder.Decode(&sample); err != nil {
			return nil, malformed(fmt.Errorf("sample %d: %w", len(batch), err))
		}
		batch = append(batch, sample)
	}
	if len(batch) < 1 || len(batch) > wire.MaxSamples {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("a batch has 1 to %d samples", wire.MaxSamples),
			&huma.ErrorDetail{Location: "body.samples", Message: "wrong number of samples"})
	}
	for _, want := range []json.Token{json.Delim(']'), json.Delim('}')} {
		if got, err := decoder.Token(); err != nil {
			return nil, malformed(err)
		} else if got != want {
			return nil, malformed(fmt.Errorf("%v comes where %v should", clip(fmt.Sprint(got)), want))
		}
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, malformed(errors.New("something comes after it"))
	}
	return batch, nil
}

// examine takes what can be true out of a batch, puts the rest into the receipt,
// and says where in the batch each sample was.
func (h *handler) examine(batch []lenient, receipt *wire.Receipt) (samples []store.Sample, places []int) {
	first, last := oldest(), soonest()
	for i, sent := range batch {
		refuse := func(signal string, code wire.Code, detail string) {
			receipt.Refused = append(receipt.Refused, wire.Refusal{Sample: i, Signal: signal, Code: code, Detail: detail})
		}
		var text string
		at, err := time.Time{}, json.Unmarshal(sent.Time, &text)
		if err == nil {
			at, err = time.Parse(time.RFC3339Nano, text)
		}
		switch {
		case err != nil:
			refuse("", wire.BadTime, "not a time as RFC 3339 writes it: "+clip(string(sent.Time)))
			continue
		case at.Before(first) || at.After(last):
			refuse("", wire.BadTime, text+" is before 1980 or in the future")
			continue
		case len(sent.Signals) == 0:
			refuse("", wire.NoSignals, "the sample has no signals")
			continue
		case len(sent.Signals) > wire.MaxSignals:
			refuse("", wire.TooManySignals, fmt.Sprintf("the sample has more than %d signals", wire.MaxSignals))
			continue
		}
		values := make(map[string]float64, len(sent.Signals))
		for _, name := range slices.Sorted(maps.Keys(sent.Signals)) {
			signal, known := h.signals[name]
			value, err := strconv.ParseFloat(string(sent.Signals[name]), 64)
			switch {
			case !known:
				refuse(clip(name), wire.UnknownSignal, "no such signal here")
			case err != nil && value == 0:
				refuse(name, wire.NotANumber, clip(string(sent.Signals[name]))+" is not a number")
			default:
				if err := signal.Check(value); err != nil {
					refuse(name, wire.OutOfRange, err.Error())
				} else {
					values[name] = value
				}
			}
		}
		for half, other := range map[string]string{vss.Latitude: vss.Longitude, vss.Longitude: vss.Latitude} {
			_, have := values[half]
			if _, both := values[other]; have && !both {
				delete(values, half)
				refuse(half, wire.HalfPosition, "nothing to go with it: "+other+" is missing or was refused")
				break
			}
		}
		if len(values) > 0 {
			samples, places = append(samples, store.Sample{Time: at, Values: values}), append(places, i)
		}
	}
	return samples, places
}

// clip keeps what came from outside short in an answer.
func clip(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	return string(bytes.ToValidUTF8([]byte(text[:most]), nil)) + "..."
}
