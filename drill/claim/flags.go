package claim

import (
	"strings"

	"github.com/nines-ha/nines/record"
)

// A kind of trouble is what a proxy's flags come to. Of several, the first here
// tells most.
type trouble int

const (
	noTrouble trouble = iota
	denied            // refused by a rule of the mesh
	misrouted         // there was no way for it
	refused           // refused to protect the rest
	injected          // a fault that was asked for
	unhealthy         // nobody was fit to be asked
	cutOff            // the connection to whom it asked failed or broke
	tooLong           // whoever was asked took longer than was allowed
	left              // whoever had asked went away
	expired           // a certificate was too old for a connection
)

// A flag is one of Envoy's response flags.
type flag struct {
	words   string
	trouble trouble
}

// flags are those of Envoy 1.40: source/common/stream_info/utility.h has their
// names, docs/root/configuration/observability/access_log/usage.rst their meaning.
func flags() map[string]flag {
	return map[string]flag{
		"LH":    {"the local service failed its health check", unhealthy},
		"UH":    {"no healthy upstream", unhealthy},
		"UT":    {"upstream request timeout", tooLong},
		"LR":    {"connection reset by the proxy itself", cutOff},
		"UR":    {"upstream reset the stream", cutOff},
		"UF":    {"upstream connection failure", cutOff},
		"UC":    {"upstream ended the connection", cutOff},
		"UO":    {"overflow, the circuit breaker is open", refused},
		"NR":    {"no route", misrouted},
		"DI":    {"delay injected", injected},
		"FI":    {"fault injected", injected},
		"RL":    {"rate limit", refused},
		"UAEX":  {"not authorized by the external service", denied},
		"RLSE":  {"the rate limit service failed", denied},
		"DC":    {"downstream ended the connection", left},
		"URX":   {"retry limit reached", noTrouble}, // what the attempts met has a flag of its own, or is an answer
		"SI":    {"the stream was idle for too long", tooLong},
		"IH":    {"a header for Envoy is invalid", denied},
		"DPE":   {"downstream broke the protocol", denied},
		"UMSDR": {"the longest duration of an upstream request was reached", tooLong},
		"RFCF":  {"answered from a cache", noTrouble},
		"NFCF":  {"a filter had no configuration in time", misrouted},
		"DT":    {"the longest duration was reached", tooLong},
		"UPE":   {"upstream broke the protocol", cutOff},
		"NC":    {"no such cluster", misrouted},
		"OM":    {"the proxy is overloaded", refused},
		"DF":    {"the name could not be resolved", misrouted},
		"DO":    {"dropped, as a share is in an overload", refused},
		"DR":    {"downstream reset the stream", left},
		"UDO":   {"dropped, as everything is in an overload", refused},
	}
}

// flagWords are flags in words, with the flag itself: "no route (NR)".
func flagWords(names []string) []string {
	known := flags()
	var all []string
	for _, name := range names {
		if words := known[name].words; words != "" {
			name = words + " (" + name + ")"
		}
		all = append(all, name)
	}
	return all
}

// troubleOf is what a proxy had with a request.
func troubleOf(h *record.Hop) trouble {
	if hasExpired(h) {
		return expired
	}
	// Who does not prove who it is gets no connection, and a rule that denies has no
	// flag.
	if strings.HasPrefix(h.Details, "rbac_access_denied") || strings.Contains(h.Failure, "CERTIFICATE") || strings.Contains(h.Failure, "TLS_error") {
		return denied
	}
	known := flags()
	worst := noTrouble
	for _, name := range h.Flags {
		if name == "UO" && h.Details != "" && !strings.Contains(h.Details, "overflow") {
			continue // it was a retry that was refused, and the try before it tells more
		}
		if t := known[name].trouble; t != noTrouble && (worst == noTrouble || t < worst) {
			worst = t
		}
	}
	return worst
}

// guessed are the flags that belong to the words with which Envoy itself answers,
// for an answer whose line in the log is missing.
func guessed(detail string) []string {
	detail = strings.ToLower(detail)
	for _, one := range []struct{ words, flag string }{
		{"no healthy upstream", "UH"}, {"reset reason: overflow", "UO"}, {"reset reason: connection termination", "UC"}, {"reset reason: remote reset", "UR"},
		{"upstream connect error", "UF"}, {"upstream request timeout", "UT"}, {"upstream per try timeout", "UT"}, {"stream timeout", "SI"}, {"local_rate_limited", "RL"},
		{"upstream max stream duration", "UMSDR"}, {"envoy overloaded", "OM"},
	} {
		if strings.Contains(detail, one.words) {
			return []string{one.flag}
		}
	}
	return nil
}
