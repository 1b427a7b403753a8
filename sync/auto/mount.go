package auto

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/volume"
	"pkgsneak/sync/watch"
)

// way is how a drive is mounted: not at all, or with a way of access.
type way uint8

const (
	away  way = iota // not mounted
	peek             // volume.Peek: to see whether it is ours
	read             // volume.Read
	write            // volume.Write
)

// access is the way of access of a drive that is mounted.
func (w way) access() volume.Access {
	return map[way]volume.Access{peek: volume.Peek, read: volume.Read, write: volume.Write}[w]
}

// privately holds for each mount: nothing on a foreign drive is a program, a device or another
// user's identity.
const privately = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// options are those of mount(2) for a file system and a way.
func options(fs volume.Type, w way) (flags uintptr, data string) {
	flags = privately
	if w != write {
		flags |= unix.MS_RDONLY
	}
	return flags, fs.MountData(w.access())
}

// station is the device and how it is mounted at the moment.
type station struct {
	sys    System
	dev    Device
	fstype volume.Type
	dir    string // where it is mounted when this program does it
	note   func(level Level, format string, args ...any)

	// state
	how      way
	borrowed *watch.Mount // somebody else's mount, which is used and left alone
	checked  bool         // fsck was run
}

// point is where the file system can be reached.
func (s *station) point() string {
	if s.borrowed != nil {
		return s.borrowed.Point
	}
	return s.dir
}

var errMountedReadOnly = errors.New("another program has mounted it read-only")

// need mounts the device in the way that is needed now. A mount of somebody else is used where
// there is one.
func (s *station) need(ctx context.Context, w way) error {
	if s.borrowed == nil && s.how == away {
		if err := s.borrow(); err != nil {
			return err
		}
	}
	if s.borrowed != nil {
		if w == write && s.borrowed.ReadOnly {
			return &drive.ReadOnlyError{Op: "export to", Path: s.borrowed.Point,
				Err: errMountedReadOnly}
		}
		return nil
	}
	if s.how != away && s.fstype.Interchangeable(s.how.access(), w.access()) {
		return nil
	}
	if err := s.leave(ctx); err != nil {
		return err
	}
	if w == write {
		if err := s.check(ctx); err != nil {
			return err
		}
	}
	return s.mount(ctx, w)
}

// borrow looks for a mount that somebody else made.
func (s *station) borrow() error {
	mounts, err := s.sys.Mounts()
	if err != nil {
		return err
	}
	for i := range mounts {
		m := &mounts[i]
		if !s.isMountOf(*m) || m.Point == s.dir {
			continue
		}
		if s.borrowed == nil || s.borrowed.ReadOnly && !m.ReadOnly {
			s.borrowed = m
		}
	}
	return nil
}

// isMountOf reports whether a mount shows the whole of the device. One with a number of its own is
// told by its source.
func (s *station) isMountOf(m watch.Mount) bool {
	if m.Device != s.dev.Number && !(volume.HasOwnNumbers(m.Type) && m.Source == s.dev.Path) {
		return false
	}
	return m.Root == "/"
}

func (s *station) mount(ctx context.Context, w way) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("mount %q: %w", s.dev.Path, err)
	}
	flags, data := options(s.fstype, w)
	err := s.sys.Mount(s.dev.Path, s.dir, s.fstype.String(), flags, data)
	if before := s.fstype.PeekBefore(); errors.Is(err, unix.EINVAL) && w == peek && before != "" {
		err = s.sys.Mount(s.dev.Path, s.dir, s.fstype.String(), flags, before)
	}
	if err == nil {
		s.how = w
		return nil
	}
	if err := s.cleanUp(); err != nil {
		return err
	}
	switch {
	case errors.Is(err, unix.EBUSY): // somebody was faster, and mounted it in another way
		if err := s.borrow(); err != nil {
			return err
		}
		if s.borrowed != nil {
			return s.need(ctx, w)
		}
	case w == write && (errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES)):
		return fmt.Errorf("mount %q for writing: is its write-protect switch on? %w",
			s.dev.Path, err)
	case errors.Is(err, unix.ENODEV) && s.sys.Present(s.dev):
		return fmt.Errorf("mount %q: this kernel has no %s: %w", s.dev.Path, s.fstype, errNoFS)
	}
	return fmt.Errorf("mount %q as %s: %w", s.dev.Path, s.fstype, err)
}

// errNoFS is not ENODEV, which would be taken for a drive that is gone.
var errNoFS = errors.New("file system not supported")

// check runs fsck before the drive is written to.
func (s *station) check(ctx context.Context) error {
	check := s.fstype.Check()
	if check == nil || s.checked {
		return nil
	}
	// A file system that is mounted must not be repaired: somebody may have been faster, and a
	// mount of ours that was only detached lives on while a program looks into it.
	held, err := s.sys.Hold(s.dev)
	if errors.Is(err, unix.EBUSY) {
		s.note(Warning, "%s is in use: it is not checked", s.dev.Path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("check %q: %w", s.dev.Path, err)
	}
	s.checked = true
	c := Command{Name: check[0], Args: append(slices.Clone(check[1:]), s.dev.Path)}
	out, code, err := s.sys.Run(ctx, c)
	if err == nil && code == 1 && s.fstype.CheckTwice() {
		first := out
		if out, code, err = s.sys.Run(ctx, c); code <= 1 {
			out, code = first, 1 // which repaired it
		}
	}
	held.Close()
	if err == nil && code > 1 && bytes.Contains(bytes.ToLower(out), []byte(unix.EBUSY.Error())) {
		// This one takes the device for itself alone (fsck.exfat does), and is as safe without us.
		out, code, err = s.sys.Run(ctx, c)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		s.note(Warning, "%s is not installed: %s is written to without a check", c.Name, s.dev.Path)
	case err != nil:
		s.note(Warning, "%s: %v", c.Name, err)
	case code == 1:
		s.note(Info, "%s repaired %s: %s", c.Name, s.dev.Path, lastLine(out))
	case code != 0:
		s.note(Warning, "%s ended with %d: %s", c.Name, code, lastLine(out))
	}
	return nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// How often and how long apart an unmount is tried while somebody looks into the mount.
const (
	unmountTries = 20
	unmountPause = 250 * time.Millisecond
)

// leave unmounts what was mounted here. A mount that stays busy is taken out of sight: it ends when
// the last one has left it.
func (s *station) leave(ctx context.Context) error {
	if s.how == away {
		return nil
	}
	for range unmountTries {
		if !s.sys.Present(s.dev) {
			break
		}
		err := s.sys.Unmount(s.dir, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			s.how = away
			return s.cleanUp()
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		select {
		case <-s.sys.After(unmountPause):
		case <-ctx.Done():
		}
	}
	s.how = away
	if err := s.sys.Unmount(s.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %q: %w", s.dir, err)
	}
	return s.cleanUp()
}

// cleanUp removes the directory that was mounted on; one that is not empty is none of ours.
func (s *station) cleanUp() error {
	if err := os.Remove(s.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the mount point: %w", err)
	}
	return nil
}

// sweep takes away what a run that was killed has left mounted below dir. The caller has the lock
// of the machine.
func sweep(sys System, dir string) error {
	mounts, err := sys.Mounts()
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- { // the last one lies on top
		point := mounts[i].Point
		if !strings.HasPrefix(point, strings.TrimSuffix(dir, "/")+"/") {
			continue
		}
		if err := sys.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %q, which an earlier run has left: %w", point, err)
		}
		if filepath.Dir(point) == filepath.Clean(dir) {
			_ = os.Remove(point) // an empty directory more does no harm
		}
	}
	return nil
}
