package drivewriter

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// telling lets a host report that it has everything it exports, and more.
func telling(h *host, more ...string) {
	h.tell = func(items []layout.Item) (*layout.Facts, *layout.Holdings) {
		f := &layout.Facts{}
		for _, it := range items {
			switch it.Kind {
			case payload.Package:
				f.Packages = append(f.Packages, layout.PackageFacts{Path: it.Path, Rules: 1})
			case payload.Distfile:
				f.Distfiles = append(f.Distfiles,
					layout.DistfileFacts{Name: it.Path, Size: it.Size})
			}
		}
		for _, name := range more {
			f.Packages = append(f.Packages, layout.PackageFacts{Path: name})
		}
		slices.SortFunc(f.Packages, func(a, b layout.PackageFacts) int {
			return strings.Compare(a.Path, b.Path)
		})
		slices.SortFunc(f.Distfiles, func(a, b layout.DistfileFacts) int {
			return strings.Compare(a.Name, b.Name)
		})
		return f, &layout.Holdings{Packages: layout.Holding{Complete: true, Count: len(f.Packages)},
			Distfiles: layout.Holding{Complete: true, Count: len(f.Distfiles)}}
	}
}

// The files that the origin has are told apart from those that are here; a generation with less is
// of another format, so that a program that reads only one takes nothing for gone.
func TestStock(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	stock := func(kind payload.Kind) *drive.Stock {
		t.Helper()
		s, err := load(t, h, mount).Stock(kind)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	mustExport(t, h, mount) // as an older program does
	for _, kind := range []payload.Kind{payload.Package, payload.Distfile} {
		g := load(t, h, mount)
		if s := stock(kind); s.Complete ||
			s.Reason != "the generation was written by an older pkgsneak" ||
			s.Count != len(g.Items(kind)) || !s.Has(g.Items(kind)[0].Path) ||
			s.Has("no such file") {
			t.Errorf("without facts: %+v", s)
		}
		if g.Record.Format != 1 {
			t.Errorf("without facts: format %d", g.Record.Format)
		}
	}
	telling(h)
	mustExport(t, h, mount)
	if s, g := stock(payload.Package), load(t, h, mount); !s.Complete || s.Reason != "" ||
		s.Count != len(g.Packages()) || g.Record.Format != 1 {
		t.Errorf("everything is here: %+v, format %d", s, g.Record.Format)
	}
	telling(h, "app-misc/elsewhere-1.tbz2")
	mustExport(t, h, mount)
	if s, g := stock(payload.Package), load(t, h, mount); !s.Complete ||
		!s.Has("app-misc/elsewhere-1.tbz2") || s.Count != len(g.Packages())+1 ||
		g.Record.Format != 2 {
		t.Errorf("one is elsewhere: %+v, format %d", s, g.Record.Format)
	}
	if s := stock(payload.Distfile); !s.Complete || s.Has("app-misc/elsewhere-1.tbz2") ||
		!s.Has(load(t, h, mount).Distfiles()[0].Path) {
		t.Errorf("distfiles: %+v", s)
	}
	if _, err := load(t, h, mount).Stock(payload.Program); err == nil {
		t.Error("a stock of programs")
	}
	// A list that is damaged makes nothing complete.
	name := filepath.Join(mount, layout.TreeDir, "buildhost", layout.FactsFile(h.clock))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	writeFile(t, name, string(data))
	if s := stock(payload.Package); s.Complete || !strings.Contains(s.Reason, "damaged") ||
		s.Count != len(load(t, h, mount).Packages()) {
		t.Errorf("damaged: %+v", s)
	}
}

func TestHostileFacts(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		packed []byte
		want   string
	}{
		"no zstd": {[]byte("pkgsneak facts\t1\n"), "magic"},
		"bomb": {
			pack(t, slices.Concat([]byte("pkgsneak facts\t1\n"),
				bytes.Repeat([]byte("news\n"), layout.MaxFacts/5+1))), "longer than"},
		"not facts":    {pack(t, []byte("VERSION: 0\n")), "no facts"},
		"other counts": {pack(t, []byte("pkgsneak facts\t1\n")), "its list 0"},
		"newer":        {pack(t, []byte("pkgsneak facts\t9\n")), "use a newer pkgsneak"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount, h := tempDir(t), small()
			telling(h)
			mustExport(t, h, mount)
			name := layout.FactsFile(h.clock)
			writeFile(t, filepath.Join(mount, layout.TreeDir, "buildhost", name),
				string(row.packed))
			reforge(t, h, mount, func(l *manifest.List, _ *layout.Record) {
				for i := range l.Files {
					if l.Files[i].Path == name {
						l.Files[i].Size, l.Files[i].Sum = int64(len(row.packed)),
							digest.Bytes(row.packed)
					}
				}
			})
			s, err := load(t, h, mount).Stock(payload.Package)
			if err != nil || s.Complete || !strings.Contains(s.Reason, row.want) {
				t.Errorf("%+v %v, want something about %q", s, err, row.want)
			}
		})
	}
}

// A generation whose list is not in what the origin has is not signed.
func TestStockThatContradicts(t *testing.T) {
	t.Parallel()
	for name, tell := range map[string]func([]layout.Item) (*layout.Facts, *layout.Holdings){
		"a carried file is not the origin's": func([]layout.Item) (*layout.Facts,
			*layout.Holdings) {
			return &layout.Facts{}, &layout.Holdings{Packages: layout.Holding{Complete: true},
				Distfiles: layout.Holding{Complete: true}}
		},
		"counts": func([]layout.Item) (*layout.Facts, *layout.Holdings) {
			return &layout.Facts{}, &layout.Holdings{Packages: layout.Holding{Complete: true,
				Count: 1}, Distfiles: layout.Holding{Complete: true}}
		},
		"facts without a record": func([]layout.Item) (*layout.Facts, *layout.Holdings) {
			return &layout.Facts{}, nil
		},
		"a record without facts": func([]layout.Item) (*layout.Facts, *layout.Holdings) {
			return nil, &layout.Holdings{}
		},
	} {
		mount, h := tempDir(t), small()
		mustExport(t, h, mount)
		before := load(t, h, mount).Serial()
		h.tell = tell
		if err := h.export(t.Context(), mount); err == nil || load(t, h, mount).Serial() != before {
			t.Errorf("%s: signed", name)
		}
	}
}

// A generation with a package that its catalogue does not describe is not signed; of one that an
// older program signed verify tells it.
func TestCatalogueWithoutAnEntry(t *testing.T) {
	t.Parallel()
	mount, h := tempDir(t), small()
	mustExport(t, h, mount)
	before := load(t, h, mount)
	// index makes entries of what ends like a package
	h.pkg("app-misc/foo-1.unknown", "no entry is made of it")
	if err := h.export(t.Context(), mount); err == nil ||
		load(t, h, mount).Serial() != before.Serial() {
		t.Errorf("signed: %v", err)
	}
	h.drop(payload.Package, "app-misc/foo-1.unknown")
	name, packed := layout.CatalogueFile(before.Serial()), pack(t, []byte("VERSION: 0\n\n"))
	writeFile(t, filepath.Join(mount, layout.TreeDir, "buildhost", name), string(packed))
	reforge(t, h, mount, func(l *manifest.List, r *layout.Record) {
		r.Counts.CatalogueBytes = int64(len("VERSION: 0\n\n"))
		for i := range l.Files {
			if l.Files[i].Path == name {
				l.Files[i].Size, l.Files[i].Sum = int64(len(packed)), digest.Bytes(packed)
			}
		}
	})
	report, err := load(t, h, mount).Verify(t.Context(), drive.VerifyOptions{})
	if err != nil || len(report.Bad) != len(before.Packages()) ||
		!strings.Contains(report.Bad[0].Reason, "no entry") {
		t.Errorf("%v %+v", err, report.Bad)
	}
}
