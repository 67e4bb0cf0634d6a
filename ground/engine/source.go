package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Source finds the folder with the pins: the one named, or NINES_ENGINES, or
// engines beside the executable's folder, or engines in the working directory
// or one above it.
func Source(named string) (string, error) {
	if named == "" {
		named = os.Getenv("NINES_ENGINES")
	}
	if named != "" {
		dir, err := filepath.Abs(named)
		if err != nil {
			return "", fmt.Errorf("find the engines folder: %w", err)
		}
		if !holdsPins(dir) {
			return "", fmt.Errorf("%s holds no engines (expected NAME/go.mod in it); name the engines folder of a checkout with --engines or NINES_ENGINES", dir)
		}
		return dir, nil
	}
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			if dir := filepath.Join(filepath.Dir(filepath.Dir(exe)), "engines"); holdsPins(dir) {
				return dir, nil
			}
		}
	}
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the engines folder: %w", err)
	}
	for {
		if dir := filepath.Join(at, "engines"); holdsPins(dir) {
			return dir, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", errors.New("no engines folder beside this program, here or above; name the one of a checkout with --engines or NINES_ENGINES")
		}
		at = up
	}
}

func holdsPins(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "*", "go.mod"))
	return err == nil && len(found) > 0
}

// CacheDir is where compiled engines, root file systems and images are kept:
// nines in the user's cache directory.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory (set XDG_CACHE_HOME): %w", err)
	}
	return filepath.Join(dir, "nines"), nil
}
