package sync

import (
	"testing"

	"pkgsneak/manifest"
	"pkgsneak/sync/payload"
)

func sum(b byte) (d manifest.Digest) { d[0] = b; return d }

func TestPlanExport(t *testing.T) {
	held := []DriveFile{
		{Package, "a/b-1.tbz2", 10, sum(1), IndexSums{1, 1}},
		{Distfile, "d.tar", 7, sum(2), IndexSums{}},
	}
	for _, tc := range []struct {
		name   string
		host   []HostFile
		action Action
		reason string
	}{
		{"same digest is kept", []HostFile{{Package, "a/b-1.tbz2", 10, sum(1), IndexSums{}}}, Keep, ""},
		{"same digest is kept whatever the index says", []HostFile{{Package, "a/b-1.tbz2", 10, sum(1), IndexSums{9, 9}}}, Keep, ""},
		{"same index hashes are kept", []HostFile{{Package, "a/b-1.tbz2", 10, manifest.Digest{}, IndexSums{1, 1}}}, Keep, ""},
		{"other digest is copied", []HostFile{{Package, "a/b-1.tbz2", 10, sum(3), IndexSums{1, 1}}}, Copy, "rebuilt"},
		{"other index hashes are copied", []HostFile{{Package, "a/b-1.tbz2", 10, manifest.Digest{}, IndexSums{2, 1}}}, Copy, "rebuilt"},
		{"other size is copied unread", []HostFile{{Package, "a/b-1.tbz2", 11, manifest.Digest{}, IndexSums{}}}, Copy, "rebuilt"},
		{"unknown contents are compared", []HostFile{{Package, "a/b-1.tbz2", 10, manifest.Digest{}, IndexSums{}}}, Compare, "contents not known yet"},
		{"a distfile without a digest is compared", []HostFile{{Distfile, "d.tar", 7, manifest.Digest{}, IndexSums{}}}, Compare, "contents not known yet"},
		{"a new name is copied", []HostFile{{Package, "a/c-1.tbz2", 10, sum(1), IndexSums{1, 1}}}, Copy, "new"},
		{"a package is no distfile", []HostFile{{Package, "d.tar", 7, sum(2), IndexSums{}}}, Copy, "new"},
		{"case is not folded", []HostFile{{Package, "a/B-1.tbz2", 10, sum(1), IndexSums{}}}, Copy, "new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			steps := planExport(tc.host, held)
			got := map[payload.Key]Step{}
			for _, s := range steps {
				got[payload.Key{Kind: s.Item.Kind, Path: s.Item.Path}] = s
			}
			h := tc.host[0]
			k := payload.Key{Kind: h.Kind, Path: h.Path}
			if s := got[k]; s.Action != tc.action || s.Item.Reason != tc.reason || s.Item.Size != h.Size {
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
	steps := planExport([]HostFile{{Kind: Distfile, Path: "a"}, {Kind: Package, Path: "z"}, {Kind: Package, Path: "b"}}, nil)
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
	}{{0, 0, false}, {1, 0, true}, {2, 1, false}, {3, 1, true}, {100, 50, false}, {100, 49, true}, {10, 20, false}} {
		if got := shrunk(tc.before, tc.after); got != tc.want {
			t.Errorf("%d packages to %d: shrunk %v", tc.before, tc.after, got)
		}
	}
}

func TestJudge(t *testing.T) {
	want, before, other := sum(1), sum(2), sum(3)
	none := manifest.Digest{}
	for _, tc := range []struct {
		name      string
		file      clientFile
		delivered manifest.Digest
		want      presence
	}{
		{"nothing there", clientFile{}, before, absent},
		{"wanted bytes, delivered by us", clientFile{Exists: true, Sum: want}, want, present},
		{"wanted bytes, put there by hand", clientFile{Exists: true, Sum: want}, none, present},
		{"what we delivered earlier", clientFile{Exists: true, Sum: before}, before, outdated},
		{"a local build over what we delivered", clientFile{Exists: true, Sum: other}, before, occupied},
		{"a local file where we never were", clientFile{Exists: true, Sum: other}, none, occupied},
		{"unread local file where we never were", clientFile{Exists: true, Sum: none}, none, occupied},
	} {
		if got := judge(tc.file, want, tc.delivered); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}
