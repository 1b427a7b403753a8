package exporter

import (
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/payload"
)

func Sum(b byte) (d manifest.Digest) { d[0] = b; return d }

func TestPlanExport(t *testing.T) {
	held := []DriveFile{
		{payload.Package, "a/b-1.tbz2", 10, Sum(1), IndexSums{1, 1}},
		{payload.Distfile, "d.tar", 7, Sum(2), IndexSums{}},
	}
	for _, tc := range []struct {
		name   string
		host   []HostFile
		action Action
		reason string
	}{
		{"same digest is kept", []HostFile{{payload.Package, "a/b-1.tbz2", 10, Sum(1),
			IndexSums{}}}, Keep, ""},
		{"same digest is kept whatever the index says",
			[]HostFile{{payload.Package, "a/b-1.tbz2", 10, Sum(1), IndexSums{9, 9}}}, Keep, ""},
		{"same index hashes are kept",
			[]HostFile{{payload.Package, "a/b-1.tbz2", 10, manifest.Digest{},
				IndexSums{1, 1}}}, Keep, ""},
		{"other digest is copied", []HostFile{{payload.Package, "a/b-1.tbz2", 10, Sum(3),
			IndexSums{1, 1}}}, Copy, "rebuilt"},
		{"other index hashes are copied",
			[]HostFile{{payload.Package, "a/b-1.tbz2", 10, manifest.Digest{}, IndexSums{2, 1}}},
			Copy, "rebuilt"},
		{"other size is copied unread",
			[]HostFile{{payload.Package, "a/b-1.tbz2", 11, manifest.Digest{}, IndexSums{}}},
			Copy, "rebuilt"},
		{"unknown contents are compared",
			[]HostFile{{payload.Package, "a/b-1.tbz2", 10, manifest.Digest{}, IndexSums{}}},
			Compare, "contents not known yet"},
		{"a distfile without a digest is compared",
			[]HostFile{{payload.Distfile, "d.tar", 7, manifest.Digest{}, IndexSums{}}}, Compare,
			"contents not known yet"},
		{"a new name is copied", []HostFile{{payload.Package, "a/c-1.tbz2", 10, Sum(1),
			IndexSums{1, 1}}}, Copy, "new"},
		{"a package is no distfile", []HostFile{{payload.Package, "d.tar", 7, Sum(2), IndexSums{}}},
			Copy, "new"},
		{"case is not folded", []HostFile{{payload.Package, "a/B-1.tbz2", 10, Sum(1), IndexSums{}}},
			Copy, "new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			steps := planExport(tc.host, held)
			got := map[payload.Key]Step{}
			for _, s := range steps {
				got[payload.Key{Kind: s.Item.Kind, Path: s.Item.Path}] = s
			}
			h := tc.host[0]
			k := payload.Key{Kind: h.Kind, Path: h.Path}
			if s := got[k]; s.Action != tc.action || s.Item.Reason != tc.reason ||
				s.Item.Size != h.Size {
				t.Errorf("got %+v, want action %d for %q", s, tc.action, tc.reason)
			}
			delete(got, k)
			for _, d := range held {
				dk := payload.Key{Kind: d.Kind, Path: d.Path}
				if dk == k {
					continue
				}
				if s := got[dk]; s.Action != Remove {
					t.Errorf("%v is gone from the host, got %+v", dk, s)
				}
				delete(got, dk)
			}
			if len(got) != 0 {
				t.Errorf("steps left: %v", got)
			}
		})
	}
}

func TestPlanExportOrder(t *testing.T) {
	steps := planExport([]HostFile{{Kind: payload.Distfile, Path: "a"},
		{Kind: payload.Package, Path: "z"}, {Kind: payload.Package, Path: "b"}}, nil)
	var order string
	for _, s := range steps {
		order += s.Item.Path
	}
	if order != "bza" {
		t.Errorf("order %q, want packages before distfiles and paths ascending", order)
	}
}

func TestShrunk(t *testing.T) {
	for _, tc := range []struct {
		before, after int
		want          bool
	}{{0, 0, false}, {1, 0, true}, {2, 1, false}, {3, 1, true}, {100, 50, false}, {100, 49, true},
		{10, 20, false}} {
		if got := payload.Shrunk(tc.before, tc.after); got != tc.want {
			t.Errorf("%d packages to %d: shrunk %v", tc.before, tc.after, got)
		}
	}
}
