package sync

import (
	"bufio"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pkgsneak/sync/ledger"
	"pkgsneak/sync/portage"
)

// machine makes a computer with directories of its own, whose clock stands at when.
func machine(t *testing.T, name string, when time.Time) Machine {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	settings, err := portage.Load(t.Context(), portage.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{Settings: settings, Hostname: name, Now: func() time.Time { return when }, StateDir: filepath.Join(dir, "state"),
		PKGDIR: filepath.Join(dir, "packages"), DISTDIR: filepath.Join(dir, "distfiles"), Version: "test", LockWait: time.Minute}
	for _, d := range []string{m.StateDir, m.PKGDIR, m.DISTDIR} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

const golden = "../testdata/golden/"

// pack puts the packages and the index of a golden layout into a PKGDIR, with the times that the index says.
func pack(t *testing.T, pkgdir, layout string) {
	t.Helper()
	if err := os.CopyFS(pkgdir, os.DirFS(golden+layout+"/pkgdir")); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(golden + layout + "/Packages")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(pkgdir, "Packages"), string(index))
	f, err := os.Open(golden + layout + "/FILES.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		cols := strings.Split(s.Text(), "\t")
		if strings.HasPrefix(cols[0], "#") {
			continue
		}
		sec, err := strconv.ParseInt(cols[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(pkgdir, cols[0]), time.Unix(sec, 0), time.Unix(sec, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// trustEach lets a client trust the key of a host.
func trustEach(t *testing.T, client, host Machine) {
	t.Helper()
	h, err := ledger.Open(t.Context(), host.StateDir, ledger.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	key, err := h.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ledger.Open(t.Context(), client.StateDir, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Trust(key.Public()); err != nil {
		t.Fatal(err)
	}
}

func mustExport(t *testing.T, m Machine, o ExportOptions) *ExportReport {
	t.Helper()
	o.AnyDirectory = true
	r, err := Export(context.Background(), m, o, nil)
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	return r
}

func mustImport(t *testing.T, m Machine, o ImportOptions) *ImportReport {
	t.Helper()
	r, err := Import(context.Background(), m, o, nil)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	return r
}

// files lists the regular files below dir, with their contents.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		m[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func TestJourneyOfEachLayout(t *testing.T) {
	for _, layout := range []string{"xpak-classic", "xpak-multi", "gpkg-classic", "gpkg-multi", "mixed"} {
		t.Run(layout, func(t *testing.T) {
			host, client, drive := machine(t, "host", epoch), machine(t, "client", epoch), t.TempDir()
			pack(t, host.PKGDIR, layout)
			write(t, filepath.Join(host.DISTDIR, "source-1.0.tar.gz"), "a distfile\n")
			out := mustExport(t, host, ExportOptions{Drive: drive})
			if len(out.LeftOut) > 0 || out.Unchanged {
				t.Fatalf("export left out %v", out.LeftOut)
			}
			trustEach(t, client, host)
			in := mustImport(t, client, ImportOptions{Drive: drive})
			if n := in.Packages; n != len(out.Copied)-1 {
				t.Errorf("%d packages in the index, %d were exported", n, len(out.Copied)-1)
			}
			theirs, ours := files(t, host.PKGDIR), files(t, client.PKGDIR)
			for name, data := range theirs {
				if name != "Packages" && ours[name] != data {
					t.Errorf("%q is not the same here", name)
				}
			}
			if len(ours) != len(theirs) {
				t.Errorf("%d files here, %d there", len(ours), len(theirs))
			}
			if got := files(t, client.DISTDIR)["source-1.0.tar.gz"]; got != "a distfile\n" {
				t.Errorf("distfile %q", got)
			}
			again := mustExport(t, host, ExportOptions{Drive: drive})
			if !again.Unchanged || again.Written != 0 || again.Serial != out.Serial {
				t.Errorf("second export: %+v", again)
			}
			if in := mustImport(t, client, ImportOptions{Drive: drive}); !in.Unchanged {
				t.Errorf("second import: %+v", in)
			}
		})
	}
}
