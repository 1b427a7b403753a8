package drive

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pkgsneak/sync/volume"
)

// Each kind of trouble with a drive gets one error, and the kernel's own words are
// believed only while the device is there.
func TestExplain(t *testing.T) {
	t.Parallel()
	there, err := Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	away, err := Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	away.sysfs = filepath.Join(t.TempDir(), "8:17") // a device that sysfs does not have

	type verdict struct {
		gone, vanished, readOnly, space, limit, name, absent bool
		// it names the commands that repair a file system
		check bool
	}
	judge := func(err error) (v verdict) {
		var gone *GoneError
		var readOnly *ReadOnlyError
		var space *SpaceError
		var limit *LimitError
		var name *NameError
		v.gone = errors.As(err, &gone)
		v.vanished = v.gone && gone.Vanished
		v.readOnly = errors.As(err, &readOnly) && readOnly.Turned
		v.space, v.limit, v.name = errors.As(err, &space), errors.As(err,
			&limit), errors.As(err, &name)
		v.absent = errors.Is(err, fs.ErrNotExist) && !v.gone
		v.check = v.gone && strings.Contains(gone.Check, "fsck ") || v.readOnly &&
			strings.Contains(readOnly.Check, "fsck ")
		return v
	}
	for _, row := range []struct {
		errno       syscall.Errno
		there, away verdict
	}{
		{syscall.EIO, verdict{gone: true, check: true}, verdict{gone: true, vanished: true}},
		{syscall.ENODEV, verdict{gone: true, check: true}, verdict{gone: true, vanished: true}},
		{syscall.ENXIO, verdict{gone: true, check: true}, verdict{gone: true, vanished: true}},
		{syscall.EUCLEAN, verdict{gone: true, check: true}, verdict{gone: true, vanished: true}},
		{syscall.EBADMSG, verdict{gone: true, check: true}, verdict{gone: true, vanished: true}},
		{syscall.ENOENT, verdict{absent: true}, verdict{gone: true, vanished: true}},
		{syscall.EROFS, verdict{readOnly: true, check: true}, verdict{gone: true, vanished: true}},
		{syscall.ENOSPC, verdict{space: true}, verdict{gone: true, vanished: true}},
		{syscall.EFBIG, verdict{limit: true}, verdict{gone: true, vanished: true}},
		{syscall.EINVAL, verdict{name: true}, verdict{gone: true, vanished: true}},
		{syscall.EILSEQ, verdict{name: true}, verdict{gone: true, vanished: true}},
		{syscall.EOVERFLOW, verdict{name: true}, verdict{gone: true, vanished: true}},
		{syscall.ENAMETOOLONG, verdict{name: true}, verdict{gone: true, vanished: true}},
		{syscall.EACCES, verdict{}, verdict{gone: true, vanished: true}},
	} {
		cause := &fs.PathError{Op: "openat", Path: "x", Err: row.errno}
		for d, want := range map[*Drive]verdict{there: row.there, away: row.away} {
			err := d.ClassifyName("making", "some file", cause)
			if got := judge(err); got != want {
				t.Errorf("%v: %v is %+v, want %+v", row.errno, err, got, want)
			}
			if !errors.Is(err, row.errno) || strings.Contains(err.Error(), "openat") ||
				!strings.Contains(err.Error(), `"some file"`) {
				t.Errorf("%v: %v", row.errno, err)
			}
			if again := d.Classify("doing", "another", fmt.Errorf("wrapped: %w",
				err)); !(row.errno == syscall.EACCES && d == there) && judge(again) != judge(err) {
				t.Errorf("%v: explained twice: %v", row.errno, again)
			}
		}
	}

	there.fs = volume.VFAT
	var pulled *PullDamageError
	if err := there.PullDamage("reading", "x", syscall.EIO); !errors.As(err, &pulled) ||
		!strings.Contains(pulled.Hint(), "fsck.vfat -a") {
		t.Errorf("unreadable on a drive that is there: %v", err)
	}
	if err := away.PullDamage("reading", "x", syscall.EIO); errors.As(err, &pulled) {
		t.Errorf("unreadable on a drive that is away: %v", err)
	}
	if _, err := away.Origins(); err == nil {
		t.Error("an empty directory of a drive that is away was believed")
	}
}

// The messages that a user reads: one sentence for each trouble, with the file in it.
func TestWords(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		err  error
		want string
	}{
		{&GoneError{Op: "writing", Path: "a", Err: syscall.EIO},
			`writing "a": the drive is failing: input/output error`},
		{&GoneError{Op: "writing", Path: "a", Vanished: true, Err: syscall.ENODEV},
			`writing "a": the drive is gone, or does not answer: no such device`},
		{&ReadOnlyError{Op: "making", Path: "a"}, `making "a": the drive is mounted read-only`},
		{&ReadOnlyError{Op: "making", Path: "a", Turned: true},
			`making "a": the drive has turned read-only (the kernel found damage on it)`},
		{&SpaceError{Path: "a", Free: 5, NoInodes: true},
			`writing "a": no inodes left on the drive, so that no file can be made (5 bytes free)`},
		{&SpaceError{Path: "a", Free: 5}, `writing "a": no space left on the drive (5 bytes free)`},
		{&SpaceError{Path: "a", Need: 7, Free: 5}, `no space on the drive: 7 bytes needed, 5 free`},
		{&LimitError{Path: "a", Err: syscall.EFBIG},
			`writing "a": too big for the drive's file system: file too large`},
		{&NameError{Path: "a?", Reason: "invalid argument"},
			`the drive cannot store the name "a?": invalid argument`},
		{&PullDamageError{Op: "reading", Path: "a", Err: syscall.EIO},
			`reading "a": unreadable, most likely damaged when the drive was pulled: input/output error`},
		{&DamagedError{Path: "a", Reason: "too short"}, `reading "a": too short`},
		{&ReadBackError{Path: "a", Offset: 65536, Reason: "other bytes"},
			`reading back "a": other bytes from byte 65536 on; most likely the drive is failing`},
		{&ReadBackError{Path: "a", Offset: -1, Old: true, Reason: "other bytes"},
			`reading back "a": other bytes; most likely the drive is failing, or smaller than it says: later files destroyed earlier ones`},
		{&ReadBackError{Path: "a", Offset: 0, Probe: true, Reason: "other bytes"},
			`reading back "a": other bytes from byte 0 on; most likely the drive claims more than it has`},
	} {
		if got := row.err.Error(); got != row.want {
			t.Errorf("%T says %s, want %s", row.err, got, row.want)
		}
	}
	for kind, want := range map[volume.Type]string{
		volume.VFAT:  "fsck.vfat -a /dev/sdb1; fsck.vfat -a /dev/sdb1",
		volume.ExFAT: "fsck.exfat -p /dev/sdb1",
		volume.Ext4:  "e2fsck -p /dev/sdb1",
		volume.XFS:   "xfs_repair /dev/sdb1", volume.Btrfs: "btrfs check /dev/sdb1",
		volume.Unknown: "fsck /dev/sdb1",
	} {
		if got := (&PullDamageError{Device: "/dev/sdb1",
			FS: kind}).Hint(); got != "umount it; "+want+"; mount it again" {
			t.Errorf("%v: %s", kind, got)
		}
	}
}

func TestSpaceNeed(t *testing.T) {
	t.Parallel()
	s := volume.Space{Free: 1, Total: 2, Cluster: 4096}
	if got := s.Need(0, 1, 4096, 4097, 1<<40); got != 0+4096+4096+8192+1<<40 {
		t.Error(got)
	}
	d, err := Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	room, err := d.Space()
	if err != nil || room.Free <= 0 || room.Total < room.Free || room.Cluster <= 0 {
		t.Errorf("%+v %v", room, err)
	}
}
