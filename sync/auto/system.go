package auto

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/watch"
)

// Device is a block device at one time of being plugged in.
type Device struct {
	Name   string `json:"name"`   // of the kernel: sda1
	Path   string `json:"path"`   // /dev/sda1
	Number string `json:"number"` // MAJOR:MINOR
	// tells this plug from the next one of the same stick in the same socket
	Plug string `json:"-"`
}

// Reader is an opened device.
type Reader interface {
	io.ReaderAt
	io.Closer
}

// System is what a run needs of the machine below it, so that a test can be one.
type System struct {
	// Find looks a device up by its name or path. fs.ErrNotExist: it is not there (any more).
	Find func(name string) (Device, error)
	// Present reports whether that very device is still plugged in.
	Present func(Device) bool
	// Open opens a device for reading.
	Open func(Device) (Reader, error)
	// Free reports whether nobody has mounted the device, in any name space.
	Free func(Device) (bool, error)
	// Hold keeps everybody from mounting the device until it is closed. EBUSY means that it is
	// mounted somewhere, also where only a detached mount is left.
	Hold func(Device) (io.Closer, error)
	// Mounts reads the mount table.
	Mounts func() ([]watch.Mount, error)
	// Mount and Unmount are mount(2) and umount2(2).
	Mount   func(source, target, fstype string, flags uintptr, data string) error
	Unmount func(target string, flags int) error
	// Run runs a program and gives what it printed, capped, and its exit code; exec.ErrNotFound if
	// there is none of that name.
	Run func(ctx context.Context, c Command) (output []byte, code int, err error)
	// Ready reports whether the machine has mounted its own file systems: a drive that is plugged
	// in while it starts is found before that.
	Ready func() bool
	// After is time.After.
	After func(time.Duration) <-chan time.Time
}

// Command is a program to be run.
type Command struct {
	Name  string // looked for in PATH and where administrators' programs are
	Args  []string
	Stdin []byte
}

// maxOutput is how much of a program's output is kept, in bytes.
const maxOutput = 16 << 10

// Linux is the System of a machine.
func Linux() System {
	return System{
		Find: findDevice,
		Present: func(d Device) bool {
			plug, err := plugOf(d.Number)
			return err == nil && plug == d.Plug
		},
		Open:    func(d Device) (Reader, error) { return os.Open(d.Path) },
		Free:    isFree,
		Hold:    hold,
		Mounts:  watch.Mounts,
		Mount:   unix.Mount,
		Unmount: unix.Unmount,
		Run:     runCommand,
		Ready:   isReady,
		After:   time.After,
	}
}

// isReady asks in OpenRC's way; systemd starts the unit only then, and of others nothing
// is known.
func isReady() bool {
	if _, err := os.Stat("/run/openrc"); err != nil {
		return true
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return true
	}
	_, err := os.Stat("/run/openrc/started/localmount")
	return err == nil
}

// ErrNotDevice is returned for what is there and is no block device.
var ErrNotDevice = errors.New("not a block device")

// findDevice takes sda1, /dev/sda1 and links to it as in /dev/disk/by-label.
func findDevice(name string) (Device, error) {
	path := name
	if !strings.Contains(name, "/") {
		path = "/dev/" + name
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Device{}, fmt.Errorf("look for the device: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Device{}, fmt.Errorf("look for the device %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Device{}, fmt.Errorf("%q: %w", path, ErrNotDevice)
	}
	d := Device{Path: path, Name: filepath.Base(path),
		Number: fmt.Sprintf("%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))}
	if d.Plug, err = plugOf(d.Number); err != nil {
		return Device{}, fmt.Errorf("look for the device %q: %w", path, err)
	}
	return d, nil
}

// plugOf is where the device hangs in sysfs, which has the number of the host adapter that every
// plug counts up, and the kernel's own count of media (diskseq, since 5.15).
func plugOf(number string) (string, error) {
	entry := "/sys/dev/block/" + number
	where, err := os.Readlink(entry)
	if err != nil {
		return "", err
	}
	for _, file := range []string{"/diskseq", "/../diskseq"} { // of a disk, of a partition
		if seq, err := os.ReadFile(entry + file); err == nil {
			return where + " " + strings.TrimSpace(string(seq)), nil
		}
	}
	return where, nil
}

// hold opens the device exclusively, which the kernel refuses while it is mounted anywhere, as it
// refuses every mount from then on.
func hold(d Device) (io.Closer, error) {
	return os.OpenFile(d.Path, os.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
}

func isFree(d Device) (bool, error) {
	f, err := hold(d)
	if errors.Is(err, unix.EBUSY) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// lookPath finds a program, also where a PATH of udev does not lead.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || strings.Contains(name, "/") {
		return path, err
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin",
		"/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

// runCommand runs a program in a process group of its own, which is killed as a whole when ctx
// ends.
func runCommand(ctx context.Context, c Command) ([]byte, int, error) {
	path, err := lookPath(c.Name)
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Stdin = bytes.NewReader(c.Stdin)
	out := &head{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return out.kept, 0, context.Cause(ctx)
	case errors.As(err, &failed) && failed.Exited():
		return out.kept, failed.ExitCode(), nil
	}
	return out.kept, 0, err
}

// head keeps the beginning of what is written to it and drops the rest.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), maxOutput-len(h.kept))]...)
	return len(p), nil
}
