package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
	"pkgsneak/sync/watch"
)

func TestClassify(t *testing.T) {
	unknown := &manifest.UnknownKeyError{Signer: "AB"}
	signed := func(s trust.State) error {
		return &trust.Refusal{Origin: "a", Signer: trust.Signer{State: s, Key: "AB",
			UserID: "pkgsneak on a"}, Err: unknown}
	}
	asRoot := "as root"
	if os.Geteuid() == 0 {
		asRoot = "" // it is root already
	}
	tests := []struct {
		name string
		err  error
		code int
		hint string
	}{
		{"anything", errors.New("x"), 1, ""},
		{"wrong usage", usageErrorf("x"), 2, ""},
		{"own hint", withHint(errors.New("x"), "type %s", "y"), 1, "type y"},
		{"interrupted", fmt.Errorf("copy: %w", context.Canceled), 130, ""},
		{"interrupted export", &exporter.InterruptedError{Committed: payload.Tally{Files: 2},
			Total: 5}, 130, "2 of 5 files are committed"},
		{"interrupted before a commit", &exporter.InterruptedError{Lost: 2, Total: 5}, 130,
			"copies all files again"},
		{"interrupted before a file", &exporter.InterruptedError{Total: 5}, 130,
			"no file was complete"},
		{"no at the question", fault.ErrDeclined, 130, ""},
		{"no to a key", fault.ErrNotTrusted, 12, ""},
		{"nothing there", fmt.Errorf("export: %w",
			&exporter.NothingError{Notices: []string{"quickpkg it"}}), 1, "quickpkg it"},
		{"not mounted", &machine.NotMountedError{Drive: "/mnt/usb", Same: "/"}, 1,
			"--any-directory"},
		{"shrunk", &exporter.ShrinkError{Kind: payload.Package, Dir: "/p"}, 1, "--allow-shrink"},
		{"name taken", &exporter.NameTakenError{Name: "a"}, 1,
			"pkgsneak export /mnt/usb --name NAME"},
		{"older", &importer.OlderError{}, 13, "pkgsneak import /mnt/usb --allow-older"},
		{"fork", &importer.ForkError{}, 12, "number"},
		{"no such origin", &drive.NoOriginError{Name: "a", Have: []string{"b", "c"}}, 1,
			"the drive has b, c"},
		{"no room before the first byte", &volume.SpaceError{Where: "/p",
			Fits: payload.Tally{Files: 2, Bytes: 2048}}, 15, "free some space"},
		{"no inodes on the drive", fmt.Errorf("x: %w", &drive.SpaceError{NoInodes: true}), 15,
			"df -i /mnt/usb counts"},
		{"no room on the drive", fmt.Errorf("x: %w", &drive.SpaceError{}), 15, "free some space"},
		{"disk full", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 15,
			"free some space"},
		{"no more watches", &watch.LimitError{Sysctl: "fs.inotify.max_user_watches", Have: 5,
			Err: syscall.ENOSPC}, 1, "sysctl"},
		{"drive gone", &drive.GoneError{Vanished: true, Err: syscall.ENODEV}, 14,
			"run the same command again"},
		{"drive read-only", &drive.ReadOnlyError{}, 1, "remount,rw /mnt/usb"},
		{"damaged by a pull", &drive.PullDamageError{Device: "/dev/sdb1", FS: volume.VFAT,
			Err: syscall.EIO}, 14, "fsck.vfat -a /dev/sdb1"},
		{"drive is failing",
			&drive.GoneError{Check: "umount it; fsck.vfat -a /dev/sdb1; mount it again",
				Err: syscall.EIO}, 14, "fsck.vfat -a /dev/sdb1"},
		{"turned read-only", &drive.ReadOnlyError{Turned: true,
			Check: "umount it; fsck.vfat -a /dev/sdb1; mount it again"}, 14,
			"fsck.vfat -a /dev/sdb1"},
		{"record is damaged", &drive.DamagedError{Path: "generation/1.json",
			Reason: "it is missing"}, 14, "pkgsneak export /mnt/usb"},
		{"list of something else", &layout.ListError{Reason: "it has no record"}, 12, ""},
		{"drive lies", &drive.ReadBackError{}, 14, "do not use this drive"},
		{"no tree", fmt.Errorf("import: %w", drive.ErrNoTree), 10, "pkgsneak export /mnt/usb"},
		{"nothing is mounted", &drive.EmptyMountError{Drive: "/mnt/usb",
			Err: drive.ErrNoTree}, 10, "mount"},
		{"locked", fmt.Errorf("x: %w", durable.ErrLocked), 11, "--lock-wait"},
		{"unknown key", signed(trust.Unknown), 12, "pkgsneak trust /mnt/usb"},
		{"unknown key alone", unknown, 12, "pkgsneak trust /mnt/usb"},
		{"retired key", signed(trust.Retired), 12, "pkgsneak trust /mnt/usb --fingerprint AB"},
		{"revoked key", signed(trust.Revoked), 12,
			"pkgsneak export /mnt/usb, and before it pkgsneak key rotate --revoke"},
		{"key that is not wanted", signed(trust.Never), 12,
			"pkgsneak trust /mnt/usb --fingerprint AB"},
		{"own key of another user", signed(trust.MineHidden), 12,
			"as root: pkgsneak status /mnt/usb"},
		{"own key that is damaged", signed(trust.MineDamaged), 12, "pkgsneak status"},
		{"signature that is wrong", &trust.Refusal{Origin: "a",
			Err: &manifest.SignatureError{Reason: "x"}}, 12, "pkgsneak export /mnt/usb"},
		{"bad signature", &manifest.SignatureError{Reason: "x"}, 12, ""},
		{"nothing signed", manifest.ErrNotSigned, 12, ""},
		{"expired key", &manifest.KeyError{Reason: "expired"}, 12,
			"if this machine's clock is right, on the build host: pkgsneak key rotate"},
		{"new key", signed(trust.Successor), 12, "pkgsneak import /mnt/usb --accept-rotation"},
		{"from the future", &importer.FutureError{}, 12,
			"pkgsneak import /mnt/usb --accept-future"},
		{"too old", &importer.StaleError{}, 13, "--max-age"},
		{"permission", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 1, asRoot},
		{"read-only place", &fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS}, 1,
			"mount that file system read-write"},
	}
	known := map[int]bool{}
	for _, m := range exitMeanings {
		known[m.code] = true
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := classify(fmt.Errorf("outer: %w", tt.err), "/mnt/usb")
			if f.code != tt.code || f.message == "" {
				t.Errorf("code %d, message %q; want code %d", f.code, f.message, tt.code)
			}
			if !known[f.code] {
				t.Errorf("code %d is not in exitMeanings", f.code)
			}
			if hints := strings.Join(f.hints, "\n"); !strings.Contains(hints, tt.hint) ||
				tt.hint == "" && hints != "" {
				t.Errorf("hints %q, want %q", hints, tt.hint)
			}
		})
	}
}

func TestTheWorstCodeOfSeveralOrigins(t *testing.T) {
	order := []int{130, 14, 15, 1, 12, 13, 11, 3, 0}
	for i, a := range order {
		for _, b := range order[i:] {
			if worse(a, b) != a || worse(b, a) != a {
				t.Errorf("of %d and %d: %d and %d", a, b, worse(a, b), worse(b, a))
			}
		}
	}
	for _, m := range exitMeanings {
		if worse(m.code, exitDone) != m.code {
			t.Errorf("of %d and 0: %d", m.code, worse(m.code, exitDone))
		}
	}
	err := &importer.RefusedError{Refused: []importer.Refused{{Err: &importer.OlderError{}},
		{Err: &drive.DamagedError{}}, {Err: &manifest.SignatureError{}}}}
	if f := classify(fmt.Errorf("outer: %w", err), "/mnt/usb"); f.code != 14 || len(f.hints) != 2 {
		t.Errorf("none accepted: %+v", f)
	}
}

// Each class has its row, and each exit code but those of outcomes is reached by one.
func TestAnswers(t *testing.T) {
	codes := map[int]bool{exitDone: true, exitLeftOut: true, exitFound: true}
	for _, class := range fault.Classes {
		row, ok := answers[class]
		if !ok {
			t.Errorf("class %q has no row", class)
		}
		codes[row.code] = true
	}
	if len(answers) != len(fault.Classes) {
		t.Errorf("%d rows for %d classes", len(answers), len(fault.Classes))
	}
	for _, m := range exitMeanings {
		if !codes[m.code] {
			t.Errorf("nothing ends with %d", m.code)
		}
	}
}

// A full disk is told with what would fit, and a path with a control character can be pasted.
func TestClassifyWords(t *testing.T) {
	f := classify(&volume.SpaceError{Where: "/p", Need: 4096, Free: 2048,
		Fits: payload.Tally{Files: 2, Bytes: 2048}}, "")
	if want := `not enough space in "/p": 4.0 KiB (4096 bytes) needed, 2.0 KiB (2048 bytes) free; 2 files, 2.0 KiB would fit`; f.message != want {
		t.Errorf("%s\nwant %s", f.message, want)
	}
	f = classify(drive.ErrNoTree, "/mnt/a\nb")
	if want := []string{`on the build host: pkgsneak export $'/mnt/a\012b'`}; !slices.Equal(f.hints,
		want) {
		t.Errorf("%q, want %q", f.hints, want)
	}
	if f = classify(drive.ErrNoTree, ""); !slices.Equal(f.hints,
		[]string{"on the build host: pkgsneak export DRIVE"}) {
		t.Errorf("%q", f.hints)
	}
}
