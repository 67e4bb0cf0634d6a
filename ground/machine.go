package ground

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/nines-ha/nines/ground/world"
)

// A node promises four times a CPU share of the machine at the most, and its
// memory: nodes share one machine, and requests are promises.
const (
	nodeCPUMilli  = 2000
	nodeMemoryMiB = 4096
)

// reserve is what a node leaves of this machine so that its size is a node's.
func reserve() world.Reserved {
	cpu := max(runtime.NumCPU()*1000-nodeCPUMilli, 0)
	memory := max(totalMemoryMiB()-nodeMemoryMiB, 0)
	return world.Reserved{CPU: fmt.Sprintf("%dm", cpu), Memory: fmt.Sprintf("%dMi", memory)}
}

func totalMemoryMiB() int {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nodeMemoryMiB
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if rest, ok := strings.CutPrefix(scan.Text(), "MemTotal:"); ok {
			var kib int
			if _, err := fmt.Sscan(rest, &kib); err == nil {
				return kib / 1024
			}
		}
	}
	return nodeMemoryMiB
}
