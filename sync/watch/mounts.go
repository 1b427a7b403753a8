package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountTable is this process's mount table.
const mountTable = "/proc/self/mountinfo"

// maxMountTable is far more than the kernel's limit of 100,000 mounts needs.
const maxMountTable = 64 << 20

// Mount is a line of the mount table.
type Mount struct {
	ID string // of the mount, as fdinfo names it (proc(5))
	// MAJOR:MINOR; 0:N where the file system has no block device of its own number (btrfs, tmpfs)
	Device string
	// what of the file system is mounted; "/" unless it is a bind mount or a subvolume
	Root     string
	Point    string // where
	Type     string // of the file system, as mount(8) calls it
	Source   string // what it is mounted from, in its own words
	ReadOnly bool   // the mount, or the file system below it
}

// Mounts reads the mount table of this process. A later line lies on top of an earlier one with the
// same Point.
func Mounts() ([]Mount, error) {
	f, err := os.Open(mountTable)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseMounts(f)
}

// ParseMounts reads lines as in /proc/PID/mountinfo. A line that is not one is an error.
func ParseMounts(r io.Reader) ([]Mount, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxMountTable+1))
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	if len(data) > maxMountTable {
		return nil, fmt.Errorf("read the mount table: more than %d bytes", maxMountTable)
	}
	var mounts []Mount
	for line := range strings.Lines(string(data)) {
		m, ok := parseMount(line)
		if !ok {
			return nil, fmt.Errorf("read the mount table: odd line %q", line)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parseMount reads one line. Optional fields end with a dash; the options of the file system may be
// missing.
func parseMount(line string) (Mount, bool) {
	fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(fields) < 9 {
		return Mount{}, false
	}
	dash := slices.Index(fields[6:], "-")
	if dash < 0 || len(fields) < 6+dash+3 {
		return Mount{}, false
	}
	tail := fields[6+dash+1:]
	m := Mount{ID: fields[0], Device: fields[2], Root: unescape(fields[3]),
		Point: unescape(fields[4]),
		Type:  unescape(tail[0]), Source: unescape(tail[1]),
		ReadOnly: hasOption(fields[5], "ro")}
	if len(tail) > 2 {
		m.ReadOnly = m.ReadOnly || hasOption(tail[2], "ro")
	}
	return m, true
}

func hasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

// unescape undoes what the kernel does to blanks, line ends, # and backslashes: \ooo, octal.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1], '3') && isOctal(s[i+2], '7') &&
			isOctal(s[i+3], '7') {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(c, highest byte) bool { return c >= '0' && c <= highest }

// MountChanges sends when the mount table of this process has changed, until ctx ends. Several
// changes may be one token.
//
// The descriptor is none of package os: the runtime's own poller would ask first, and the kernel
// tells each change once for a descriptor.
func MountChanges(ctx context.Context) (<-chan struct{}, error) {
	table, err := unix.Open(mountTable, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch the mount table: %w", err)
	}
	var end [2]int
	if err := unix.Pipe2(end[:], unix.O_CLOEXEC); err != nil {
		unix.Close(table)
		return nil, fmt.Errorf("watch the mount table: %w", err)
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer close(changes)
		pollChanges(table, end[0], changes)
		unix.Close(table)
		unix.Close(end[0])
	}()
	context.AfterFunc(ctx, func() { unix.Close(end[1]) }) // what ends the wait in poll
	return changes, nil
}

func pollChanges(table, end int, changes chan<- struct{}) {
	for {
		fds := []unix.PollFd{{Fd: int32(table), Events: unix.POLLPRI},
			{Fd: int32(end), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || fds[1].Revents != 0 || fds[0].Revents&unix.POLLNVAL != 0:
			return
		case fds[0].Revents != 0:
			touch(changes)
		}
	}
}
