package engine

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// goSettings are the settings of the Go toolchain that change what it builds.
var goSettings = []string{"GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT"}

type hostFacts struct {
	goEnv string
}

func (b *Builder) facts() (hostFacts, error) {
	b.once.Do(func() {
		cmd := exec.Command("go", append([]string{"env"}, goSettings...)...)
		cmd.Dir = b.Source
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			b.err = errors.New("go is not installed; install Go 1.26 or newer from https://go.dev/dl and put it on PATH")
			return
		}
		if err != nil {
			b.err = fmt.Errorf("ask go for its settings: %w", err)
			return
		}
		b.host.goEnv = string(out)
	})
	return b.host, b.err
}

// atOnce is how many engines compile at a time. A compile fills the cores for
// most of its time, but not while it links.
func (b *Builder) atOnce() int {
	return max(1, min(runtime.NumCPU(), 4))
}

// memoryBudget is what compiles may use together, in MiB: three quarters of
// what is available now.
func (b *Builder) memoryBudget() int64 {
	const fallback = 3000
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return fallback
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 2 && words[0] == "MemAvailable:" {
			if kib, err := strconv.ParseInt(words[1], 10, 64); err == nil {
				return max(1, kib/1024*3/4)
			}
		}
	}
	return fallback
}
