package record

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bounds of a record, which both ends keep.
const (
	MaxLine     = 1 << 20 // bytes, with the line's end
	MaxRequests = 5_000_000
	MaxHops     = 200_000
	MaxSpans    = 300_000
	MaxLines    = 20_000_000
)

const (
	flushEvery  = time.Second
	writeBuffer = 256 << 10
)

// A Writer writes a record while the drill runs. Its methods may be called from
// several goroutines. What is written reaches the file within a second, so that
// a drill that is killed leaves all but its last moments.
type Writer struct {
	file *os.File
	pack *gzip.Writer // nil for a plain file

	mu       sync.Mutex
	out      *bufio.Writer
	requests int
	hops     int
	spans    int
	lines    int
	err      error // the first one; nothing is written after it
	closed   bool

	stop chan struct{}
	done chan struct{}
}

// Create makes the file, or empties the one that is there, readable by its owner
// alone. A name that ends in .gz is written compressed. Close must be called.
func Create(path string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the record: %w", err)
	}
	if err := file.Chmod(0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("create the record: %w", err), file.Close())
	}
	return newWriter(file, filepath.Ext(path) == ".gz"), nil
}

func newWriter(file *os.File, packed bool) *Writer {
	w := &Writer{file: file, out: bufio.NewWriterSize(file, writeBuffer), stop: make(chan struct{}), done: make(chan struct{})}
	if packed {
		w.pack = gzip.NewWriter(file)
		w.out.Reset(w.pack)
	}
	go w.flushAlong()
	return w
}

// Write adds a line, which must have exactly one field set. After an error that
// came from the file, every Write returns that error.
func (w *Writer) Write(line Line) error {
	if n, names := line.set(); n != 1 {
		return fmt.Errorf("write the record: a line with %d fields (%s), want one", n, names)
	}
	body, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	body = append(body, '\n')
	if len(body) > MaxLine {
		return fmt.Errorf("write the record: a line of %d bytes, at most %d can be read again", len(body), MaxLine)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return errors.New("write the record: it is closed")
	case w.lines == MaxLines:
		return fmt.Errorf("write the record: it has %d lines already; drill for a shorter time", MaxLines)
	case line.Hop != nil && w.hops == MaxHops:
		return fmt.Errorf("write the record: it has %d hops already", MaxHops)
	case line.Span != nil && w.spans == MaxSpans:
		return fmt.Errorf("write the record: it has %d spans already", MaxSpans)
	case line.Request != nil && w.requests == MaxRequests:
		return fmt.Errorf("write the record: it has %d requests already; drill for a shorter time or at a lower rate", MaxRequests)
	}
	w.lines++
	if line.Hop != nil {
		w.hops++
	}
	if line.Span != nil {
		w.spans++
	}
	if line.Request != nil {
		w.requests++
	}
	if _, err := w.out.Write(body); err != nil {
		w.fail(err)
	}
	return w.err
}

// Close writes what is left. A second Close does nothing.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		defer w.mu.Unlock()
		return w.err
	}
	w.closed = true
	w.mu.Unlock()
	close(w.stop)
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
	if w.pack != nil && w.err == nil {
		if err := w.pack.Close(); err != nil {
			w.fail(err)
		}
	}
	if err := w.file.Close(); err != nil {
		w.fail(err)
	}
	return w.err
}

func (w *Writer) flushAlong() {
	defer close(w.done)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
			w.mu.Lock()
			w.flush()
			w.mu.Unlock()
		}
	}
}

// flush wants the lock held.
func (w *Writer) flush() {
	if w.err != nil {
		return
	}
	if err := w.out.Flush(); err != nil {
		w.fail(err)
		return
	}
	if w.pack != nil {
		if err := w.pack.Flush(); err != nil {
			w.fail(err)
		}
	}
}

func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = fmt.Errorf("write the record: %w", err)
	}
}

// set counts the fields of a line that are set, and names them where they are not
// one.
func (l *Line) set() (n int, names string) {
	if l.Request != nil && *l == (Line{Request: l.Request}) { // nearly all
		return 1, "request"
	}
	var all []string
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"header", l.Header != nil}, {"phase", l.Phase != nil}, {"request", l.Request != nil}, {"event", l.Event != nil},
		{"flow", l.Flow != nil}, {"hop", l.Hop != nil}, {"span", l.Span != nil}, {"second", l.Second != nil}, {"stored", l.Stored != nil}, {"end", l.End != nil},
	} {
		if field.set {
			all = append(all, field.name)
		}
	}
	return len(all), strings.Join(all, ", ")
}
