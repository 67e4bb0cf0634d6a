package system

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Share is what another service gets of the traffic of a service, in a mesh:
// a weight of the requests, those that carry a header, copies of some, or
// several of these.
type Share struct {
	Name   Name    `yaml:"-" system:"key"`
	Weight Percent `yaml:"weight" example:"weight: 10%" jsonschema_description:"Share of the requests that it answers, in whole percent. The service itself answers what is left of 100%."`
	Header Headers `yaml:"header" example:"header: {X-Preview: \"true\"}" jsonschema_description:"It answers every request with this header, or with all of these if there are several. Weights are for the requests without."`
	Mirror Percent `yaml:"mirror" example:"mirror: 5%" jsonschema_description:"Share of the requests that it gets a copy of. Nobody waits for its answers, or hears of its failures. Requests that go by a header are not copied."`
}

// Headers are names and values that a request carries.
type Headers map[string]string

const (
	headerPattern = `^[A-Za-z][A-Za-z0-9-]{0,63}$`
	longestValue  = 128
)

// What the way of a request changes, what means something else in a route of
// Istio's, what each request has a value of its own for, and what only a secret
// should open.
var reservedHeaders = map[string]string{
	"host": "a name of a host; give the service a host", "authority": "a name of a host; give the service a host",
	"uri": "no header in a route", "method": "no header in a route", "scheme": "no header in a route",
	"connection": "not passed on", "keep-alive": "not passed on", "te": "not passed on", "trailer": "not passed on",
	"transfer-encoding": "not passed on", "upgrade": "not passed on", "content-length": "not passed on",
	"expect": "not passed on", "proxy-connection": "not passed on", "http2-settings": "not passed on",
	"x-request-id": "given anew by the gateway", "x-forwarded-for": "given anew by the gateway", "x-forwarded-proto": "given anew by the gateway",
	"x-forwarded-client-cert": "given anew by the gateway",
	"traceparent":             "another one in each request", "tracestate": "another one in each request", "b3": "another one in each request",
	"proxy-authorization": "a secret, and secrets do not belong into this file",
	"authorization":       "a secret, and secrets do not belong into this file", "cookie": "a secret, and secrets do not belong into this file",
}

// reserved says why no traffic can be told by a header, "" if some can.
func reserved(header string) string {
	header = strings.ToLower(header)
	switch {
	case strings.HasPrefix(header, "x-envoy-"):
		return "taken away or given anew by the gateway"
	case strings.HasPrefix(header, "x-b3-"):
		return "another one in each request"
	}
	return reservedHeaders[header]
}

// Chained says whether answers of a service may depend on a hop behind it: it
// calls others, or one that answers in its place does.
func (s *System) Chained(service Service) bool {
	return len(service.Calls) > 0 || slices.ContainsFunc(service.Traffic, func(share Share) bool {
		target, _ := s.Service(string(share.Name))
		return len(target.Calls) > 0 && share.Answers()
	})
}

// Answers says whether clients get answers of it; else it only has copies.
func (s Share) Answers() bool {
	return s.Weight > 0 || len(s.Header) > 0
}

// Rest is what a service answers itself, of what no header sends elsewhere.
func (s Service) Rest() Percent {
	rest := Percent(100 * onePercent)
	for _, share := range s.Traffic {
		rest -= share.Weight
	}
	return rest
}

func (d *decoder) checkTraffic(sys *System, at func(...string) string, service Service) {
	var others []string
	for _, other := range sys.Services {
		if other.Name != service.Name {
			others = append(others, string(other.Name))
		}
	}
	var sum Percent
	for i, share := range service.Traffic {
		path := at("traffic", string(share.Name))
		target, ok := sys.Service(string(share.Name))
		switch {
		case !slices.Contains(others, string(share.Name)):
			d.report(d.at(path), path, missing("service", share.Name, others), "")
			continue
		case ok && len(target.Traffic) > 0:
			d.report(d.at(path), path, fmt.Sprintf("%s shares its own traffic with %s; a request is shared once, where it comes in: leave one of the two out", share.Name, target.Traffic[0].Name), "")
		}
		d.checkShare(path, service, share)
		if sum += share.Weight; sum > 100*onePercent && sum-share.Weight <= 100*onePercent {
			message, left := fmt.Sprintf("the weights come to %s with this one, and there is 100%% to share", sum), 100*onePercent-(sum-share.Weight)
			if left < onePercent {
				d.reportAt(join(path, "weight"), message+"; lower those before, or leave this one out", "")
			} else {
				d.reportAt(join(path, "weight"), message, fmt.Sprintf("weight: %d%%", left.Whole()))
			}
		}
		d.checkHeaders(path, share.Header, service.Traffic[:i])
		d.checkStandIn(sys, at, path, service, target, share)
	}
}

func (d *decoder) checkShare(path string, service Service, share Share) {
	weight, header, mirror := d.given(join(path, "weight")), d.given(join(path, "header")), d.given(join(path, "mirror"))
	if !weight && !mirror && !header {
		d.report(d.at(path), path, fmt.Sprintf("says nothing of what %s gets of %s: a weight, a header or a mirror", share.Name, service.Name), "weight: 10%")
	}
	if header && len(share.Header) == 0 {
		d.reportAt(join(path, "header"), "names no header; leave it out", "header: {X-Preview: \"true\"}")
	}
	if weight && (share.Weight < onePercent || share.Weight%onePercent != 0) {
		d.reportAt(join(path, "weight"), share.Weight.String()+" is not a whole percentage from 1% to 100%", "weight: 10%")
	}
	if mirror && share.Mirror == 0 {
		d.reportAt(join(path, "mirror"), "0% is what holds without the field; leave it out", "mirror: 5%")
	}
	if weight && mirror {
		d.reportAt(join(path, "mirror"), fmt.Sprintf("%s has a weight too, and would get some requests as themselves and as a copy; mirror to another service, or leave one of the two out", share.Name), "")
	}
}

// checkHeaders refuses what can never match, and what an earlier share takes.
func (d *decoder) checkHeaders(path string, headers Headers, earlier []Share) {
	lower := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		one, value := join(path, "header", name), headers[name]
		why := reserved(name)
		before, twice := lower[strings.ToLower(name)]
		switch {
		case why != "":
			d.report(d.at(one), one, "is "+why, "header: {X-Preview: \"true\"}")
		case twice:
			d.report(d.at(one), one, "is the same header as "+before+"; leave one of the two out", "")
		case value == "" || len(value) > longestValue || strings.TrimSpace(value) != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			d.report(d.at(one), one, fmt.Sprintf("has no value that a header can have: 1 to %d characters of ASCII, without space around them", longestValue), "header: {X-Preview: \"true\"}")
		case looksSecret(value) != "":
			d.report(d.at(one), one, "has a value that looks like "+looksSecret(value)+"; secrets do not belong into this file", "header: {X-Preview: \"true\"}")
		}
		lower[strings.ToLower(name)] = name
	}
	for _, before := range earlier {
		if len(before.Header) == 0 || len(headers) == 0 {
			continue
		}
		covered := true
		for name, value := range before.Header {
			own, ok := lower[strings.ToLower(name)]
			covered = covered && ok && headers[own] == value
		}
		if covered {
			d.reportAt(join(path, "header"), fmt.Sprintf("every request with this goes to %s, which is named before; give it another value, or name what asks for more headers first", before.Name), "")
		}
	}
}

// checkStandIn makes sure that what is sent to a service can be answered by one
// that gets some of it.
func (d *decoder) checkStandIn(sys *System, at func(...string) string, path string, service, target Service, share Share) {
	report := func(format string, args ...any) { d.report(d.at(path), path, fmt.Sprintf(format, args...), "") }
	behind := sys.behind(target)
	if slices.ContainsFunc(behind[1:], func(s Service) bool { return s.Name == service.Name }) {
		report("its calls lead back to %s, which would send it some of them again; take that call out, or share with another service", service.Name)
		return
	}
	if len(service.Operations) == 0 && len(target.Operations) > 0 {
		report("%s can be asked anything, and %s only its operations; give %s operations, or %s none", service.Name, target.Name, service.Name, target.Name)
	}
	need, slowest := sys.need(target)
	for _, o := range service.Operations {
		i := slices.IndexFunc(target.Operations, func(other Operation) bool { return other.shape() == o.shape() })
		switch {
		case len(target.Operations) == 0 && o.Timeout < need:
			report("%s, which it calls, may take %s, and who asks %s for %s waits %s; give it no longer there, or more here", slowest, shortDuration(need), service.Name, quote(string(o.Name)), shortDuration(o.Timeout))
		case len(target.Operations) == 0:
		case i < 0:
			report("%s has no operation %s, and would be asked for it as %s is; give it that operation too", target.Name, quote(string(o.Name)), service.Name)
		case target.Operations[i].Timeout > o.Timeout:
			report("%s may take %s for %s, and who asks %s waits %s; give it no longer there, or more here", target.Name, shortDuration(target.Operations[i].Timeout), quote(string(o.Name)), service.Name, shortDuration(o.Timeout))
		case o.Idempotent && !target.Operations[i].Idempotent:
			report("%s may be asked for %s again, as %s is, and there it is not idempotent; say idempotent: true there if it is, or false here", target.Name, quote(string(o.Name)), service.Name)
		}
		if attempts := at("operations", string(o.Name), "attempts"); o.Attempts > 1 && len(service.Calls) == 0 && len(target.Calls) > 0 && share.Answers() && d.given(attempts) {
			d.reportAt(attempts, fmt.Sprintf("%s answers for %s and calls %s, and that hop tries again by itself; attempts here would multiply with it", target.Name, service.Name, target.Calls[0]), "attempts: 1")
		}
	}
	if share.Mirror > 0 && !service.readOnly() {
		d.checkMirror(sys, join(path, "mirror"), behind)
	}
}

// checkMirror refuses copies whose effects others would see: in a store, or by a
// service, that is not theirs alone.
func (d *decoder) checkMirror(sys *System, path string, inside []Service) {
	target := inside[0]
	for _, own := range inside {
		for _, other := range sys.Services {
			if slices.ContainsFunc(inside, func(s Service) bool { return s.Name == other.Name }) {
				continue
			}
			for _, store := range own.Stores {
				if slices.Contains(other.Stores, store) {
					d.reportAt(path, fmt.Sprintf("a copy of a write would write to %s again, which %s uses too, by a service whose failures nobody hears of; give %s a store of its own", store, other.Name, own.Name), "")
				}
			}
			if own.Name != target.Name && slices.Contains(other.Calls, own.Name) {
				d.reportAt(path, fmt.Sprintf("a copy of a write would have %s ask %s again, which %s calls too; let it call one of its own", target.Name, own.Name, other.Name), "")
			}
		}
	}
}

// behind are a service, the first, and all that it leads to by its calls.
func (s *System) behind(service Service) []Service {
	list := []Service{service}
	for i := 0; i < len(list); i++ {
		for _, call := range list[i].Calls {
			called, ok := s.Service(string(call))
			if ok && !slices.ContainsFunc(list, func(known Service) bool { return known.Name == called.Name }) {
				list = append(list, called)
			}
		}
	}
	return list
}

// readOnly says that nothing that a service can be asked changes anything.
func (s Service) readOnly() bool {
	return len(s.Operations) > 0 && !slices.ContainsFunc(s.Operations, func(o Operation) bool { return o.Name.Method() != "GET" && o.Name.Method() != "HEAD" })
}
