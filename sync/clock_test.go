package sync

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
)

// A clock that is further ahead than anything explains is refused before anything is written: one such export would make the clients refuse each honest one after it.
func TestClockFarAhead(t *testing.T) {
	const day = 24 * time.Hour
	year := func(n int) time.Time { return epoch.AddDate(n, 0, 0) }
	for name, row := range map[string]struct {
		prepare func(t *testing.T, m *Machine)
		now     time.Time
		from    string // "": accepted
	}{
		"a program that tells nothing, first export": {func(*testing.T, *Machine) {}, year(24), ""},
		"since the build of the program":             {func(_ *testing.T, m *Machine) { m.Built = epoch }, epoch.Add(maxAhead), ""},
		"a second later":                             {func(_ *testing.T, m *Machine) { m.Built = epoch }, epoch.Add(maxAhead + time.Second), "when this program was built"},
		"since the last export": {func(t *testing.T, m *Machine) {
			mustExport(t, *m, ExportOptions{Drive: t.TempDir()})
		}, epoch.Add(maxAhead + day), "the last export"},
		"a file from before the start": {func(t *testing.T, m *Machine) {
			m.Built, m.Booted = year(-3), year(24).Add(-time.Hour)
			touch(t, filepath.Join(m.DISTDIR, "a.tar"), year(0))
		}, year(24), "the newest file from before this machine was started"},
		"a file from before the start, that explains it": {func(t *testing.T, m *Machine) {
			m.Built, m.Booted = year(-3), epoch.Add(-time.Hour)
			touch(t, filepath.Join(m.DISTDIR, "a.tar"), epoch.Add(-2*time.Hour))
		}, epoch, ""},
		"a file since the start tells nothing": {func(t *testing.T, m *Machine) {
			m.Built, m.Booted = year(-3), epoch.Add(-time.Hour)
			touch(t, filepath.Join(m.DISTDIR, "a.tar"), epoch)
		}, epoch, "when this program was built"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, path := machine(t, "host", epoch), t.TempDir()
			write(t, filepath.Join(host.DISTDIR, "a.tar"), "a\n")
			touch(t, filepath.Join(host.DISTDIR, "a.tar"), year(-3))
			row.prepare(t, &host)
			host.Now = func() time.Time { return row.now }
			_, err := Export(t.Context(), host, ExportOptions{Drive: path, AnyDirectory: true}, nil)
			var clock *ClockError
			if row.from == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.As(err, &clock) || clock.From != row.from || fault.Of(err) != fault.Failed {
				t.Fatalf("%v, want %q", err, row.from)
			}
			if left := files(t, path); len(left) > 0 {
				t.Errorf("written: %v", left)
			}
			if hints := strings.Join(clock.Hints("DRIVE"), " "); !strings.Contains(hints, "--accept-clock") || !strings.Contains(hints, "key renew") {
				t.Errorf("hints: %s", hints)
			}
			mustExport(t, host, ExportOptions{Drive: path, AcceptClock: true})
		})
	}
}

func touch(t *testing.T, name string, when time.Time) {
	t.Helper()
	if err := os.Chtimes(name, when, when); err != nil {
		t.Fatal(err)
	}
}

// A clock by which the key has ended, which it had not at the last export, is not believed either.
func TestClockThatEndsTheKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../manifest/testdata/keys/ed25519-expiry.asc")
	if err != nil {
		t.Fatal(err)
	}
	key, err := manifest.ReadPublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	end, ends := key.Expires()
	if !ends {
		t.Fatal("the key has no end")
	}
	last := key.Created().Add(time.Hour)
	end = end.Add(time.Minute)
	if err := checkClock(end, clockEvidence{}, key, last); !isA[*ClockError](err) || !strings.Contains(err.Error(), "the signing key") {
		t.Errorf("%v", err)
	}
	if err := checkClock(last.Add(time.Hour), clockEvidence{}, key, last); err != nil {
		t.Errorf("while it holds: %v", err)
	}
	if err := checkClock(end, clockEvidence{}, key, end); err != nil {
		t.Errorf("it had ended at the last export already: %v", err)
	}
}
