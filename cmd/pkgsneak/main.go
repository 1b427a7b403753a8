// Command pkgsneak carries Gentoo and Funtoo binary packages and distfiles over an air gap on a USB
// drive.
//
// This package is the command line: flags, settings, printing and exit codes. The packages below do
// the work; print.go prints, and the exit code is decided in exit.go. Everything a run takes from
// its process is a value of env, so that tests run the same code in their own process.
package main

import (
	"context"
	"os"
	"syscall"
)

// They are set by the linker (-X main.version=..., main.commit, main.commitTime); without them the
// build information of the module speaks.
var version, commit, commitTime string

func main() {
	// As emerge and emaint do: packages, index and the tree on a drive are read by others. A secret
	// file has a mode of its own.
	syscall.Umask(0o022)
	tuneMemory()
	tuneThreads()
	ctx, again, stop := untilSignal(context.Background())
	e := processEnv(build{version, commit, commitTime})
	e.again = again
	code := run(ctx, e, os.Args[1:])
	stop()
	os.Exit(code)
}
