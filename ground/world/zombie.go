package world

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// zombies lists children of this process that have ended and were not waited for.
func zombies() map[int]bool {
	dead := map[int]bool{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	self := os.Getpid()
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// pid (name) state ppid …; the name may hold spaces and parentheses.
		end := bytes.LastIndexByte(body, ')')
		fields := bytes.Fields(body[end+1:])
		if end < 0 || len(fields) < 2 || fields[0][0] != 'Z' {
			continue
		}
		if parent, _ := strconv.Atoi(string(fields[1])); parent != self {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			dead[pid] = true
		}
	}
	return dead
}
