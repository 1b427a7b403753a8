package roundtrip

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/state"
)

// fullAfter lets a machine's state directory be full from the moment on at which a change happens.
func fullAfter(m machine.Machine, happens func(c durable.Change) bool) machine.Machine {
	var full atomic.Bool
	m.Hook = func(c durable.Change) error {
		if full.Load() && c.Root == m.StateDir && c.Op == durable.OpWrite {
			return &os.PathError{Op: "write", Path: filepath.Join(c.Root, c.Name),
				Err: syscall.ENOSPC}
		}
		if happens(c) {
			full.Store(true)
		}
		return nil
	}
	return m
}

// Where the state directory is full when everything else is done, the error tells what is done, and
// what is not, and the same command goes on from there.
func TestStateDirectoryIsFullInTheEnd(t *testing.T) {
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	write(t, filepath.Join(host.DISTDIR, "a.tar"), "a")
	rebuild(t, filepath.Join(host.PKGDIR, turned))
	host.Now = func() time.Time { return epoch.Add(time.Hour) }

	check := func(err error, done string) {
		t.Helper()
		var unsaved *state.UnsavedError
		if !errors.As(err, &unsaved) || !errors.Is(err, syscall.ENOSPC) ||
			fault.Of(err) != fault.Space || !strings.Contains(err.Error(), done) ||
			strings.Contains(err.Error(), "on the drive (") {
			t.Fatalf("%v (class %v), want %q", err, fault.Of(err), done)
		}
		if hints := fault.Hints(err, "DRIVE"); len(hints) != 1 ||
			!strings.Contains(hints[0], "state directory") {
			t.Errorf("hints: %q", hints)
		}
	}
	full := fullAfter(host, func(c durable.Change) bool {
		return strings.HasPrefix(c.Root, mount) && filepath.Base(c.Name) == "Manifest" &&
			c.Op == durable.OpFsync
	})
	_, err := exporter.Export(t.Context(), full, exporter.ExportOptions{Drive: mount,
		AnyDirectory: true}, nil)
	check(err, "is on the drive")
	if r := mustExport(t, host, exporter.ExportOptions{Drive: mount}); !r.Unchanged {
		t.Errorf("not committed: %+v", r)
	}

	full = fullAfter(client, func(c durable.Change) bool {
		return c.Op == durable.OpRename && c.To == turned
	})
	_, err = importer.Import(t.Context(), full, importer.ImportOptions{Drive: mount,
		NoDistfiles: true}, nil)
	check(err, "are in their places")
	r := mustImport(t, client, importer.ImportOptions{Drive: mount})
	if got := files(t, client.PKGDIR); got[turned] != files(t, host.PKGDIR)[turned] {
		t.Error("the package is not there")
	}
	if o := r.Origins[0]; len(o.Copied) != 1 || o.Copied[0].Path != "a.tar" ||
		len(o.Plan.Beside) > 0 {
		t.Errorf("afterwards: %+v", o.Copied)
	}
}
