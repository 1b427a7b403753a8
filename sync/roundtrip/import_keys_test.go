package roundtrip

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/state"
)

// withKey gives a host's signing key and its open state.
func withKey(t *testing.T, host machine.Machine) (*state.Dir, *manifest.PrivateKey) {
	t.Helper()
	st, err := state.Open(t.Context(), host.StateDir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	key, err := st.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return st, key
}

// trusts lists the keys that a machine trusts and that are not revoked.
func trusts(t *testing.T, m machine.Machine) map[manifest.Fingerprint]bool {
	t.Helper()
	st, err := state.Open(t.Context(), m.StateDir, state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ring, err := st.Trusted()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[manifest.Fingerprint]bool)
	for _, key := range ring {
		found[key.Fingerprint()] = !key.Revoked()
	}
	return found
}

func TestARevocationIsRememberedOnTheNextDrive(t *testing.T) {
	host, client, clean := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: clean})
	trustEach(t, client, host)
	told := t.TempDir()
	if err := os.CopyFS(told, os.DirFS(clean)); err != nil {
		t.Fatal(err)
	}
	_, key := withKey(t, host)
	revoked, err := key.Revoked(epoch)
	if err != nil {
		t.Fatal(err)
	}
	fpr := key.Public().Fingerprint()
	write(t, filepath.Join(told, layout.TreeDir, layout.KeyFile(fpr)),
		string(revoked.Public().Armor()))
	for _, mount := range []string{told, clean} {
		if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: mount},
			nil); !errors.Is(err, manifest.ErrUntrusted) {
			t.Fatalf("the key is revoked, and: %v", err)
		}
		if trusts(t, client)[fpr] {
			t.Error("the revocation is not remembered")
		}
	}
	if len(files(t, client.PKGDIR)) > 0 {
		t.Error("something was imported")
	}
}

// The revocation of a key needs no room for a generation of the one that follows it.
func TestARevocationIsOnADriveThatIsTooFull(t *testing.T) {
	t.Parallel()
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	first := filepath.Join(host.DISTDIR, "first.tar")
	write(t, first, "it has left when the next key signs, so that nothing of it is taken over")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	st, old := withKey(t, host)
	revoked, err := old.Revoked(epoch)
	if err != nil {
		t.Fatal(err)
	}
	next, err := manifest.GenerateKey("the next", epoch)
	if err = errors.Join(err, st.ReplaceSigningKey(next), st.SaveRetired(revoked),
		st.Close()); err != nil {
		t.Fatal(err)
	}
	sparse := filepath.Join(host.DISTDIR, "sparse.tar")
	write(t, sparse, "")
	if err := errors.Join(os.Truncate(sparse, 1<<43), os.Remove(first)); err != nil {
		t.Fatal(err)
	}
	o := exporter.ExportOptions{Drive: mount, AnyDirectory: true, Pretend: true}
	for _, o.Pretend = range []bool{true, false} {
		_, err := exporter.Export(t.Context(), host, o, nil)
		var room *exporter.CrowdedError
		if !errors.As(err, &room) && !o.Pretend || fault.Of(err) != fault.Space {
			t.Fatalf("pretend %t: %v", o.Pretend, err)
		}
		if o.Pretend {
			continue
		}
		if !slices.Equal(room.Revoked, []manifest.Fingerprint{old.Public().Fingerprint()}) ||
			!strings.Contains(err.Error(), "is revoked is on the drive") {
			t.Errorf("told of %v: %v", room.Revoked, err)
		}
		if hints := room.Hints("/mnt"); !strings.HasPrefix(hints[0],
			"pkgsneak forget host /mnt frees ") {
			t.Errorf("hints %q", hints)
		}
	}
	if got := serials(t, mount, "host"); len(got) != 1 {
		t.Errorf("generations: %v", got)
	}
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: mount},
		nil); !errors.Is(err, manifest.ErrUntrusted) {
		t.Errorf("the key is revoked, and: %v", err)
	}
	if trusts(t, client)[old.Public().Fingerprint()] {
		t.Error("the revocation is not remembered")
	}
}

func TestASuccessorIsTrustedOnceTheImportIsCertain(t *testing.T) {
	host, client, mount := newMachine(t, "host", epoch), newMachine(t, "client", epoch), t.TempDir()
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	stale := t.TempDir()
	if err := os.CopyFS(stale, os.DirFS(mount)); err != nil {
		t.Fatal(err)
	}

	st, old := withKey(t, host)
	next, err := manifest.GenerateKey("the next", epoch)
	if err == nil {
		next, err = next.IntroducedBy(old, epoch)
	}
	if err == nil {
		err = st.ReplaceSigningKey(next)
	}
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	rebuild(t, filepath.Join(host.PKGDIR, "app-misc/labhello-1.0-r2.tbz2"))
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	before, after := old.Public().Fingerprint(), next.Public().Fingerprint()

	// Neither a look nor a plan that is declined changes who is trusted.
	mustImport(t, client, importer.ImportOptions{Drive: mount, AcceptRotation: true, Pretend: true})
	no := func([]*importer.ImportPlan) (bool, error) { return false, nil }
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: mount,
		AcceptRotation: true, Confirm: no}, nil); !errors.Is(err, fault.ErrDeclined) {
		t.Errorf("declined: %v", err)
	}
	if got := trusts(t, client); !got[before] || got[after] {
		t.Fatalf("trusted before the import was certain: %v", got)
	}

	r := mustImport(t, client, importer.ImportOptions{Drive: mount, AcceptRotation: true})
	if got := trusts(t, client); got[before] || !got[after] {
		t.Errorf("trusted: %v, want the new key alone", got)
	}
	if o := r.Origins[0]; len(o.Plan.Replace) != 1 || len(o.Plan.Beside) > 0 {
		t.Errorf("what came under the old key is not the origin's any more: %+v", o.Plan)
	}
	if _, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: stale},
		nil); !errors.Is(err, manifest.ErrUntrusted) {
		t.Errorf("signed by the old key: %v", err)
	}
	settled(t, client, importer.ImportOptions{Drive: mount, Prune: true})
}

// A host that had lost its key goes on with it, from a copy: the old key's origin beside that of
// the interim key is no leavings any more.
func TestAKeyThatCameBackIsTold(t *testing.T) {
	host, interim := newMachine(t, "host", epoch), newMachine(t, "host", epoch.Add(time.Hour))
	client, mount := newMachine(t, "client", epoch), t.TempDir()
	interim.PKGDIR, interim.DISTDIR = host.PKGDIR, host.DISTDIR
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	trustEach(t, client, host)
	mustImport(t, client, importer.ImportOptions{Drive: mount})
	mustExport(t, interim, exporter.ExportOptions{Drive: mount})
	opened, old := withKey(t, host)
	_, next := withKey(t, interim)
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	before, after := old.Public().Fingerprint(), next.Public().Fingerprint()
	st, err := state.Open(t.Context(), client.StateDir, state.Options{})
	if err == nil {
		err = errors.Join(state.Replace(st, before, next.Public(), epoch), st.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := mustImport(t, client, importer.ImportOptions{Drive: mount}); len(r.Refused) > 0 {
		t.Errorf("what the lost key left: %v", r.Refused)
	}

	host.Now = func() time.Time { return epoch.Add(2 * time.Hour) }
	rebuild(t, filepath.Join(host.PKGDIR, "app-misc/labhello-1.0-r2.tbz2"))
	mustExport(t, host, exporter.ExportOptions{Drive: mount})
	r, err := importer.Import(t.Context(), client, importer.ImportOptions{Drive: mount}, nil)
	if err != nil || len(r.Refused) != 1 || fault.Of(r.Refused[0].Err) != fault.Untrusted {
		t.Fatalf("%v, refused: %v", err, r.Refused)
	}
	want := "--fingerprint " + string(before) + " --replaces " + string(after)
	if hints := fault.Hints(r.Refused[0].Err, "DRIVE"); len(hints) == 0 ||
		!strings.HasSuffix(hints[0], want) {
		t.Errorf("hints: %q, want %s", hints, want)
	}
}
