package fault

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nines-ha/nines/ground"
)

// Lock makes sure that one process at a time breaks a site, and waits for nobody:
// the error names who has it. Take it before the first Healer is started; it ends
// with this process, but what heals after one that was killed has a lock of its
// own, which counts too. It is of this machine alone: two machines can still drill
// the same cluster.
func Lock(s *Site) (release func(), err error) {
	a := s.Access
	if s.Ground != nil {
		a.Ground = s.Ground.Name
	}
	drill, heal, err := lockFiles(a)
	if err != nil {
		return nil, err
	}
	release, err = flock(drill, unix.LOCK_EX, "a drill")
	if err != nil {
		return nil, err
	}
	healed, err := flock(heal, unix.LOCK_EX, "what heals after a drill that was interrupted")
	if err != nil {
		release()
		return nil, err
	}
	healed()
	return release, nil
}

// lockHeal is shared by the healers of one process.
func lockHeal(a Access) (release func(), err error) {
	_, heal, err := lockFiles(a)
	if err != nil {
		return nil, err
	}
	return flock(heal, unix.LOCK_SH, "what heals after another drill")
}

// lockFiles are in the ground's own directory, and for another cluster beside
// those of the grounds, by the address of its API server.
func lockFiles(a Access) (drill, heal string, err error) {
	states, err := ground.States()
	if err != nil {
		return "", "", err
	}
	prefix := filepath.Join(states, a.Ground) + "/"
	if a.Ground == "" {
		config, err := a.config()
		if err != nil {
			return "", "", err
		}
		sum := sha256.Sum256([]byte(config.Host))
		prefix = filepath.Join(states, fmt.Sprintf("cluster-%x-", sum[:6]))
	}
	if err := os.MkdirAll(filepath.Dir(prefix), 0o700); err != nil {
		return "", "", err
	}
	return prefix + "drill.lock", prefix + "heal.lock", nil
}

func flock(path string, how int, who string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 100))
		f.Close()
		return nil, fmt.Errorf("%s is at work there (%s); wait until it has ended", who, holder)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "process %d since %s", os.Getpid(), time.Now().Format(time.TimeOnly))
	}
	return func() { f.Close() }, nil
}
