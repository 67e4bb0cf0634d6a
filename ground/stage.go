package ground

import (
	"fmt"
	"io"

	"github.com/nines-ha/nines/ground/git"
	"github.com/nines-ha/nines/ground/impair"
	"github.com/nines-ha/nines/ground/node"
	"github.com/nines-ha/nines/ground/world"
)

// Stage runs what this program is when a ground has started it again, told by
// its first argument, and says whether it was that. Call it before anything else.
func Stage(args []string, stderr io.Writer) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	var err error
	switch args[0] {
	case node.StageName:
		err = node.Stage()
	case world.StageName:
		err = world.Stage()
	case impair.StageName:
		err = impair.Stage()
	case git.StageName:
		err = git.Stage()
	case guardStage:
		err = guardMain(args[1:])
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", args[0], err)
		return 2, true
	}
	return 0, true
}
