package importer

import (
	"testing"

	"pkgsneak/manifest"
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
		{"a local build over what we delivered", clientFile{Exists: true, Sum: other}, before, occupied},
		{"a local file where we never were", clientFile{Exists: true, Sum: other}, none, occupied},
		{"unread local file where we never were", clientFile{Exists: true, Sum: none}, none, occupied},
	} {
		if got := judge(tc.file, want, tc.delivered); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}
