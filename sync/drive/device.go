package drive

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/volume"
)

// Mounted is the mounted file system that a tree lies on, and the device below it. It reports
// whether the drive is still there, and what an error of the kernel means on it.
type Mounted struct {
	mount    string
	top      *os.File // the mount point: for statfs, and for syncfs from before the first write
	fs       volume.Type
	sysfs    string   // of the block device, "" if there is none
	readOnly bool     // when it was opened
	probe    *os.File // a manifest copy, to see whether the medium can be read; nil before one was
}

// openMounted opens a mount point.
func openMounted(mount string) (*Mounted, error) {
	top, err := os.Open(mount)
	if err != nil {
		return nil, fmt.Errorf("opening the drive: %w", err)
	}
	d := &Mounted{mount: mount, top: top}
	if err := d.identify(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// identify learns what the tree lies on.
func (d *Mounted) identify() error {
	st, err := d.statfs()
	if err != nil {
		return err
	}
	d.fs = volume.OfMagic(uint32(st.Type))
	d.readOnly = int64(st.Flags)&unix.ST_RDONLY != 0
	d.sysfs = volume.BlockDevice(d.top)
	return nil
}

// close closes the mount point.
func (d *Mounted) close() error {
	var errs []error
	for _, f := range []*os.File{d.probe, d.top} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Mount returns the mount point that was opened.
func (d *Mounted) Mount() string { return d.mount }

// FSType returns the kind of file system.
func (d *Mounted) FSType() volume.Type { return d.fs }

// HasDevice reports whether the file system lies on a block device of its own.
func (d *Mounted) HasDevice() bool { return d.sysfs != "" }

// ReadOnly reports whether the drive was mounted read-only when it was opened.
func (d *Mounted) ReadOnly() bool { return d.readOnly }

// Top is the mount point, open since before the first write: for syncfs, which reports an error of
// writing to descriptors that were open when it happened.
func (d *Mounted) Top() *os.File { return d.top }

// Space asks the drive for its free space. On vfat the first call after mounting
// counts the whole FAT and can take a second.
func (d *Mounted) Space() (volume.Space, error) {
	st, err := d.statfs()
	if err != nil {
		return volume.Space{}, err
	}
	return volume.SpaceOf(&st), nil
}

func (d *Mounted) statfs() (unix.Statfs_t, error) {
	var st unix.Statfs_t
	err := unix.Fstatfs(int(d.top.Fd()), &st)
	if err != nil {
		err = fmt.Errorf("asking for the room of %q: %w", d.mount, err)
	}
	return st, err
}

// Present reports whether the drive is still there; where it is not, an absent
// file or an empty directory proves nothing. Its device is in sysfs, and
// the copy that could be read before can be read from the medium again (the
// first errors come before the kernel has taken the device out of sysfs). A
// drive without a device of its own (a directory on tmpfs, overlay, a network
// file system) is there while it answers.
func (d *Mounted) Present() bool {
	if d.sysfs == "" {
		_, err := d.statfs()
		return err == nil
	}
	if _, err := os.Lstat(d.sysfs); err != nil {
		return false
	}
	if d.probe == nil {
		return true
	}
	_, err := d.probe.ReadAt(AlignedBuffer()[:Alignment], 0)
	return !Failing(err)
}

// openProbe opens a manifest copy for later questions whether the drive is there.
func (d *Mounted) openProbe(root *os.Root, origin string) {
	if d.probe != nil || d.sysfs == "" {
		return
	}
	m, err := OpenMedium(root, path.Join(origin, layout.ManifestFile))
	if err != nil {
		return
	}
	if _, err := m.f.ReadAt(AlignedBuffer()[:Alignment], 0); err != nil || !m.direct {
		m.Close()
		return
	}
	d.probe = m.f
}

// Device is the path of the drive's block device ("/dev/sdb1"), "" if it has
// none or is gone.
func (d *Mounted) Device() string {
	if d.sysfs == "" {
		return ""
	}
	target, err := os.Readlink(d.sysfs)
	if err != nil {
		return ""
	}
	return "/dev/" + filepath.Base(target)
}

// Classify turns the kernel's answer into one of the errors above. The answer of the kernel is
// believed only while the device is there: on a drive that was pulled files are absent (vfat), and
// ext4 has been seen to answer that it is full.
func (d *Mounted) Classify(op, path string, err error) error {
	if err == nil || classified(err) {
		return err
	}
	switch {
	case fault.IsExhausted(err): // whether the drive is there cannot be told then, either
	case !d.Present():
		return &GoneError{Op: op, Path: path, Vanished: true, Err: fault.Bare(err)}
	case Failing(err):
		return &GoneError{Op: op, Path: path, Check: d.fs.RepairHint(d.Device()),
			Err: fault.Bare(err)}
	case errors.Is(err, syscall.EROFS):
		e := &ReadOnlyError{Op: op, Path: path, Turned: !d.readOnly, Err: fault.Bare(err)}
		if e.Turned {
			e.Check = d.fs.RepairHint(d.Device())
		}
		return e
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		space, _ := d.Space()
		return &SpaceError{Path: path, Free: space.Free, NoInodes: space.NoInodes}
	case errors.Is(err, syscall.EFBIG):
		return &LimitError{Path: path, Err: fault.Bare(err)}
	}
	return fmt.Errorf("%s %q: %w", op, path, fault.Bare(err))
}

// ClassifyName is Classify where a name is made: there, EINVAL and its kind are
// about the name.
func (d *Mounted) ClassifyName(op, path string, err error) error {
	for _, errno := range []syscall.Errno{syscall.EINVAL, syscall.EILSEQ, syscall.ENAMETOOLONG,
		syscall.EOVERFLOW} {
		if errors.Is(err, errno) && !classified(err) && d.Present() {
			return &NameError{Path: path, Reason: errno.Error(), Err: errno}
		}
	}
	return d.Classify(op, path, err)
}

// PullDamage is Classify for the steps before anything is written: an entry
// that cannot be read there, on a drive that is there, was left by a pull.
func (d *Mounted) PullDamage(op, path string, err error) error {
	err = d.Classify(op, path, err)
	var gone *GoneError
	var readOnly *ReadOnlyError
	switch {
	case errors.As(err, &gone) && !gone.Vanished:
		return &PullDamageError{Op: op, Path: path, Device: d.Device(), FS: d.fs, Err: gone.Err}
	case errors.As(err, &readOnly) && readOnly.Turned:
		return &PullDamageError{Op: op, Path: path, Device: d.Device(), FS: d.fs, Err: readOnly.Err}
	}
	return err
}

// awaitGone gives the kernel a second to take a device out of sysfs. It is for
// a name that was there a moment ago: when a drive is pulled the kernel forgets
// its names first, and looks in vain for them on the medium.
func (d *Mounted) awaitGone() {
	for range 100 {
		if !d.Present() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
