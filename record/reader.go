package record

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Record is a whole one, read. Events are in order of At, everything else is
// in the order of the file.
type Record struct {
	Header   *Header
	Phases   []Phase
	Requests []Request
	Events   []Event
	Flows    []Flow
	Seconds  []Second
	Stored   []Stored
	End      *End // nil: the drill was cut off
	Cut      bool // the last line is not whole
}

// Bounds of what is read: a line in bytes, a record in lines.
const (
	maxLine  = 1 << 20
	maxLines = 20_000_000
)

// ReadFrom reads a record, plain or gzip. A last line that was cut short is left
// out and told by Cut; every other error names the line.
func ReadFrom(r io.Reader) (*Record, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unzipped, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read record: %w", err)
		}
		defer unzipped.Close()
		in = bufio.NewReaderSize(unzipped, 64<<10)
	}
	rec := &Record{}
	for number := 1; ; number++ {
		text, err := readLine(in)
		if errors.Is(err, io.EOF) && len(text) == 0 {
			break
		}
		whole := err == nil
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("read record: line %d: %w", number, err)
		}
		if number > maxLines {
			return nil, fmt.Errorf("read record: more than %d lines", maxLines)
		}
		if err := rec.add(text, number); err != nil {
			if !whole {
				rec.Cut = true
				break
			}
			return nil, fmt.Errorf("read record: line %d: %w", number, err)
		}
		if !whole {
			break
		}
	}
	if rec.Header == nil {
		return nil, errors.New("read record: it is empty; a record begins with a header")
	}
	slices.SortStableFunc(rec.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return rec, nil
}

// readLine gives a line without its end; with it, an error that is not EOF only
// when the line is too long or cannot be read.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("longer than %d bytes", maxLine)
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSuffix(line, []byte("\n")), err
	}
}

func (r *Record) add(text []byte, number int) error {
	var line Line
	if err := json.Unmarshal(text, &line); err != nil {
		return fmt.Errorf("not a line of a record: %w", err)
	}
	if n := line.count(); n != 1 {
		return fmt.Errorf("a line has one of header, phase, request, event, flow, second, stored and end; this one has %d", n)
	}
	if first := line.Header != nil; first != (number == 1) {
		if first {
			return errors.New("a second header")
		}
		return errors.New("a record begins with a header")
	}
	switch {
	case r.End != nil:
		return errors.New("a line after the end")
	case line.Header != nil:
		if line.Header.Version != Version {
			return fmt.Errorf("version %d of the format; this program reads version %d: use the nines that wrote it (%s)", line.Header.Version, Version, line.Header.Program)
		}
		r.Header = line.Header
	case line.Phase != nil:
		r.Phases = append(r.Phases, *line.Phase)
	case line.Request != nil:
		r.Requests = append(r.Requests, *line.Request)
	case line.Event != nil:
		r.Events = append(r.Events, *line.Event)
	case line.Flow != nil:
		r.Flows = append(r.Flows, *line.Flow)
	case line.Second != nil:
		r.Seconds = append(r.Seconds, *line.Second)
	case line.Stored != nil:
		r.Stored = append(r.Stored, *line.Stored)
	case line.End != nil:
		r.End = line.End
	}
	return nil
}
