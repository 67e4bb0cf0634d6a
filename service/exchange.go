package service

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"time"

	"github.com/felixge/httpsnoop"
)

// An exchange is what the library remembers of one request while it is answered.
type exchange struct {
	requestID string
	// writer is net/http's own, whose deadlines can be set.
	writer http.ResponseWriter
	began  time.Time
	routed bool // a handler of the user has it
	shed   bool
	status int // 0 until the header is written
	err    error
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	ex, _ := ctx.Value(exchangeKey{}).(*exchange)
	return ex
}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	if ex := exchangeOf(ctx); ex != nil {
		return ex.requestID
	}
	return ""
}

const requestIDHeader = "X-Request-Id"

// requestID keeps the caller's id when it is safe to log and to send on, and
// makes one otherwise.
func requestID(header http.Header) string {
	const longest = 128
	if values := header[requestIDHeader]; len(values) == 1 && len(values[0]) > 0 && len(values[0]) <= longest {
		if isToken(values[0]) {
			return values[0]
		}
	}
	return rand.Text()
}

func isToken(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

// watch notes the status that is written, and gives the mux's own 404 and 405
// the form that every other error has.
func (ex *exchange) watch(w http.ResponseWriter) http.ResponseWriter {
	swallow := false
	implicit := func() {
		if ex.status == 0 {
			ex.status = http.StatusOK
		}
	}
	return httpsnoop.Wrap(w, httpsnoop.Hooks{
		WriteHeader: func(next httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
			return func(status int) {
				if ex.status != 0 {
					return
				}
				if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
					next(status)
					return
				}
				ex.status = status
				if !ex.routed && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) {
					swallow = true
					ex.writeProblem(w, &Problem{Status: status})
					return
				}
				next(status)
			}
		},
		Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc {
			return func(b []byte) (int, error) {
				if swallow {
					return len(b), nil
				}
				implicit()
				return next(b)
			}
		},
		ReadFrom: func(next httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
			return func(src io.Reader) (int64, error) {
				implicit()
				return next(src)
			}
		},
		Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc {
			return func() { implicit(); next() }
		},
	})
}

func withExchange(ctx context.Context, ex *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, ex)
}
