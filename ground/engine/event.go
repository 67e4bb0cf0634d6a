package engine

import "time"

// Phase is how far a build is.
type Phase string

// The phases, in the order an engine passes them; Cached ends at once.
const (
	Queued    Phase = "queued"    // for memory or cores
	Waiting   Phase = "waiting"   // for another build of the same engine
	Resolving Phase = "resolving" // modules are downloaded, packages listed
	Compiling Phase = "compiling" // Done of Total packages
	Linking   Phase = "linking"   // every package is compiled
	Making    Phase = "making"    // a root file system; Detail says what
	Cached    Phase = "cached"    // was there already
	Built     Phase = "built"
	Failed    Phase = "failed"
)

// Event is one step of a build. Callbacks come from several goroutines, one
// engine's in order; a slow callback slows the build.
type Event struct {
	Engine  string
	Phase   Phase
	Done    int // packages compiled by this build
	Total   int // packages this build has to compile
	Detail  string
	Elapsed time.Duration
}
