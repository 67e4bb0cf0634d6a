package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const serviceLimit = 20 * time.Minute

// BuildService compiles the Go main package in sourceDir into one static
// program, puts it on the base layer, and stores the image under reference.
// It returns the reference with its digest, which depends on the source, the
// modules, the Go release and Go's settings, and not on the machine or folder. Platforms are like linux/amd64; none means
// this machine's. With several the image is an index.
func (s *Store) BuildService(ctx context.Context, reference, sourceDir string, platforms ...string) (string, error) {
	full, err := Reference(reference)
	if err != nil {
		return "", err
	}
	name := filepath.Base(repository(full))
	if len(platforms) == 0 {
		platforms = []string{"linux/" + runtime.GOARCH}
	}
	ctx, cancel := context.WithTimeout(ctx, serviceLimit)
	defer cancel()
	work, err := os.MkdirTemp("", "nines-service-")
	if err != nil {
		return "", fmt.Errorf("build service %s: %w", name, err)
	}
	defer os.RemoveAll(work)

	images := make([]v1.Image, len(platforms))
	for i, p := range platforms {
		program := filepath.Join(work, strings.ReplaceAll(p, "/", "-"), name)
		if err := compileService(ctx, sourceDir, program, p); err != nil {
			return "", fmt.Errorf("build service %s: %w", name, err)
		}
		if images[i], err = s.serviceImage(program, p); err != nil {
			return "", fmt.Errorf("build service %s: %w", name, err)
		}
	}
	digest, err := s.putPlatforms(full, images, platforms)
	if err != nil {
		return "", err
	}
	return repository(full) + "@" + digest.String(), nil
}

func (s *Store) serviceImage(program, platform string) (v1.Image, error) {
	base, err := s.baseLayer()
	if err != nil {
		return nil, err
	}
	at := filepath.Base(program)
	top, err := s.layerOf(file{Path: at, Mode: 0o755, From: program})
	if err != nil {
		return nil, err
	}
	return compose(strings.TrimPrefix(platform, "linux/"), v1.Config{
		User: fmt.Sprintf("%d:%d", nonroot, nonroot), WorkingDir: "/", Entrypoint: []string{"/" + at},
		Env: []string{"PATH=" + path, "SSL_CERT_FILE=/" + certsFile},
	}, base, top)
}

func (s *Store) putPlatforms(full string, images []v1.Image, platforms []string) (v1.Hash, error) {
	if len(images) == 1 {
		return s.Put(full, images[0])
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, img := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: strings.TrimPrefix(platforms[i], "linux/")},
		}})
	}
	return s.putIndex(full, index)
}

// compileService leaves out everything of this machine: paths, the state of
// the checkout, cgo.
func compileService(ctx context.Context, dir, program, platform string) error {
	system, arch, ok := strings.Cut(platform, "/")
	if !ok || system != "linux" || strings.Contains(arch, "/") {
		return fmt.Errorf("platform %q is not supported; it is like linux/amd64 or linux/arm64", platform)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("source %s is not a folder with a Go main package", dir)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", program, "."}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	// The death signal follows the thread that starts the child, so that
	// thread has to live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("go is not installed; install Go 1.26 or newer from https://go.dev/dl and put it on PATH")
	case err != nil:
		return fmt.Errorf("%w\n%s\nrepeat it with: (cd '%s' && CGO_ENABLED=0 GOOS=linux GOARCH=%s go build -trimpath -o /dev/null .)",
			err, lastLines(said.String(), 40), dir, arch)
	}
	// go build writes an archive for a package that is not a program.
	return isProgram(program, dir)
}

func isProgram(file, dir string) error {
	info, err := os.Stat(file)
	if err != nil || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not a main package; a service's source is the folder of its main.go", dir)
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
