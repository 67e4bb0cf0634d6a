package registry

import (
	"encoding/json"
	"net/http"
)

// failure is an error of the distribution protocol.
type failure struct {
	status  int
	code    string
	message string
}

func (f *failure) Error() string { return f.message }

func (f *failure) write(w http.ResponseWriter, req *http.Request) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{f.code, f.message}}})
	if err != nil {
		http.Error(w, f.message, f.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	if req.Method != http.MethodHead {
		w.Write(body)
	}
}
