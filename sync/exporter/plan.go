package exporter

import (
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/payload"
)

// Action is what a plan has in mind for a file.
type Action uint8

// The actions of an export.
const (
	Keep Action = iota // the drive has it already
	// the drive has a file of this name and size, and what the host's file holds is not known: read
	// it, and copy it if it differs
	Compare
	Copy   // the drive lacks it
	Remove // the drive has it, the host no longer
)

// IndexSums are the digests that an index has of a package: MD5, then SHA1. Zero where it does not
// have both.
type IndexSums [36]byte

// HostFile is a payload file of the build host, as the planner needs it.
type HostFile struct {
	Kind payload.Kind
	Path string // below PKGDIR, or the distfile's name
	Size int64
	// Sum is the BLAKE2B of the contents, if it is known without reading (the digest cache), else
	// zero.
	Sum manifest.Digest
	// Index are the sums of the host's Packages for these very bytes when the entry vouches for the
	// file (same size, same mtime), else zero.
	Index IndexSums
}

// DriveFile is a payload file of the last generation on the drive.
type DriveFile struct {
	Kind  payload.Kind
	Path  string
	Size  int64
	Sum   manifest.Digest // BLAKE2B of the whole file
	Index IndexSums       // of the catalogue's entry; zero for a distfile
}

// Step is one line of an export plan.
type Step struct {
	Action Action
	Item   payload.Item
}

// Gone is why a file is removed from the drive that the host does not have any more.
const Gone = "gone from the host"

// planExport compares what the host has with what the drive holds. It is a pure function; steps
// come ordered by kind and path.
func planExport(host []HostFile, held []DriveFile) []Step {
	onDrive := make(map[payload.Key]*DriveFile, len(held))
	for i := range held {
		onDrive[payload.Key{Kind: held[i].Kind, Path: held[i].Path}] = &held[i]
	}
	steps := make([]Step, 0, len(host))
	for i := range host {
		h := &host[i]
		k := payload.Key{Kind: h.Kind, Path: h.Path}
		steps = append(steps, exportStep(h, onDrive[k]))
		delete(onDrive, k)
	}
	for _, d := range onDrive {
		steps = append(steps, Step{Remove, payload.Item{Kind: d.Kind, Path: d.Path, Size: d.Size,
			Reason: Gone}})
	}
	slices.SortFunc(steps, func(a, b Step) int { return payload.Compare(a.Item, b.Item) })
	return steps
}

// exportStep decides about one file. Contents that are known by a digest decide; a size alone only
// ever decides for "different".
func exportStep(h *HostFile, d *DriveFile) Step {
	it := payload.Item{Kind: h.Kind, Path: h.Path, Size: h.Size}
	switch {
	case d == nil:
		it.Reason = "new"
		return Step{Copy, it}
	case h.Size != d.Size:
		it.Reason = "rebuilt"
		return Step{Copy, it}
	case h.Sum != manifest.Digest{}:
		if h.Sum == d.Sum {
			return Step{Keep, it}
		}
		it.Reason = "rebuilt"
		return Step{Copy, it}
	case h.Index != IndexSums{} && d.Index != IndexSums{}:
		if h.Index == d.Index {
			return Step{Keep, it}
		}
		it.Reason = "rebuilt"
		return Step{Copy, it}
	}
	it.Reason = "contents not known yet"
	return Step{Compare, it}
}
