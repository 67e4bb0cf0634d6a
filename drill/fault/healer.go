package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nines-ha/nines/record"
)

const (
	readyWait   = 20 * time.Second // for a healer to start
	releaseWait = 10 * time.Second // for one to end
)

// A Healer is a process of its own that undoes an injection: when it is told to,
// or when this process ends without a word, however it does.
//
//	StartHealer ─▶ ready ─Heal─▶ healed ─Release─▶ ended
//	                 ├───────Release──────────────▶ ended, nothing undone
//	                 └─this process ends─▶ heals by itself, 2 minutes at most ─▶ ended
type Healer struct {
	// Tell hears of each thing that Heal undid; it may be nil. Set it before Heal.
	Tell func(record.Event)

	access  Access
	heals   []Heal
	cmd     *exec.Cmd // nil: nothing to heal
	words   io.WriteCloser
	replies chan reply
	ended   chan struct{}
	cut     bool // a Heal did not hear the end
	once    sync.Once
}

// request is what a healer is given on its standard input, as one line.
type request struct {
	Access Access `json:"access"`
	Heals  []Heal `json:"heals"`
}

// A healer then reads words, a line each, and answers "heal" with replies.
const (
	wordHeal    = "heal"
	wordRelease = "release"
)

// reply is a line of a healer's standard output.
type reply struct {
	Ready bool          `json:"ready,omitempty"`
	Event *record.Event `json:"event,omitempty"`
	Done  bool          `json:"done,omitempty"`
	Err   string        `json:"error,omitempty"`
}

// StartHealer starts this program again as a healer and returns when it can do
// its work. Main must call Stage. ctx is about the start alone. Release it.
func StartHealer(ctx context.Context, access Access, heals []Heal) (*Healer, error) {
	h := &Healer{access: access, heals: heals}
	if len(heals) == 0 {
		return h, nil
	}
	if access.Kubeconfig != "" {
		absolute, err := filepath.Abs(access.Kubeconfig)
		if err != nil {
			return nil, err
		}
		h.access.Kubeconfig = absolute
	}
	line, err := json.Marshal(request{h.access, heals})
	if err != nil {
		return nil, err
	}
	if err := h.launch(); err != nil {
		return nil, fmt.Errorf("start healer: %w", err)
	}
	if _, err := h.words.Write(append(line, '\n')); err != nil {
		h.end()
		return nil, fmt.Errorf("start healer: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	r, err := h.hear(ctx)
	if err == nil && !r.Ready {
		err = errors.New(r.Err)
	}
	if err != nil {
		h.end()
		return nil, fmt.Errorf("start healer: %w", err)
	}
	return h, nil
}

// launch starts the process in a session of its own: what ends this program's
// session, like Ctrl-C, does not reach it.
func (h *Healer) launch() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, StageName)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if h.words, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	h.cmd, h.replies, h.ended = cmd, make(chan reply, 16), make(chan struct{})
	go func() {
		defer close(h.ended)
		defer close(h.replies)
		for lines := json.NewDecoder(out); ; {
			var r reply
			if lines.Decode(&r) != nil {
				break
			}
			h.replies <- r
		}
		_ = cmd.Wait()
	}()
	return nil
}

var errEnded = errors.New("the healer has ended")

func (h *Healer) hear(ctx context.Context) (reply, error) {
	select {
	case r, ok := <-h.replies:
		if !ok {
			return r, errEnded
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, context.Cause(ctx)
	}
}

// Heal undoes everything and returns when it is undone, or with what could not
// be after two minutes of trying. It may be called again. When ctx ends before,
// the healer goes on by itself. A healer that somebody has ended is no excuse:
// this process then does its work.
func (h *Healer) Heal(ctx context.Context) error {
	if h.cmd == nil {
		return nil
	}
	tell := h.Tell
	if tell == nil {
		tell = func(record.Event) {}
	}
	if _, err := io.WriteString(h.words, wordHeal+"\n"); err != nil {
		return h.healHere(ctx, tell)
	}
	for {
		switch r, err := h.hear(ctx); {
		case errors.Is(err, errEnded):
			return h.healHere(ctx, tell)
		case err != nil:
			h.cut = true
			return fmt.Errorf("the healer goes on by itself: %w", err)
		case r.Event != nil:
			tell(*r.Event)
		case r.Done && r.Err != "":
			return errors.New(r.Err)
		case r.Done:
			return nil
		}
	}
}

func (h *Healer) healHere(ctx context.Context, tell func(record.Event)) error {
	m, err := newMender(h.access, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return m.mend(ctx, h.heals, settled, tell)
}

// Release ends the healer: there is nothing to heal any more. It returns when
// the process has ended; one that still heals, because Heal was cut short, is
// left to finish. It may be called more than once.
func (h *Healer) Release() {
	if h.cmd == nil {
		return
	}
	h.once.Do(func() {
		if h.cut {
			h.words.Close()
			return
		}
		_, _ = io.WriteString(h.words, wordRelease+"\n")
		h.end()
	})
}

// end waits for the process, and ends it when it does not end by itself.
func (h *Healer) end() {
	h.words.Close()
	timer := time.NewTimer(releaseWait)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-h.replies: // what nobody wants to hear must not hold it up
			if !ok {
				<-h.ended
				return
			}
		case <-timer.C:
			_ = h.cmd.Process.Kill()
			timer.Reset(time.Hour)
		}
	}
}
