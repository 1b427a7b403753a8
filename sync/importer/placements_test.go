package importer

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/distdir"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/state"
)

func TestJudge(t *testing.T) {
	want, before, other := manifest.Digest{1}, manifest.Digest{2}, manifest.Digest{3}
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
		{"a local build over what we delivered", clientFile{Exists: true, Sum: other},
			before, occupied},
		{"a local file where we never were", clientFile{Exists: true, Sum: other}, none, occupied},
		{"unread local file where we never were", clientFile{Exists: true, Sum: none},
			none, occupied},
	} {
		if got := judge(tc.file, want, tc.delivered); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}

// askedContext calls when it is asked whether it has ended: between the pieces of what is read.
type askedContext struct {
	context.Context
	asked func()
}

func (c askedContext) Err() error {
	c.asked()
	return c.Context.Err()
}

// A file of the client that somebody writes to while it is read has no digest, and none is
// remembered.
func TestAFileThatChangesWhileItIsLookedUp(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.tgz")
	if err := os.WriteFile(name, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	st, err := state.Open(t.Context(), t.TempDir(), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	c := &client{}
	if c.distdir, err = distdir.Open(dir); err != nil {
		t.Fatal(err)
	}
	defer c.distdir.Close()
	if c.distfiles, err = st.Cache(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	info, err := c.distdir.Lstat("a.tgz")
	if err != nil {
		t.Fatal(err)
	}
	for _, harmed := range []bool{true, false} {
		ctx := askedContext{context.Background(), func() {
			if !harmed {
				return
			}
			if err := os.WriteFile(name, []byte("two"), 0o644); err != nil {
				t.Error(err)
			}
		}}
		sum, err := c.digestOf(ctx, payload.Distfile, "a.tgz", info)
		if err != nil || (sum == manifest.Digest{}) != harmed {
			t.Errorf("changed: %v: %x, %v", harmed, sum, err)
		}
	}
}
