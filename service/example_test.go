package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/nines-ha/nines/service"
)

// A whole service. Main does not return, so this example is compiled only.
func ExampleMain() {
	type config struct {
		Greeting string `yaml:"greeting" env:"GREETING" default:"hello" validate:"required"`
	}
	service.Main("greeter", func(ctx context.Context, s *service.Service) error {
		var cfg config
		if err := s.Config(&cfg); err != nil {
			return err
		}
		s.Handle("GET /{name}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s, %s\n", cfg.Greeting, r.PathValue("name"))
		}), service.Timeout(800*time.Millisecond), service.Concurrency(64))
		s.OnStop("farewell", func(context.Context) error { s.Log().Info("bye"); return nil })
		return nil
	})
}

// Credentials are read for each connection, so that a rotated password works.
func ExampleService_Store() {
	setup := func(ctx context.Context, s *service.Service) error {
		telemetry := s.Store("telemetry")
		connect := func(context.Context) error {
			access, err := telemetry.Access()
			if err != nil {
				return err
			}
			fmt.Println(access.Host, access.Port, access.Username, access.Password)
			return nil
		}
		return connect(ctx)
	}
	_ = setup
}

func ExampleService_Config() {
	type config struct {
		Batch int           `yaml:"batch" env:"BATCH" default:"1000" validate:"gte=1"`
		Wait  time.Duration `yaml:"wait" env:"WAIT" default:"2s"`
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	environment := map[string]string{"HTTP_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0s", "LOG_LEVEL": "error", "BATCH": "50"}
	_ = service.Runner{Name: "ingest", Environment: environment}.Run(ctx, func(_ context.Context, s *service.Service) error {
		defer stop()
		var cfg config
		if err := s.Config(&cfg); err != nil {
			return err
		}
		fmt.Println(cfg.Batch, cfg.Wait)
		return nil
	})
	// Output: 50 2s
}

func ExampleWriteError() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		service.WriteError(w, r, fmt.Errorf("look up vehicle: %w", &service.Problem{
			Status: http.StatusTooManyRequests, Detail: "10 requests a second for one vehicle",
			RetryAfter: 2 * time.Second, Extensions: map[string]any{"limit": 10},
		}))
	}
	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Retry-After"))
	fmt.Println(w.Body)
	// Output:
	// 429 application/problem+json 2
	// {"detail":"10 requests a second for one vehicle","limit":10,"status":429,"title":"Too Many Requests"}
}

func ExampleSecret() {
	token := service.NewSecret("hunter2")
	fmt.Println(token)
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"token": token})
	slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).Info("signed in", "token", token)
	fmt.Println(len(token.Reveal()))
	// Output:
	// [redacted]
	// {"token":"[redacted]"}
	// level=INFO msg="signed in" token=[redacted]
	// 7
}

func ExampleOnReload() {
	type limits struct {
		Rate int `yaml:"rate" default:"10" validate:"gte=1"`
	}
	setup := func(_ context.Context, s *service.Service) error {
		service.OnReload(s, func(next limits) { s.Log().Info("new limit", "rate", next.Rate) })
		return nil
	}
	_ = setup
}

func ExampleRunner_Run() {
	ctx, stop := context.WithCancel(context.Background())
	err := service.Runner{
		Name:        "greeter",
		Environment: map[string]string{"HTTP_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0s", "LOG_LEVEL": "error"},
	}.Run(ctx, func(_ context.Context, s *service.Service) error {
		s.OnStop("database", func(context.Context) error { fmt.Println("closed"); return nil })
		s.Go("worker", func(ctx context.Context) error {
			stop() // in place of SIGTERM
			<-ctx.Done()
			fmt.Println("worker ended")
			return nil
		})
		return nil
	})
	fmt.Println(err, errors.Is(err, service.ErrUnclean))
	// Output:
	// worker ended
	// closed
	// <nil> false
}
