package main

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog reads the kernel's messages.
type kernelLog struct{ fd int }

func openKernelLog() *kernelLog {
	fd, err := unix.Open("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	return &kernelLog{fd}
}

// skip passes over the messages so far.
func (k *kernelLog) skip() { k.lines() }

// lines returns the warnings and errors since the last call.
func (k *kernelLog) lines() []string {
	var lines []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.Read(k.fd, buf)
		if err == unix.EPIPE {
			continue // overwritten meanwhile
		}
		if err != nil || n <= 0 {
			return lines
		}
		head, text, _ := strings.Cut(string(buf[:n]), ";")
		level, _, _ := strings.Cut(head, ",")
		text, _, _ = strings.Cut(text, "\n")
		if n, err := strconv.Atoi(level); err == nil && n&7 <= 4 && len(lines) < 50 {
			lines = append(lines, text)
		}
	}
}
