package system

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// What the platform sets itself; a service that sets it too would be wrong
// about where it runs.
var reservedVariables = []string{
	"POD_NAME", "POD_NAMESPACE", "POD_IP", "NODE_NAME", "ZONE", "REGION",
	"SERVICE_NAME", "SERVICE_VERSION", "GOMEMLIMIT",
	"HTTP_ADDR", "ADMIN_ADDR", "STORES_DIR", "DRAIN_DELAY", "SHUTDOWN_TIMEOUT",
}

var secretName = regexp.MustCompile(`(?i)(^|_)(PASS|PASSWD|PASSWORD|PASSPHRASE|PWD|SECRETS?|TOKEN|CREDENTIALS?|APIKEY|(API|ACCESS|ACCOUNT|PRIVATE|SIGNING|ENCRYPTION|SHARED|CLIENT)_?KEY|CONNECTION_?STRING|DSN|SAS|DATABASE_URL)$`)

var secretValue = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"a private key", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY`)},
	{"a token", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.`)},
	{"a token", regexp.MustCompile(`\b(gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk_live_|AIza)[A-Za-z0-9_-]{10,}`)},
	{"an access key", regexp.MustCompile(`\b(AKIA|ASIA)[A-Z0-9]{16}\b`)},
	{"a connection string", regexp.MustCompile(`(?i)\b(password|pwd|accountkey|sharedaccesskey)\s*=\s*[^\s;]`)},
}

// checkEnvironment refuses what belongs into a store or a vault. It never
// shows the value.
func (d *decoder) checkEnvironment(at func(...string) string, service Service) {
	const next = "; secrets do not belong into this file: list the store that holds it under stores"
	for name, value := range service.Env {
		path := at("env", name)
		called := slices.ContainsFunc(service.Calls, func(call Name) bool { return Variable(call) == name })
		switch what := looksSecret(value); {
		case slices.Contains(reservedVariables, name) || called:
			d.report(d.at(path), path, "is set by the platform; choose another name", "")
		case secretName.MatchString(name) && value != "":
			d.report(d.at(path), path, "has the name of a secret"+next, "stores: [telemetry]")
		case what != "":
			d.report(d.at(path), path, "has a value that looks like "+what+next, "stores: [telemetry]")
		}
	}
}

func looksSecret(value string) string {
	for _, s := range secretValue {
		if s.pattern.MatchString(value) {
			return s.what
		}
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return "a URL with a password"
		}
	}
	return ""
}

// Variable names the environment variable in which a service finds one that
// it calls: COMMAND_URL.
func Variable(call Name) string {
	return strings.ToUpper(strings.ReplaceAll(string(call), "-", "_")) + "_URL"
}
