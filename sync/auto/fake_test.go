package auto

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/watch"
)

// stick is a drive, and the machine it is plugged into. Mounting makes the mount point a link to a
// directory, so that no root is needed.
type stick struct {
	dev   Device
	first []byte // sectors
	dir   string // what is on it

	mu        sync.Mutex
	gone      bool
	protected bool            // write-protect switch
	old       bool            // the kernel: without the mount options "rescue=..."
	others    []watch.Mount   // of other programs
	booting   int             // looks at a machine that is not ready
	busy      int             // unmounts that fail first
	detached  bool            // a mount out of sight lives on
	held      bool            // by hold
	selfish   bool            // fsck wants the device for itself alone
	faster    *watch.Mount    // somebody who mounts it in the moment before we do
	programs  map[string]int  // exit codes of those that are installed
	again     int             // exit code of fsck when it runs for the second time, if not 0
	mounted   map[string]bool // by us
	actions   []string
	stdin     []byte // of the hook
	tick      chan time.Time
}

func newStick(t *testing.T, fstype, label string) *stick {
	t.Helper()
	return &stick{dev: Device{Name: "sda1", Path: "/dev/sda1", Number: "8:1", Plug: "host0 7"},
		first: sectors(fstype, label), dir: t.TempDir(),
		programs: map[string]int{"fsck.vfat": 0,
			"fsck.exfat": 0}, mounted: map[string]bool{}, tick: make(chan time.Time)}
}

// sectors are the first ones of a file system, as far as Identify looks.
func sectors(fstype, label string) []byte {
	b := make([]byte, 128<<10)
	switch fstype {
	case "vfat":
		copy(b, "\xeb\x58\x90mkfs.fat\x00\x02\x01\x20\x00\x02\x00\x00\x00\x00\xf8")
		binary.LittleEndian.PutUint32(b[32:], 131072)
		binary.LittleEndian.PutUint32(b[36:], 1)
		binary.LittleEndian.PutUint32(b[44:], 2)
		b[66] = 0x29
		copy(b[71:], label+strings.Repeat(" ", 11-len(label)))
		copy(b[510:], []byte{0x55, 0xaa})
	case "iso9660":
		copy(b[32768:], "\x01CD001\x01")
		copy(b[32768+40:], label+strings.Repeat(" ", 32-len(label)))
	case "btrfs":
		copy(b[64<<10+64:], "_BHRfS_M")
		copy(b[64<<10+299:], label)
	case "ext4":
		binary.LittleEndian.PutUint16(b[1024+56:], 0xEF53)
		copy(b[1024+120:], label)
	}
	return b
}

func (s *stick) did(format string, args ...any) {
	s.actions = append(s.actions, fmt.Sprintf(format, args...))
}

func (s *stick) history() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.actions, "; ")
}

// pull takes the stick out, and lets time pass.
func (s *stick) pull() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	close(s.tick)
}

func (s *stick) system() System {
	return System{
		Find: func(name string) (Device, error) {
			if s.present() && (name == s.dev.Name || name == s.dev.Path) {
				return s.dev, nil
			}
			return Device{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
		},
		Present: func(d Device) bool { return s.present() && d == s.dev },
		Open: func(Device) (Reader, error) {
			return sectorReader{bytes.NewReader(s.first)}, nil
		},
		Free: func(Device) (bool, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.mounted) == 0 && len(s.others) == 0, nil
		},
		Hold: s.hold,
		Mounts: func() ([]watch.Mount, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return append([]watch.Mount{}, s.others...), nil
		},
		Mount:   s.mount,
		Unmount: s.unmount,
		Run:     s.run,
		Ready: func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.booting--
			return s.booting < 0
		},
		After: func(d time.Duration) <-chan time.Time {
			if d == pollEvery {
				return s.tick
			}
			now := make(chan time.Time, 1)
			now <- time.Time{}
			return now
		},
	}
}

// hold is refused while the stick is mounted, in sight or not.
func (s *stick) hold(Device) (io.Closer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mounted) > 0 || len(s.others) > 0 || s.detached {
		return nil, &fs.PathError{Op: "open", Path: s.dev.Path, Err: unix.EBUSY}
	}
	s.held = true
	return releasing{s}, nil
}

type releasing struct{ s *stick }

func (r releasing) Close() error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.held = false
	return nil
}

type sectorReader struct{ *bytes.Reader }

func (sectorReader) Close() error { return nil }

func (s *stick) present() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.gone
}

func (s *stick) mount(source, target, fstype string, flags uintptr, data string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if flags&privately != privately {
		return errors.New("the mount is not private")
	}
	if s.old && strings.HasPrefix(data, "rescue=") {
		return unix.EINVAL
	}
	if s.faster != nil {
		s.others, s.faster = append(s.others, *s.faster), nil
		return unix.EBUSY
	}
	mode := "rw"
	if flags&unix.MS_RDONLY != 0 {
		mode = "ro"
	}
	if s.protected && mode == "rw" {
		return unix.EACCES
	}
	if data == "noload" || strings.HasSuffix(data, "nologreplay") {
		mode += "," + data
	}
	s.did("mount %s", mode)
	if err := os.Remove(target); err != nil {
		return err
	}
	s.mounted[target] = true
	return os.Symlink(s.dir, target)
}

func (s *stick) unmount(target string, flags int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy > 0 && flags&unix.MNT_DETACH == 0 {
		s.busy--
		return unix.EBUSY
	}
	how := "unmount"
	if flags&unix.MNT_DETACH != 0 {
		how, s.detached = "detach", s.busy > 0
	}
	s.did("%s", how)
	for i, m := range s.others {
		if m.Point == target {
			s.others = append(s.others[:i], s.others[i+1:]...)
			return nil
		}
	}
	delete(s.mounted, target)
	if err := os.Remove(target); err != nil {
		return err
	}
	return os.Mkdir(target, 0o700)
}

func (s *stick) run(_ context.Context, c Command) ([]byte, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Name == "/bin/sh" {
		s.stdin = c.Stdin
		s.did("hook")
		return nil, s.programs["hook"], nil
	}
	code, ok := s.programs[c.Name]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", c.Name, exec.ErrNotFound)
	}
	if s.selfish && s.held {
		s.did("%s in vain", c.Name)
		return []byte("open failed: Device or resource busy\n"), 16, nil
	}
	if !s.selfish && !s.held {
		s.did("unprotected")
	}
	line := c.Name + " " + strings.Join(c.Args, " ")
	if s.again != 0 && slices.Contains(s.actions, line) {
		s.did("%s", line)
		return []byte("said again by " + c.Name + "\n"), s.again, nil
	}
	s.did("%s", line)
	return []byte("said by " + c.Name + "\n"), code, nil
}

// journal is what a run logged and told.
type journal struct {
	mu    sync.Mutex
	lines []string
	users []string
}

func (j *journal) log(_ Level, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, text)
}

func (j *journal) say(lines []string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.users = append(j.users, lines...)
	return nil
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func (j *journal) told() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.users, "\n")
}

var _ io.ReaderAt = sectorReader{}
