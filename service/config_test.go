package service_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nines-ha/nines/service"
	"github.com/nines-ha/nines/service/servicetest"
)

type config struct {
	Batch int            `yaml:"batch" env:"BATCH" default:"1000" validate:"gte=1,lte=5000"`
	Wait  time.Duration  `yaml:"wait" env:"WAIT" default:"2s"`
	Names []string       `yaml:"names" env:"NAMES" default:"a,b"`
	Token service.Secret `yaml:"token" env:"TOKEN" validate:"omitempty,min=8"`
	Rate  struct {
		Limit int `yaml:"limit" env:"RATE_LIMIT" default:"10"`
		Burst int `yaml:"burst" default:"20" validate:"gtefield=Limit"`
	} `yaml:"rate"`
	Plain bool `yaml:"plain" default:"true"`
}

func (c config) text() string {
	return fmt.Sprintf("%d %s %v %q %d/%d %v", c.Batch, c.Wait, c.Names, c.Token.Reveal(), c.Rate.Limit, c.Rate.Burst, c.Plain)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		files map[string]string
		env   map[string]string
		want  string
		err   string
	}{
		{name: "defaults", want: `1000 2s [a b] "" 10/20 true`},
		{name: "file", files: map[string]string{"a.yaml": "batch: 5\nwait: 1m\nnames: [x]\ntoken: 123456789\nrate: {limit: 3}\nplain: false\n"},
			want: `5 1m0s [x] "123456789" 3/20 false`},
		{name: "file with the zero value", files: map[string]string{"a.yaml": "wait: 0s\n"}, want: `1000 0s [a b] "" 10/20 true`},
		{name: "later file", files: map[string]string{"a.yaml": "batch: 5\nrate: {limit: 1}", "b.yml": "batch: 6", "c.json": `{"rate":{"burst":7}}`}, want: `6 2s [a b] "" 1/7 true`},
		{name: "environment over file", files: map[string]string{"a.yaml": "batch: 5\nrate: {limit: 3}"}, env: map[string]string{"BATCH": "7", "RATE_LIMIT": "4", "TOKEN": "long enough"},
			want: `7 2s [a b] "long enough" 4/20 true`},
		{name: "empty variable is none", env: map[string]string{"BATCH": ""}, want: `1000 2s [a b] "" 10/20 true`},
		{name: "files of other kinds", files: map[string]string{"README": "x: 1", ".hidden.yaml": "x: 1", "empty.yaml": "\n"}, want: `1000 2s [a b] "" 10/20 true`},
		{name: "unknown key", files: map[string]string{"a.yaml": "batsh: 5"}, err: `a.yaml: [1:1] unknown field "batsh"`},
		{name: "wrong type", files: map[string]string{"a.yaml": "\nbatch: many"}, err: "a.yaml: [2:8]"},
		{name: "wrong variable", env: map[string]string{"BATCH": "many"}, err: "environment"},
		{name: "rule", env: map[string]string{"BATCH": "0"}, err: `batch (BATCH) does not satisfy "gte=1"`},
		{name: "rule between fields", files: map[string]string{"a.yaml": "rate: {limit: 30}"}, err: `rate.burst does not satisfy "gtefield=Limit"`},
		{name: "rule of a secret", env: map[string]string{"TOKEN": "hunter2"}, err: `token (TOKEN) does not satisfy "min=8"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, body := range c.files {
				write(t, filepath.Join(dir, name), body)
			}
			environment := map[string]string{"CONFIG_DIR": dir}
			for name, value := range c.env {
				environment[name] = value
			}
			servicetest.Start(t, environment, func(_ context.Context, s *service.Service) error {
				got := config{Batch: -1}
				err := s.Config(&got)
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "hunter2") {
						t.Errorf("got %v, want %q", err, c.err)
					}
					if !reflect.DeepEqual(got, config{Batch: -1}) {
						t.Errorf("changed to %s", got.text())
					}
					return nil
				}
				if err != nil || got.text() != c.want {
					t.Errorf("got %s, %v; want %s", got.text(), err, c.want)
				}
				return nil
			})
		})
	}
}

func TestConfigWantsPointer(t *testing.T) {
	t.Parallel()
	servicetest.Start(t, nil, func(_ context.Context, s *service.Service) error {
		for _, target := range []any{nil, config{}, (*config)(nil), new(int)} {
			if err := s.Config(target); err == nil {
				t.Errorf("filled %T", target)
			}
		}
		return nil
	})
}

// A mounted ConfigMap: files behind a link that is renamed over.
type mounted struct {
	dir     string
	version int
}

func (m *mounted) put(t *testing.T, body string) {
	t.Helper()
	m.version++
	version := fmt.Sprintf("..v%d", m.version)
	if err := os.Mkdir(filepath.Join(m.dir, version), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.dir, version, "service.yaml"), body)
	link := filepath.Join(m.dir, "..data_tmp")
	for _, step := range []error{
		os.Symlink(version, link),
		os.Rename(link, filepath.Join(m.dir, "..data")),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if m.version == 1 {
		if err := os.Symlink("..data/service.yaml", filepath.Join(m.dir, "service.yaml")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	files := &mounted{dir: t.TempDir()}
	files.put(t, "batch: 1")
	changes := make(chan int, 8)
	server := servicetest.Start(t, map[string]string{"CONFIG_DIR": files.dir}, func(_ context.Context, s *service.Service) error {
		service.OnReload(s, func(next config) {
			changes <- next.Batch
			if next.Batch == 3 {
				panic("odd")
			}
		})
		return nil
	})
	files.put(t, "batch: 2")
	if got := <-changes; got != 2 {
		t.Errorf("got %d, want 2", got)
	}
	files.put(t, "batch: -1")
	await(t, "the bad file in the log", func() bool {
		return strings.Contains(server.Log(), "the old one stays") && strings.Contains(server.Log(), "batch (BATCH)")
	})
	files.put(t, "batch: 3") // the callback panics, and is called again all the same
	if got := <-changes; got != 3 {
		t.Errorf("got %d, want 3: the bad one must not have been delivered", got)
	}
	files.put(t, "# other words, same meaning\nbatch: 3")
	files.put(t, "batch: 4")
	if got := <-changes; got != 4 {
		t.Errorf("got %d, want 4: nothing had changed", got)
	}
}

func write(t *testing.T, name, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}
