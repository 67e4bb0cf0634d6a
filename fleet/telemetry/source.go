// Package telemetry reads published vehicle telemetry as rows of VSS values:
// Open recognises a file by its first line, Generate makes trips that are
// labelled synthetic, and a Batcher turns the rows of many vehicles into
// batches of one. Units are converted here, vehicles without a VIN get a
// synthetic one, and a value that its data set is known to have wrong is
// refused with a reason while the rest of the row is kept. It holds a row at a
// time (a Batcher: a stated number), sends nothing and stores nothing.
package telemetry

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/fleet/vss"
)

// A Row is what one vehicle reported at one time. A row of which nothing could
// be kept has no values and at least one refusal.
type Row struct {
	Line    int // in the file, from 1; 0 when generated
	Vehicle vss.VIN
	Time    time.Time
	Values  map[string]float64 // by VSS name, in VSS units
	Refused []Refusal
}

// A Refusal is one thing that was not taken over from a row. Subject is a VSS
// name, a VSS branch (Position: both halves at once) or WholeRow. Reason is the
// same text for every row with the same fault, so that it can be counted.
type Refusal struct {
	Subject, Reason string
	Detail          string // the value itself
}

// Subjects that are not one signal.
const (
	Position = "Vehicle.CurrentLocation"
	WholeRow = "row"
)

// A Source gives rows in the order of its file. Close what was opened under it
// yourself.
type Source struct {
	Name  string   // what it was recognised as
	Notes []string // what a reader of the result must know: credit, assumptions
	next  func() (Row, error)
}

// Next returns the next row, io.EOF after the last. Any other error ends the
// source too; faults of a row are in the row.
func (s *Source) Next() (Row, error) { return s.next() }

// longestLine bounds memory against a file that is not what it says.
const longestLine = 64 << 10

// ErrUnknown is returned for a file that no reader here recognises.
var ErrUnknown = errors.New("not a telemetry file that is known here; the first line must be the header of fleet-austin-2016.csv or ev-twizy.csv, plain or gzip")

// Open recognises a data set from its first bytes. The reader may be
// compressed with gzip.
func Open(r io.Reader) (*Source, error) {
	file, err := openLines(r)
	if err != nil {
		return nil, err
	}
	header, err := file.next()
	if err == io.EOF {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	header = strings.TrimPrefix(header, "\ufeff")
	for _, set := range []struct {
		columns []string
		open    func(*lines) *Source
	}{
		{austinColumns, openAustin},
		{twizyColumns, openTwizy},
	} {
		if slices.Equal(strings.Split(header, ","), set.columns) {
			return set.open(file), nil
		}
	}
	return nil, ErrUnknown
}

// lines reads comma-separated lines of bounded length. A quoted field cannot
// span lines, so that one stray quote does not swallow the file.
type lines struct {
	scanner *bufio.Scanner
	field   *bufio.Reader
	number  int
}

func openLines(r io.Reader) (*lines, error) {
	buffered := bufio.NewReader(r)
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		plain, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("open gzip: %w", err)
		}
		r = plain
	} else {
		r = buffered
	}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 4096), longestLine)
	return &lines{scanner: scanner, field: bufio.NewReader(nil)}, nil
}

func (l *lines) next() (string, error) {
	if !l.scanner.Scan() {
		if err := l.scanner.Err(); err != nil {
			return "", fmt.Errorf("line %d: %w", l.number+1, err)
		}
		return "", io.EOF
	}
	l.number++
	return l.scanner.Text(), nil
}

// record returns the next line in fields, or the fault of that line.
func (l *lines) record(columns int) (fields []string, fault *Refusal, err error) {
	text, err := l.next()
	if err != nil {
		return nil, nil, err
	}
	l.field.Reset(strings.NewReader(text))
	reader := csv.NewReader(l.field)
	reader.FieldsPerRecord = -1
	fields, err = reader.Read()
	switch {
	case err != nil:
		return nil, &Refusal{WholeRow, "not comma-separated values", fmt.Sprintf("line %d", l.number)}, nil
	case len(fields) != columns:
		return nil, &Refusal{WholeRow, "wrong number of columns", fmt.Sprintf("line %d has %d, not %d", l.number, len(fields), columns)}, nil
	}
	return fields, nil, nil
}
