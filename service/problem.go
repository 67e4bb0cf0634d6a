package service

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"strconv"
	"time"
)

// A Problem is an answer that reports an error, as RFC 9457 describes it, and an
// error that a handler can return up to where it is written with WriteError.
type Problem struct {
	Type     string // a URI; empty means about:blank
	Title    string // empty means the text of Status
	Status   int    // 0 means 500
	Detail   string
	Instance string
	// Extensions are further members. A name that RFC 9457 defines is ignored.
	Extensions map[string]any
	// RetryAfter becomes the Retry-After header, rounded up to seconds.
	RetryAfter time.Duration
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.title()
	}
	return p.title() + ": " + p.Detail
}

func (p *Problem) MarshalJSON() ([]byte, error) {
	members := maps.Clone(p.Extensions)
	if members == nil {
		members = map[string]any{}
	}
	for name, value := range map[string]string{"type": p.Type, "detail": p.Detail, "instance": p.Instance} {
		delete(members, name)
		if value != "" {
			members[name] = value
		}
	}
	members["title"], members["status"] = p.title(), p.status()
	return json.Marshal(members)
}

func (p *Problem) title() string {
	if p.Title != "" {
		return p.Title
	}
	return http.StatusText(p.status())
}

func (p *Problem) status() int {
	if p.Status < 400 || p.Status > 599 {
		return http.StatusInternalServerError
	}
	return p.Status
}

// WriteError answers r with application/problem+json. A *Problem in err is
// written as it is; a body over the limit becomes 413 and a passed deadline 504.
// Every other error becomes a 500 that tells the caller nothing but the request
// id; its text goes to the log. After the header is written it only logs.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	ex := exchangeOf(r.Context())
	if ex == nil {
		writeProblem(w, problemOf(err))
		return
	}
	ex.err = err
	if ex.status == 0 {
		ex.writeProblem(w, problemOf(err))
	}
}

func (ex *exchange) writeProblem(w http.ResponseWriter, problem *Problem) {
	extended := *problem
	extended.Extensions = maps.Clone(problem.Extensions)
	if extended.Extensions == nil {
		extended.Extensions = map[string]any{}
	}
	extended.Extensions["request_id"] = ex.requestID
	writeProblem(w, &extended)
}

func writeProblem(w http.ResponseWriter, problem *Problem) {
	body, err := json.Marshal(problem)
	if err != nil { // an extension that JSON cannot express
		plain := *problem
		plain.Extensions = nil
		body, _ = json.Marshal(&plain)
	}
	header := w.Header()
	for _, stale := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified"} {
		header.Del(stale)
	}
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if problem.RetryAfter > 0 {
		seconds := int64((problem.RetryAfter + time.Second - 1) / time.Second)
		header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	w.WriteHeader(problem.status())
	_, _ = w.Write(body)
}

func problemOf(err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Problem{Status: http.StatusRequestEntityTooLarge, Detail: "the body may have at most " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return &Problem{Status: http.StatusGatewayTimeout, Detail: "the request ran out of time"}
	}
	return &Problem{Status: http.StatusInternalServerError}
}
