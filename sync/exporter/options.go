package exporter

import (
	"cmp"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pipeline"
	"pkgsneak/sync/selection"
	"pkgsneak/sync/volume"
)

// ExportOptions states what to export and how. The zero value of everything but Drive is what a
// person wants.
type ExportOptions struct {
	Drive string // mount point (or directory) that holds, or will hold, the tree
	// the origin's name; "" takes the one this PKGDIR was exported under, else the host's name
	Name        string
	NoPackages  bool // leave the packages on the drive as they are
	NoDistfiles bool // leave the distfiles on the drive as they are
	// names of the ebuild repositories that the drive carries, with commas between; "": all,
	// NoRepos: none
	Repos        string
	AcceptClock  bool   // the machine's clock is right, however far ahead it is
	AllowShrink  bool   // a host that lost most of its packages means it
	AnyDirectory bool   // Drive need not be a mounted file system of its own
	Label        string // of the file system, for people; "" takes the last name of Drive
	For          string // the name of the client that the drive is for; "" for all
	Again        bool   // carry again what is in transit on another drive
	KeepRequests bool   // do not blank the installed packages in the requests on the drive
	Repair       bool   // read everything on the drive, and write again what is damaged
	NoReadBack   bool   // do not compare the medium with what was written
	PartSize     int64  // bytes of the largest file on the drive; 0 is what FAT can hold
	// files that are worked on at a time; 0 chooses: enough to keep the processors busy, as many of
	// them read and written as the media like
	Workers int
	Source  volume.Medium // MediumOf PKGDIR, while this process was still allowed to look
	Medium  volume.Medium // MediumOf Drive, likewise
	Pretend bool          // plan only; nothing is written anywhere
	Confirm func(*ExportPlan) (bool, error)

	CommitEvery int64 // bytes, instead of the constant, in tests
}

// looking is how many packages of the host are looked at at a time, where nothing is written: one
// on a disk that turns.
func (o *ExportOptions) looking() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return min(pipeline.Processors(), cmp.Or(o.Source.Readers, 2))
}

// ExportPlan is what an export would do: plain data, made before the first byte is written.
type ExportPlan struct {
	Drive  string `json:"drive"`
	Origin string `json:"origin"`
	// "" where the first export will make the key
	Fingerprint string         `json:"fingerprint,omitempty"`
	PKGDIR      string         `json:"pkgdir"`
	DISTDIR     string         `json:"distdir"`
	Previous    int64          `json:"previous,omitempty"` // the generation on the drive; 0: none
	Copy        []payload.Item `json:"copy"`
	Compare     []payload.Item `json:"compare"` // read first, copied if they differ
	Keep        payload.Tally  `json:"keep"`
	Remove      []payload.Item `json:"remove"`
	LeftOut     []payload.Item `json:"left_out"`
	// other names of packages that are carried once
	Duplicates []payload.Item `json:"duplicates"`
	// bytes on the drive for Copy and Compare, in whole clusters
	Need int64 `json:"need"`
	// bytes on the drive for the program that travels along; 0 where it is there already, or has no
	// room
	Program int64 `json:"program,omitempty"`
	// about the bytes on the drive of ebuild repositories that will be packed, of a plan that is
	// shown
	Packing   int64      `json:"packing,omitempty"`
	Free      int64      `json:"free"`
	Namesakes []Namesake `json:"namesakes"` // other origins of this name on the drive
	// Selection is what was chosen for a drive that cannot hold everything, or for one client; nil:
	// all goes there.
	Selection *selection.Plan `json:"selection,omitempty"`
	// Enough is the free space, in bytes, of a drive that would take everything; 0 without
	// Selection.
	Enough int64       `json:"enough,omitempty"`
	Trees  []*TreePlan `json:"repositories"`
}

// ExportReport is what an export did. Each file of the plan is in exactly one list.
type ExportReport struct {
	Plan      ExportPlan     `json:"plan"`
	Asked     []Asked        `json:"requests"` // that lie on the drive
	Pretended bool           `json:"pretended,omitempty"`
	Unchanged bool           `json:"unchanged"` // nothing to do: no generation was written
	NewKey    bool           `json:"new_key,omitempty"`
	Serial    int64          `json:"serial,omitempty"` // the generation on the drive now
	Copied    []payload.Item `json:"copied"`
	Removed   []payload.Item `json:"removed"`
	Kept      payload.Tally  `json:"kept"`
	LeftOut   []payload.Item `json:"left_out"`
	// packages of this machine that are refused, and stay on the drive as they are
	Refused []payload.Item `json:"refused_packages"`
	Trees   []*TreePlan    `json:"repositories"` // ebuild repositories that were packed
	// of an interrupted export, which were removed; below the origin's directory
	Leftovers []string `json:"leftovers"`
	// README.txt and keys beside the origins, and a copy of the list that was not whole; below the
	// tree's directory
	Renewed  []string `json:"renewed"`
	Written  int64    `json:"written"` // bytes of payload
	ReadBack bool     `json:"read_back"`
	Notices  []string `json:"notices"`
}
