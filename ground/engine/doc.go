// Package engine turns the pins in engines/ into programs: it compiles an
// upstream program from its Go module, keeps the result in the user's cache
// under a key of everything that went in, and makes Debian root file systems
// for the programs that Debian builds. Call Builder.Build, then Path for each
// program; Root for a Debian program. It starts none of them.
package engine
