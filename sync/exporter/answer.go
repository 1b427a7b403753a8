package exporter

import (
	"pkgsneak/sync/payload"
	"pkgsneak/sync/selection"
)

// answer is what goes on a drive that cannot hold all that the origin has, or that is meant for one
// client only. nil: everything goes.
type answer struct {
	plan   *selection.Plan
	group  map[payload.Key]int  // of what is copied: files of one group are committed together
	leaves map[payload.Key]bool // files that leave the drive, and the origin still has them
	stays  []payload.Item       // what would be copied if there were room, in the order of the plan
}

// commitEvery is how many bytes of payload are written before a generation is committed that has
// what is there so far: a drive that is pulled later keeps it. On a drive that cannot hold all, of
// which each bundle is of use alone, it is a part of what is written, and leastCommit at least.
const (
	commitEvery  = 2 << 30
	leastCommit  = 8 << 20
	commitsAFill = 8
)

// commitEvery is how many bytes are written between two commits, of so many in all.
func (a *answer) commitEvery(total int64) int64 {
	if a == nil {
		return commitEvery
	}
	return min(commitEvery, max(leastCommit, total/commitsAFill))
}

// perFile is what one file takes on the drive beside itself, generously: in both manifest copies,
// catalogue and Packages. perEntry is what one takes that is not carried.
const (
	perFile  = 2500
	perEntry = 400
)

// left reports whether a file leaves the drive, or has left it, although the origin has it.
func (a *answer) left(key payload.Key) bool { return a != nil && a.leaves[key] }

// chunk is how many files from the first on are committed together: as many as have the given
// bytes, and all of a group.
func (a *answer) chunk(todo []payload.Item, bytes int64) int {
	n, sum := 0, int64(0)
	for n < len(todo) && sum < bytes {
		sum += todo[n].Size
		n++
	}
	if a == nil {
		return n
	}
	group := func(i int) (int, bool) {
		g, ok := a.group[payload.Key{Kind: todo[i].Kind, Path: todo[i].Path}]
		return g, ok
	}
	for n > 0 && n < len(todo) {
		last, known := group(n - 1)
		if next, ok := group(n); !known || !ok || next != last {
			break
		}
		n++
	}
	return n
}
