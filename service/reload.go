package service

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A reloader loads its type of configuration again and calls back on a change.
type reloader func() (changed bool, err error)

// OnReload calls changed whenever the files of CONFIG_DIR come to mean another
// T, loaded and validated as Config does it. Calls come one at a time, from a
// goroutine of the library, and not before setup has returned. When the new
// files are wrong the log says so and nothing is called: the old configuration
// stays in force.
func OnReload[T any](s *Service, changed func(next T)) {
	var last T
	if err := s.Config(&last); err != nil {
		s.log.Warn("configuration is not valid yet", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reloaders = append(s.reloaders, func() (bool, error) {
		var next T
		if err := s.Config(&next); err != nil {
			return false, err
		}
		if reflect.DeepEqual(last, next) {
			return false, nil
		}
		last = next
		return true, s.guard(func() error { changed(next); return nil })
	})
}

// watchConfig runs the reloaders when CONFIG_DIR changes, once things are quiet.
func (s *Service) watchConfig(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	defer watcher.Close()
	// The folder, not the files: a mounted ConfigMap changes by a renamed link.
	if err := watcher.Add(s.settings.ConfigDir); err != nil {
		if os.IsNotExist(err) {
			<-ctx.Done()
			return nil
		}
		return fmt.Errorf("watch configuration: %w", err)
	}
	s.reload(ctx) // what changed between setup and now
	const quiet = 100 * time.Millisecond
	settled := time.NewTimer(quiet)
	settled.Stop()
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-watcher.Events:
			if !ok {
				return nil
			}
			settled.Reset(quiet)
		case err, ok := <-watcher.Errors:
			if !ok {
				return nil
			}
			s.log.WarnContext(ctx, "watch configuration", "error", err)
			settled.Reset(quiet)
		case <-settled.C:
			s.reload(ctx)
		}
	}
}

func (s *Service) reload(ctx context.Context) {
	for _, r := range s.reloaders {
		changed, err := r()
		switch {
		case err != nil:
			s.log.ErrorContext(ctx, "configuration not reloaded; the old one stays", "error", err)
		case changed:
			s.log.InfoContext(ctx, "configuration reloaded")
		}
	}
}
