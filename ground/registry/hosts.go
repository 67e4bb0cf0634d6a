package registry

import (
	"fmt"
	"net/http"
)

// HostsTOML is the file certs.d/_default/hosts.toml of a containerd that asks
// the registry at address (host:port) for the images of every host and never
// asks anyone else.
func HostsTOML(address string) string {
	return fmt.Sprintf("server = \"http://%s\"\ncapabilities = [\"pull\", \"resolve\"]\n", address)
}

// PullOnly refuses everything that would change the store: the way to serve
// nodes and pods, who could otherwise replace each other's images.
func PullOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			f := &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", "this address only serves pulls"}
			f.write(w, req)
			return
		}
		h.ServeHTTP(w, req)
	})
}
