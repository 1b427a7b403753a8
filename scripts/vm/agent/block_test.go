package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A signal to the thread that waits for a device does not come through: it is pending for the
// kernel, and the wait goes on.
func TestWaitWithoutSignals(t *testing.T) {
	var ends, tid = make(chan error, 1), make(chan int, 1)
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	go func() {
		ends <- withoutSignals(func() error {
			tid <- unix.Gettid()
			fds := []unix.PollFd{{Fd: int32(pipe[0]), Events: unix.POLLIN}}
			_, err := unix.Poll(fds, -1) // is EINTR where a signal comes
			return err
		})
	}()
	thread := <-tid
	status := func(want string) bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", thread))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), want)
	}
	for until := time.Now().Add(time.Minute); !status("State:\tS"); {
		if time.Now().After(until) {
			t.Fatal("the thread does not wait")
		}
	}
	for _, signal := range []unix.Signal{unix.SIGURG, unix.SIGCHLD} {
		if err := unix.Tgkill(os.Getpid(), thread, signal); err != nil {
			t.Fatal(err)
		}
	}
	if !status("SigPnd:\t0000000000410000") { // bits 17 and 23, from 1
		t.Error("the signals are not held back")
	}
	if err := unix.Close(pipe[1]); err != nil {
		t.Fatal(err)
	}
	if err := <-ends; err != nil {
		t.Errorf("the wait ended with %v", err)
	}
}
