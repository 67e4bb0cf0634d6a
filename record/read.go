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
	"os"
	"slices"
)

// A Record is a whole account, in the order of the file unless said otherwise.
type Record struct {
	Header   *Header
	Phases   []Phase
	Requests []Request // in the order in which they were done
	Events   []Event   // by At
	Flows    []Flow
	Hops     []Hop
	Spans    []Span
	Seconds  []Second
	Stored   []Stored
	End      *End // nil: the drill was interrupted
	Cut      bool // the file ends within a line, which is left out
}

// Open reads the record in a file.
func Open(path string) (*Record, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	record, err := ReadFrom(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return record, nil
}

// ReadFrom reads a record, plain or packed with gzip. It refuses what it does not
// understand, with the number of the line: a verdict about half of a record would
// be about something else. Only an end that is missing is tolerated and told, in
// End and Cut, because a drill that was killed leaves that.
func ReadFrom(r io.Reader) (*Record, error) {
	lines := bufio.NewReaderSize(r, MaxLine)
	if magic, _ := lines.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(lines)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w; is the file whole?", err)
		}
		lines = bufio.NewReaderSize(unpacked, MaxLine)
	}
	p := parser{record: &Record{}}
	for {
		body, err := lines.ReadSlice('\n')
		if err == nil {
			if err := p.line(body); err != nil {
				return nil, err
			}
			continue
		}
		return p.end(body, err)
	}
}

// parser puts lines together.
type parser struct {
	record   *Record
	n        int // lines so far
	requests int
}

// end deals with what is after the last whole line.
func (p *parser) end(rest []byte, err error) (*Record, error) {
	cut := errors.Is(err, io.ErrUnexpectedEOF) // of the packed stream
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, p.fault("is longer than %d bytes; this is no record of a drill", MaxLine)
	case !cut && !errors.Is(err, io.EOF):
		return nil, p.fault("cannot be read: %w", err)
	case len(rest) > 0 && json.Valid(rest):
		if err := p.line(rest); err != nil {
			return nil, err
		}
	case len(rest) > 0:
		cut = true
	}
	if p.n == 0 {
		return nil, errors.New("the record is empty: the drill ended before it touched anything; run it again")
	}
	p.record.Cut = cut
	slices.SortStableFunc(p.record.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return p.record, nil
}

// fault is an error about the line that comes now.
func (p *parser) fault(format string, args ...any) error {
	return fmt.Errorf("line %d "+format, append([]any{p.n + 1}, args...)...)
}

func (p *parser) line(body []byte) error {
	if p.n == 0 {
		if err := p.version(body); err != nil {
			return err
		}
	}
	if p.n == MaxLines {
		return p.fault("is one too many: at most %d are read; drill for a shorter time", MaxLines)
	}
	var line Line
	if err := json.Unmarshal(body, &line); err != nil {
		return p.fault("is not understood: %w; the file was damaged or edited, take another copy or drill again", err)
	}
	switch n, names := line.set(); {
	case n == 0:
		return p.fault("holds nothing that this program knows: it was written by a newer nines, or is no record; read it with the nines that wrote it")
	case n > 1:
		return p.fault("holds %d things (%s), want one; the file was damaged or edited, take another copy or drill again", n, names)
	}
	if p.record.End != nil {
		return p.fault("comes after the end; two records were put together, read each alone")
	}
	if err := p.add(&line); err != nil {
		return err
	}
	p.n++
	return nil
}

// version looks at the first line for the version alone, since the rest of
// another version may have other types.
func (p *parser) version(body []byte) error {
	var first struct {
		Header *struct {
			Version *int   `json:"version"`
			Program string `json:"program"`
		} `json:"header"`
	}
	if err := json.Unmarshal(body, &first); err != nil || first.Header == nil || first.Header.Version == nil {
		return p.fault("is no header of a record; give the file that \"nines drill\" named as the record")
	}
	if v := *first.Header.Version; v != Version {
		return p.fault("says version %d, written by nines %q; this nines reads version %d: read it with the nines that wrote it", v, first.Header.Program, Version)
	}
	return nil
}

func (p *parser) add(line *Line) error {
	r := p.record
	switch {
	case line.Header != nil:
		if p.n > 0 {
			return p.fault("is a second header; two records were put together, read each alone")
		}
		r.Header = line.Header
	case line.Phase != nil:
		r.Phases = append(r.Phases, *line.Phase)
	case line.Request != nil:
		if p.requests == MaxRequests {
			return p.fault("is one request too many: at most %d are read; drill for a shorter time or at a lower rate", MaxRequests)
		}
		p.requests++
		r.Requests = append(r.Requests, *line.Request)
	case line.Event != nil:
		r.Events = append(r.Events, *line.Event)
	case line.Flow != nil:
		r.Flows = append(r.Flows, *line.Flow)
	case line.Hop != nil:
		if len(r.Hops) == MaxHops {
			return p.fault("is one hop too many: at most %d are read", MaxHops)
		}
		r.Hops = append(r.Hops, *line.Hop)
	case line.Span != nil:
		if len(r.Spans) == MaxSpans {
			return p.fault("is one span too many: at most %d are read", MaxSpans)
		}
		r.Spans = append(r.Spans, *line.Span)
	case line.Second != nil:
		r.Seconds = append(r.Seconds, *line.Second)
	case line.Stored != nil:
		r.Stored = append(r.Stored, *line.Stored)
	case line.End != nil:
		r.End = line.End
	}
	return nil
}
