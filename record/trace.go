package record

import (
	"regexp"
	"strconv"
	"strings"
)

// Requests go through proxies that number them anew, but leave a W3C trace context
// as it is. So the trace that a drill's request begins is made from its ID:
// 24 hexadecimal digits of it, and 8 of the attempt.

var traceParent = regexp.MustCompile(`^00-([0-9a-f]{8})([0-9a-f]{16})([0-9a-f]{8})-[0-9a-f]{16}-[0-9a-f]{2}$`)

// TraceParent is the header traceparent of a request, which asks for its trace to be
// kept if it is sampled; "" if its ID is not of the form that drills give.
func TraceParent(id string, sampled bool) string {
	if len(id) < 25 || id[8] != '-' || !hexadecimal(id[:8]) || !hexadecimal(id[9:25]) {
		return ""
	}
	attempt := uint64(0)
	if rest := id[25:]; rest != "" {
		var err error
		if attempt, err = strconv.ParseUint(rest[1:], 10, 16); err != nil || rest[0] != '.' || rest[1] == '0' {
			return ""
		}
	}
	text := make([]byte, 0, 55)
	text = append(append(append(text, "00-"...), id[:8]...), id[9:25]...)
	for shift := 28; shift >= 0; shift -= 4 {
		text = append(text, "0123456789abcdef"[attempt>>shift&15])
	}
	flags := "-00"
	if sampled {
		flags = "-01"
	}
	text = append(append(append(append(text, '-'), id[:8]...), id[17:25]...), flags...)
	return string(text)
}

// TraceOf is the trace that a request began, and the span in it that is the
// client's own; "" for both if its ID is not of the form that drills give.
func TraceOf(id string) (trace, span string) {
	parent := TraceParent(id, false)
	if parent == "" {
		return "", ""
	}
	return parent[3:35], parent[36:52]
}

// RequestOfTrace is the ID of the request that began a trace; "" if it is no drill's.
func RequestOfTrace(trace string) string { return RequestOf("00-" + trace + "-0000000000000000-00") }

func hexadecimal(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// RequestOf is the ID of the request that has this traceparent; "" if it is no
// drill's.
func RequestOf(parent string) string {
	part := traceParent.FindStringSubmatch(parent)
	if part == nil {
		return ""
	}
	id := part[1] + "-" + part[2]
	if attempt, err := strconv.ParseUint(strings.TrimLeft(part[3], "0"), 16, 32); err == nil {
		id += "." + strconv.FormatUint(attempt, 10)
	}
	if TraceParent(id, false) == "" {
		return ""
	}
	return id
}
