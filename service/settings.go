package service

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/caarlos0/env/v11"
)

// settings are what the environment decides about the process itself.
type settings struct {
	HTTPAddr        string        `env:"HTTP_ADDR" envDefault:":8080"`
	AdminAddr       string        `env:"ADMIN_ADDR" envDefault:":8081"`
	PprofAddr       string        `env:"PPROF_ADDR"`
	DrainDelay      time.Duration `env:"DRAIN_DELAY" envDefault:"5s"`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"20s"`
	IdleTimeout     time.Duration `env:"IDLE_TIMEOUT" envDefault:"75s"`
	ClientTimeout   time.Duration `env:"CLIENT_TIMEOUT" envDefault:"10s"`
	LogLevel        slog.Level    `env:"LOG_LEVEL" envDefault:"info"`
	ConfigDir       string        `env:"CONFIG_DIR" envDefault:"/var/run/config"`
	StoresDir       string        `env:"STORES_DIR" envDefault:"/var/run/stores"`
}

func readSettings(environment map[string]string) (settings, error) {
	var s settings
	if err := env.ParseWithOptions(&s, env.Options{Environment: environment}); err != nil {
		return s, fmt.Errorf("read environment: %w", err)
	}
	for _, d := range []struct {
		name       string
		value, min time.Duration
	}{
		{"DRAIN_DELAY", s.DrainDelay, 0},
		{"SHUTDOWN_TIMEOUT", s.ShutdownTimeout, time.Millisecond},
		{"IDLE_TIMEOUT", s.IdleTimeout, time.Second},
		{"CLIENT_TIMEOUT", s.ClientTimeout, time.Millisecond},
	} {
		if d.value < d.min {
			return s, fmt.Errorf("read environment: %s is %s; set it to %s or more", d.name, d.value, d.min)
		}
	}
	return s, nil
}

// identity says which copy of which service this is.
type identity struct {
	Service   string `env:"SERVICE_NAME"`
	Version   string `env:"SERVICE_VERSION" envDefault:"devel"`
	Pod       string `env:"POD_NAME"`
	Namespace string `env:"POD_NAMESPACE"`
	IP        string `env:"POD_IP"`
	Node      string `env:"NODE_NAME"`
	Zone      string `env:"ZONE"`
	Region    string `env:"REGION"`
}

func readIdentity(name string, environment map[string]string) (identity, error) {
	var id identity
	if err := env.ParseWithOptions(&id, env.Options{Environment: environment}); err != nil {
		return id, fmt.Errorf("read environment: %w", err)
	}
	if id.Service == "" {
		id.Service = name
	}
	return id, nil
}

// headers are the answer headers that say who answered, in canonical form.
func (id identity) headers() map[string][]string {
	headers := map[string][]string{}
	for name, value := range map[string]string{
		"X-Served-By-Pod": id.Pod, "X-Served-By-Node": id.Node,
		"X-Served-By-Zone": id.Zone, "X-Served-By-Version": id.Version,
	} {
		if value != "" {
			headers[name] = []string{value}
		}
	}
	return headers
}

func (id identity) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("service", id.Service), slog.String("version", id.Version)}
	for _, a := range []slog.Attr{slog.String("pod", id.Pod), slog.String("node", id.Node), slog.String("zone", id.Zone), slog.String("region", id.Region)} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	return attrs
}
