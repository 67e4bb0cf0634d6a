package load

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/nines-ha/nines/record"
)

// dialFailure says why there is no connection.
func dialFailure(err error) record.Class {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return record.ConnectRefused
	case isTimeout(err):
		return record.ConnectTimeout
	default:
		return record.ConnectFailed
	}
}

// dialledFrom is the client's end of a connection that never was; "" if it had no
// port yet.
func dialledFrom(err error) string {
	var failed *net.OpError
	if errors.As(err, &failed) {
		if from, ok := failed.Source.(*net.TCPAddr); ok && from.Port != 0 {
			return from.String()
		}
	}
	return ""
}

// writeFailure says why a request was not sent whole.
func writeFailure(err error) record.Class {
	if isTimeout(err) {
		return record.Timeout
	}
	return record.Reset
}

// readFailure says why an answer did not arrive whole.
func readFailure(failure error) record.Class {
	switch {
	case isTimeout(failure):
		return record.Timeout
	case errors.Is(failure, io.EOF):
		return record.Closed
	default:
		return record.Reset
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// explain is what an answer that is an error says of itself: the detail of a
// problem, or its text as a proxy would send it.
func explain(contentType string, body []byte) string {
	switch kind, _, _ := strings.Cut(contentType, ";"); strings.TrimSpace(strings.ToLower(kind)) {
	case "application/problem+json":
		var problem struct{ Title, Detail string }
		if json.Unmarshal(body, &problem) != nil {
			return ""
		}
		if problem.Detail == "" {
			return bounded(problem.Title)
		}
		return bounded(problem.Detail)
	case "text/plain":
		return bounded(string(body[:min(len(body), 2*mostDetail)]))
	default:
		return ""
	}
}

// bounded is a text as one printable line of limited length.
func bounded(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	text = strings.TrimSpace(text)
	if len(text) <= mostDetail {
		return text
	}
	end := mostDetail
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
