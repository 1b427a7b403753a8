package drive

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
)

// A drive is taken for neither gone nor damaged where this machine had no descriptors or memory
// left to look at it.
func TestExhausted(t *testing.T) {
	t.Parallel()
	d, err := Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, sysfs := range []string{"", filepath.Join(t.TempDir(), "8:17")} {
		d.sysfs = sysfs
		for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
			err := d.Classify("opening", "x", &fs.PathError{Op: "openat", Path: "x", Err: errno})
			if fault.Of(err) != fault.Exhausted || !Unanswered(err) || classified(err) {
				t.Errorf("%v with a device %q: %v is %q", errno, sysfs, err, fault.Of(err))
			}
		}
	}
}

// The copy of a manifest that could not be looked at may be the newer one: an export that went on
// with the other one would take its files for leftovers.
func TestACopyThatCannotBeLookedAt(t *testing.T) {
	t.Parallel()
	signed := func([]byte) (*manifest.Signed, error) {
		return &manifest.Signed{List: manifest.List{Timestamp: time.Unix(7, 0)}}, nil
	}
	any := func(*manifest.Signed) error { return nil }
	valid := ManifestCopy{Text: []byte("x")}
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		unseen := ManifestCopy{State: CopyState{Err: errno}}
		for _, copies := range [][2]ManifestCopy{{valid, unseen}, {unseen, valid}} {
			if _, _, err := newerOf(copies[0], copies[1], signed, any); !errors.Is(err, errno) {
				t.Errorf("%v: the other one was taken: %v", errno, err)
			}
		}
	}
	torn := ManifestCopy{State: CopyState{Err: syscall.EIO}}
	if best, _, err := newerOf(torn, valid, signed, any); err != nil || best.Signed == nil {
		t.Errorf("a copy that is damaged hides the other one: %v", err)
	}
}
