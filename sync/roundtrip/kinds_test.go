package roundtrip

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/machine"
)

// takingTurns are a host with a package and a distfile and two drives.
type takingTurns struct {
	host, client machine.Machine
	drives       [2]string
	hours        int
}

const turned = "app-misc/labhello-1.0-r2.tbz2"

func newTurns(t *testing.T) *takingTurns {
	w := &takingTurns{host: newMachine(t, "host", epoch), client: newMachine(t, "client", epoch),
		drives: [2]string{t.TempDir(), t.TempDir()}}
	pack(t, w.host.PKGDIR, "xpak-classic")
	write(t, filepath.Join(w.host.DISTDIR, "a.tar"), "a")
	w.host.Now = func() time.Time { return epoch.Add(time.Duration(w.hours) * time.Hour) }
	return w
}

func (w *takingTurns) export(t *testing.T, drive int, o exporter.ExportOptions) {
	w.hours++
	o.Drive = w.drives[drive]
	mustExport(t, w.host, o)
}

func (w *takingTurns) imports(t *testing.T, drive int,
	further ...string) *importer.OriginImport {
	t.Helper()
	r := mustImport(t, w.client, importer.ImportOptions{Drive: w.drives[drive], Further: further})
	if len(r.Refused) > 0 {
		t.Fatalf("refused: %v", r.Refused)
	}
	return r.Origins[0]
}

// has is the client's build of the package, "" if it has none.
func (w *takingTurns) has(t *testing.T) string { return files(t, w.client.PKGDIR)[turned] }

// Each kind has a newest state of its own: an export that goes without packages tells nothing of
// them, whatever its number.
func TestEachKindHasItsNewestState(t *testing.T) {
	without := exporter.ExportOptions{NoPackages: true}
	for name, story := range map[string]func(t *testing.T, w *takingTurns){
		"packages were never looked at on the newer drive": func(t *testing.T, w *takingTurns) {
			w.export(t, 0, exporter.ExportOptions{})
			w.export(t, 1, without)
			trustEach(t, w.client, w.host)
			w.imports(t, 1)
			if o := w.imports(t, 0); w.has(t) == "" || o.Plan.Superseded.Files > 0 {
				t.Errorf("the packages of the other drive did not come: %+v", o.Plan)
			}
		},
		"both drives at once": func(t *testing.T, w *takingTurns) {
			w.export(t, 0, exporter.ExportOptions{})
			w.export(t, 1, without)
			trustEach(t, w.client, w.host)
			if o := w.imports(t, 1, w.drives[0]); w.has(t) == "" || o.Plan.Superseded.Files > 0 {
				t.Errorf("the packages of the other drive did not come: %+v", o.Plan)
			}
		},
		"an older build is on the newer drive": func(t *testing.T, w *takingTurns) {
			w.export(t, 1, exporter.ExportOptions{})
			rebuild(t, filepath.Join(w.host.PKGDIR, turned))
			w.export(t, 0, exporter.ExportOptions{})
			w.export(t, 1, without)
			trustEach(t, w.client, w.host)
			w.imports(t, 0)
			newest := w.has(t)
			o := w.imports(t, 1)
			if w.has(t) != newest || len(o.LeftOut) > 0 || o.Plan.Superseded.Files != 1 {
				t.Errorf("left out %+v, superseded %+v, the newest stays: %v", o.LeftOut,
					o.Plan.Superseded, w.has(t) == newest)
			}
		},
		"and it is not remembered when it was looked at": func(t *testing.T, w *takingTurns) {
			w.export(t, 1, exporter.ExportOptions{})
			rebuild(t, filepath.Join(w.host.PKGDIR, turned))
			w.export(t, 0, exporter.ExportOptions{})
			w.export(t, 1, without)
			trustEach(t, w.client, w.host)
			w.imports(t, 0)
			forgetLooks(t, w.client)
			newest := w.has(t)
			o := w.imports(t, 1)
			if w.has(t) != newest || len(o.LeftOut) != 1 ||
				!strings.Contains(o.LeftOut[0].Reason, "may be newer") {
				t.Errorf("left out %+v, the newest stays: %v", o.LeftOut, w.has(t) == newest)
			}
		},
		"a newer build came to the drive that went without before": func(t *testing.T,
			w *takingTurns) {
			w.export(t, 0, exporter.ExportOptions{})
			rebuild(t, filepath.Join(w.host.PKGDIR, turned))
			w.export(t, 1, exporter.ExportOptions{})
			write(t, filepath.Join(w.host.DISTDIR, "b.tar"), "b")
			w.export(t, 1, without)
			trustEach(t, w.client, w.host)
			w.imports(t, 0)
			older := w.has(t)
			if o := w.imports(t, 1); w.has(t) == older || len(o.LeftOut) > 0 {
				t.Errorf("the newer build did not come: %+v", o.LeftOut)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, newTurns(t))
		})
	}
}

// forgetLooks makes what is remembered of origins what an older program has remembered.
func forgetLooks(t *testing.T, m machine.Machine) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(m.StateDir, "accepted", "*"))
	if len(names) != 1 {
		t.Fatalf("remembered: %q", names)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil || all["as_of"] == nil {
		t.Fatalf("%s: %v", data, err)
	}
	delete(all, "as_of")
	if data, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	write(t, names[0], string(data))
}

// An export to a drive without any free space takes nothing off it for the sake of what does not
// fit all the same.
func TestNothingLeavesAFullDriveForNothing(t *testing.T) {
	host, drive := newMachine(t, "host", epoch), filepath.Join(t.TempDir(), "drive")
	smallDisk(t, drive, "12m")
	pack(t, host.PKGDIR, "xpak-classic")
	mustExport(t, host, exporter.ExportOptions{Drive: drive})
	before := packagesOf(t, drive)
	random(t, filepath.Join(host.DISTDIR, "new.tar"), 100<<10)
	fill(t, drive)
	host.Now = func() time.Time { return epoch.Add(time.Hour) }
	r, err := exporter.Export(t.Context(), host, exporter.ExportOptions{Drive: drive,
		AnyDirectory: true}, nil)
	if after := packagesOf(t, drive); after != before || before == 0 {
		t.Errorf("%d packages on the drive, %d before: %v, %+v", after, before, err, r)
	}
}

func packagesOf(t *testing.T, drive string) (n int) {
	for path := range files(t, drive) {
		if strings.HasSuffix(path, ".tbz2") {
			n++
		}
	}
	return n
}

// fill leaves no free space in a directory's file system.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "film.mkv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, 64<<10); ; {
		if _, err := f.Write(piece); err != nil {
			return
		}
	}
}
