package exporter

import (
	"testing"

	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/volume"
)

// Of a drive that cannot hold everything a twentieth stays free, but no more than 64 MiB; what lies
// there does not leave for the sake of that. A drive of the size that is named holds everything.
func TestWhatStaysFree(t *testing.T) {
	t.Parallel()
	const mib, own = 1 << 20, 8 << 20 // own is more than signatures and catalogue of so few take
	room := func(t *testing.T, free, held int64) int64 {
		t.Helper()
		x := &exporter{Plan: &Plan{host: &source{files: make(map[payload.Key]*sourceFile)},
			next: newNext()}}
		if held > 0 {
			key := payload.Key{Kind: payload.Distfile, Path: "held.tar"}
			x.host.files[key] = &sourceFile{HostFile: HostFile{Kind: key.Kind, Path: key.Path,
				Size: held}}
			x.next.current[key] = &layout.Item{Kind: key.Kind, Path: key.Path, Size: held}
		}
		in, _, kept, err := newOffer(t.Context(), x, volume.Space{Free: free, Cluster: 4096}, 0)
		if err != nil || kept < held || len(in.Distfiles) != min(int(held), 1) {
			t.Fatalf("%v, %d bytes are kept, %+v", err, kept, in)
		}
		return in.Room
	}
	for free, stays := range map[int64]int64{100 * mib: 5 * mib, 1000 * mib: 50 * mib,
		2000 * mib: 64 * mib, 100_000 * mib: 64 * mib} {
		if left := free - room(t, free, 0); left < stays || left > stays+own {
			t.Errorf("of %d MiB %d bytes stay free, want %d and what the drive's own files take",
				free/mib, left, stays)
		}
	}
	if got := room(t, 4*mib, 900*mib); got < 900*mib {
		t.Errorf("of 900 MiB on a drive that is full %d bytes may stay", got)
	}
	for _, whole := range []int64{20 * mib, 900 * mib, 3000 * mib} {
		x := &exporter{Plan: &Plan{host: &source{}}}
		if got := room(t, enough(x, whole), 0); got < whole || got > whole+own {
			t.Errorf("a drive that shall hold %d bytes has room for %d", whole, got)
		}
	}
}
