package balancer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// prepare runs in the router's namespace. Forwarding comes first, because
// turning it on resets the others.
func prepare() error {
	if err := sysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	links, err := filepath.Glob("/proc/sys/net/ipv4/conf/*")
	if err != nil {
		return err
	}
	for _, link := range links {
		name := filepath.Base(link)
		for key, value := range map[string]string{
			"rp_filter":      "0", // answers come from an address that is routed elsewhere, or nowhere
			"send_redirects": "0", // a neighbour must not learn a way around the balancer
		} {
			if err := sysctl("net/ipv4/conf/"+name+"/"+key, value); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func sysctl(key, value string) error {
	path := "/proc/sys/" + key
	if old, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", key, value, err)
	}
	return nil
}
