package load

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// machine reads how busy this machine was between two looks.
type machine struct {
	stat, pressure string // files
	busy, all      float64
	waited         time.Duration
	looked         time.Time
}

func newMachine() *machine {
	m := &machine{stat: "/proc/stat", pressure: "/proc/pressure/cpu"}
	m.look(time.Now())
	return m
}

// look gives the shares of the time since the last look in which processors were
// not idle, and in which some task waited for one; 0 where the kernel does not
// tell.
func (m *machine) look(now time.Time) (busy, waiting float64) {
	if body, err := os.ReadFile(m.stat); err == nil {
		if b, all, ok := parseStat(body); ok {
			if all > m.all {
				busy = min(max((b-m.busy)/(all-m.all), 0), 1)
			}
			m.busy, m.all = b, all
		}
	}
	if body, err := os.ReadFile(m.pressure); err == nil {
		if waited, ok := parsePressure(body); ok {
			if span := now.Sub(m.looked); span > 0 {
				waiting = min(max(float64(waited-m.waited)/float64(span), 0), 1)
			}
			m.waited = waited
		}
	}
	m.looked = now
	return busy, waiting
}

// parseStat reads the first line of /proc/stat: clock ticks of user, nice,
// system, idle, iowait, irq, softirq and steal. Guest time is in user already.
func parseStat(body []byte) (busy, all float64, ok bool) {
	line, _, _ := bytes.Cut(body, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 6 || string(fields[0]) != "cpu" {
		return 0, 0, false
	}
	for i, field := range fields[1:min(len(fields), 9)] {
		ticks, err := strconv.ParseUint(string(field), 10, 64)
		if err != nil {
			return 0, 0, false
		}
		all += float64(ticks)
		if i != 3 && i != 4 {
			busy += float64(ticks)
		}
	}
	return busy, all, true
}

// parsePressure reads the microseconds of the line "some avg10=… total=…".
func parsePressure(body []byte) (time.Duration, bool) {
	for line := range bytes.Lines(body) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || string(fields[0]) != "some" {
			continue
		}
		for _, field := range fields[1:] {
			if total, found := bytes.CutPrefix(field, []byte("total=")); found {
				micros, err := strconv.ParseInt(string(total), 10, 64)
				return time.Duration(micros) * time.Microsecond, err == nil && micros >= 0
			}
		}
	}
	return 0, false
}
