package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// key names a build by everything that goes into it.
func (e Engine) key(goEnv string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(e.dir, name))
		if err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("read the pins of engine %s: %w", e.Name, err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
	}
	fmt.Fprintf(h, "%q %q cgo=%t\n", goEnv, e.arguments(), e.CGO)
	for _, p := range e.Programs {
		fmt.Fprintf(h, "%s %s\n", p.Name, p.Package)
	}
	for _, name := range slices.Sorted(maps.Keys(e.recipe.Files)) {
		fmt.Fprintf(h, "%s %s\n", name, e.recipe.Files[name])
	}
	return strings.TrimPrefix(e.Version, "v") + "-" + hex.EncodeToString(h.Sum(nil))[:12], nil
}

const receiptFile = "engine.json"

// receipt stays beside the programs and says what they are.
type receipt struct {
	Engine  string        `json:"engine"`
	Module  string        `json:"module"`
	Version string        `json:"version"`
	Command string        `json:"command"`
	Took    time.Duration `json:"took"`
}

func writeReceipt(dir string, e Engine, took time.Duration) error {
	text, err := json.MarshalIndent(receipt{
		Engine: e.Name, Module: e.Module, Version: e.Version, Command: e.command(), Took: took,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, receiptFile), append(text, '\n'), 0o644)
}

func readReceipt(dir string) (receipt, error) {
	var r receipt
	text, err := os.ReadFile(filepath.Join(dir, receiptFile))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}
