package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/record"
)

// StageName is the first argument that makes the program a healer.
const StageName = "stage-healer"

const (
	requestLimit = 64 << 20 // bytes; it may hold the files of a region
	logLimit     = 256 << 10
)

// Stage runs what this program is when a drill has started it again, told by its
// first argument, and says whether it was that. Call it before anything else.
func Stage(args []string, stderr io.Writer) (code int, ok bool) {
	if len(args) == 0 || args[0] != StageName {
		return 0, false
	}
	// What ends a drill must not end what heals after it, nor may a reply that
	// nobody is there to read. It is gone two minutes after the drill at the latest.
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGPIPE)
	replies := json.NewEncoder(os.Stdout)
	if err := stage(os.Stdin, replies); err != nil {
		_ = replies.Encode(reply{Done: true, Err: err.Error()})
		fmt.Fprintf(stderr, "%s: %v\n", StageName, err)
		return 2, true
	}
	return 0, true
}

func stage(in io.Reader, replies *json.Encoder) error {
	lines := bufio.NewReader(io.LimitReader(in, requestLimit))
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to heal: %w", err)
	}
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("read what to heal: %w", err)
	}
	release, err := lockHeal(r.Access)
	if err != nil {
		return err
	}
	defer release()
	file, err := openLog(r.Access)
	if err != nil {
		return err
	}
	defer file.Close()
	log := slog.New(slog.NewTextHandler(&bounded{file, logLimit}, nil))
	m, err := newMender(r.Access, log)
	if err != nil {
		return err
	}
	if err := replies.Encode(reply{Ready: true}); err != nil {
		return err
	}
	return m.obey(lines, r.Heals, replies)
}

// obey does what it is told until it is released, and what it was started for
// when its drill ends without a word.
func (m *mender) obey(words *bufio.Reader, heals []Heal, replies *json.Encoder) error {
	healed := false
	for {
		word, err := words.ReadString('\n')
		switch {
		case err != nil && healed:
			return nil
		case err != nil:
			m.log.Info("the drill is gone; healing")
			return m.mend(context.Background(), heals, killedSettled, func(record.Event) {})
		case word == wordRelease+"\n":
			return nil
		case word == wordHeal+"\n":
			err := m.mend(context.Background(), heals, settled, func(e record.Event) { _ = replies.Encode(reply{Event: &e}) })
			healed = err == nil
			answer := reply{Done: true}
			if err != nil {
				answer.Err = err.Error()
			}
			_ = replies.Encode(answer) // nobody hears it: the next word says so
		default:
			return fmt.Errorf("a healer knows no word %q", word)
		}
	}
}

// openLog is the healer's log, of this drill alone.
func openLog(a Access) (*os.File, error) {
	var dir string
	var err error
	if a.Ground != "" {
		dir, err = ground.Logs(a.Ground)
	} else {
		dir, err = ground.States()
	}
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "healer.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}

// bounded writes so much and no more.
type bounded struct {
	io.Writer
	left int
}

var errFull = errors.New("the log is full")

func (b *bounded) Write(text []byte) (int, error) {
	if len(text) > b.left {
		b.left = 0
		return 0, errFull
	}
	b.left -= len(text)
	return b.Writer.Write(text)
}
