package roundtrip

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/trust"
)

// A clock that is further ahead than anything explains is refused before anything is written: one
// such export would make the clients refuse each honest one after it.
func TestClockFarAhead(t *testing.T) {
	const day = 24 * time.Hour
	year := func(n int) time.Time { return epoch.AddDate(n, 0, 0) }
	for name, row := range map[string]struct {
		prepare func(t *testing.T, m *machine.Machine)
		now     time.Time
		from    string // "": accepted
	}{
		"a program that tells nothing, first export": {
			func(*testing.T, *machine.Machine) {}, year(24), ""},
		"since the build of the program": {
			func(_ *testing.T, m *machine.Machine) {
				m.Built = epoch
			}, epoch.Add(trust.MaxAhead), ""},
		"a second later": {
			func(_ *testing.T, m *machine.Machine) { m.Built = epoch }, epoch.Add(trust.MaxAhead +
				time.Second), "when this program was built"},
		"since the last export": {func(t *testing.T, m *machine.Machine) {
			mustExport(t, *m, exporter.ExportOptions{Drive: t.TempDir()})
		}, epoch.Add(trust.MaxAhead + day), "the last export"},
		"a file from before the start": {func(t *testing.T, m *machine.Machine) {
			m.Built, m.Booted = year(-3), year(24).Add(-time.Hour)
			touch(t, filepath.Join(m.DISTDIR, "a.tar"), year(0))
		}, year(24), "the newest file from before this machine was started"},
		"a file from before the start, that explains it": {func(t *testing.T, m *machine.Machine) {
			m.Built, m.Booted = year(-3), epoch.Add(-time.Hour)
			touch(t, filepath.Join(m.DISTDIR, "a.tar"), epoch.Add(-2*time.Hour))
		}, epoch, ""},
		"a file since the start tells nothing": {func(t *testing.T, m *machine.Machine) {
			m.Built, m.Booted = year(-3), epoch.Add(-time.Hour)
			touch(t, filepath.Join(m.DISTDIR, "a.tar"), epoch)
		}, epoch, "when this program was built"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, path := newMachine(t, "host", epoch), t.TempDir()
			write(t, filepath.Join(host.DISTDIR, "a.tar"), "a\n")
			touch(t, filepath.Join(host.DISTDIR, "a.tar"), year(-3))
			row.prepare(t, &host)
			host.Now = func() time.Time { return row.now }
			_, err := exporter.Export(t.Context(), host,
				exporter.ExportOptions{Drive: path, AnyDirectory: true}, nil)
			var clock *exporter.ClockError
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
			if hints := strings.Join(clock.Hints("DRIVE"), " "); !strings.Contains(hints,
				"--accept-clock") || !strings.Contains(hints, "key renew") {
				t.Errorf("hints: %s", hints)
			}
			mustExport(t, host, exporter.ExportOptions{Drive: path, AcceptClock: true})
		})
	}
}

func touch(t *testing.T, name string, when time.Time) {
	t.Helper()
	if err := os.Chtimes(name, when, when); err != nil {
		t.Fatal(err)
	}
}
