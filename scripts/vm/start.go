package vm

import (
	"os/exec"
	"runtime"
)

// startLocked starts a program that the kernel kills when its parent dies. The
// parent is the thread that starts it, so that thread must live as long as the
// process: it is one that does nothing else.
func startLocked(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- cmd.Start()
		select {}
	}()
	return <-started
}
