package hops

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nines-ha/nines/record"
)

// Bounds of what is kept of a line, in bytes. What is longer is cut off.
const (
	mostWord = 64 // an address, an id
	mostText = 256
	mostSign = 8  // flags of one line
	mostFlag = 16 // of a flag
)

// An entry is a line of an access log.
type entry struct {
	hop  record.Hop // without At and where it was written
	at   time.Time
	from string // the cluster's name, which tells what the proxy did
	to   string // the address that was asked, the proxy's own if it is inbound
}

// fields are those of a line that are kept. Envoy writes numbers as numbers, and
// null or "-" for what is not known.
type fields struct {
	At       loose `json:"at"`
	MS       loose `json:"ms"`
	Status   loose `json:"status"`
	Flags    loose `json:"flags"`
	Details  loose `json:"details"`
	ID       loose `json:"id"`
	Trace    loose `json:"trace"`
	Upstream loose `json:"upstream"`
	Cluster  loose `json:"cluster"`
	Attempts loose `json:"attempts"`
	Failure  loose `json:"failure"`
	Peer     loose `json:"peer"`
	To       loose `json:"to"`
}

// loose is a text, or a number as it is written.
type loose string

func (l *loose) UnmarshalJSON(body []byte) error {
	var text string
	switch {
	case len(body) == 0 || body[0] == 'n':
	case body[0] == '"':
		if err := json.Unmarshal(body, &text); err != nil {
			return err
		}
	case body[0] == '-' || body[0] >= '0' && body[0] <= '9':
		text = string(body)
	}
	if text == "-" {
		text = ""
	}
	*l = loose(text)
	return nil
}

func (l loose) number() int {
	n, err := strconv.ParseFloat(string(l), 64)
	if err != nil || !(n >= 0 && n <= 1e9) {
		return 0
	}
	return int(n)
}

// short is at most so many bytes of a text, and valid.
func (l loose) short(most int) string {
	text := strings.ToValidUTF8(string(l), "")
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// parse reads one line of a proxy's output. Most other lines are the proxy's own
// messages; false says that this is one.
func parse(line []byte) (entry, bool) {
	if len(line) == 0 || line[0] != '{' {
		return entry{}, false
	}
	var f fields
	if json.Unmarshal(line, &f) != nil {
		return entry{}, false
	}
	at, err := time.Parse(time.RFC3339, string(f.At))
	if err != nil {
		return entry{}, false
	}
	id := record.RequestOf(string(f.Trace))
	if id == "" {
		id = f.ID.short(mostWord)
	}
	e := entry{at: at, from: string(f.Cluster), to: host(string(f.To)), hop: record.Hop{
		ID: id, Length: time.Duration(f.MS.number()) * time.Millisecond, Status: f.Status.number(),
		Flags: flags(f.Flags), Details: f.Details.short(mostText), Upstream: f.Upstream.short(mostWord), Attempts: f.Attempts.number(),
		Failure: f.Failure.short(mostText), Peer: f.Peer.short(mostText), Trace: f.Trace.short(mostWord),
	}}
	return e, e.hop.ID != "" || len(e.hop.Flags) > 0
}

func flags(l loose) []string {
	var all []string
	for flag := range strings.SplitSeq(string(l), ",") {
		if flag = strings.TrimSpace(flag); flag == "" {
			continue
		}
		if all = append(all, loose(flag).short(mostFlag)); len(all) == mostSign {
			break
		}
	}
	return all
}

// host is an address without its port.
func host(address string) string {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return name
}

// proxy tells which side of a pod a line is about. Istio begins the names of
// clusters with it; a line without one (a request that was refused before anybody
// was chosen) is inbound if it came to the pod's own address.
func (e *entry) proxy(gateway bool, address string) string {
	switch {
	case gateway:
		return record.AtGateway
	case strings.HasPrefix(e.from, "inbound") || strings.HasPrefix(e.from, "InboundPassthrough"):
		return record.Inbound
	case e.from == "" && e.to != "" && e.to == address:
		return record.Inbound
	}
	return record.Outbound
}
