package importer

import (
	"time"

	"pkgsneak/sync/forecast"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/resolve"
	"pkgsneak/sync/trust"
	"pkgsneak/sync/volume"
)

// ImportOptions states what to import and how. The zero value of everything but Drive is what a
// person wants.
type ImportOptions struct {
	Drive string
	// more drives: what Drive has damaged or not at all of an origin comes from them, and what else
	// they carry
	Further []string
	// the directory of one origin on the drive; "" imports all that are trusted
	Origin      string
	NoPackages  bool
	NoDistfiles bool
	// names of the ebuild repositories to look at, with commas between; "": all, NoRepos: none
	Repos       string
	AdoptRepos  string // names of the repositories that take the place of this machine's own
	ReposOnly   bool   // neither packages nor distfiles
	Prune       bool   // remove what came from an origin and has left it
	Replace     bool   // a distfile that is here with other contents is replaced
	AllowShrink bool   // let Prune remove more than half of an origin's packages
	AnyArch     bool   // bring in packages for another machine
	// ExcludeFile takes the names that the line to type excludes; "": a file in the state directory
	// if there are many.
	ExcludeFile string
	AnyCPU      bool // and those for another CPU
	RespectUse  bool // let emerge leave out what has other USE than this machine sets
	NoUndo      bool // keep nothing of what is replaced or removed: the import cannot be taken back
	AllowOlder  bool // import a generation older than the last one
	Check       bool // look through packages that the exporting side vouches for, too
	// MaxAge refuses what was signed longer ago; 0: no limit.
	MaxAge time.Duration
	// AcceptFuture imports a generation whose time is further ahead than any clock is wrong.
	AcceptFuture bool
	// AcceptClock believes this machine's clock, and gives up a later time that is remembered from
	// a signature.
	AcceptClock bool
	// AcceptRotation trusts the successor that a trusted key introduced, in its place.
	// ConfirmRotation is asked where it is not set; nil answers no.
	AcceptRotation  bool
	ConfirmRotation func(*trust.Refusal) (bool, error)
	// files copied and checked at a time; 0 chooses: as many as there are processors, as many of
	// them from the drive at will
	Workers int
	// MediumOf the drive, while this process was still allowed to look
	Source  volume.Medium
	Pretend bool
	Confirm func([]*ImportPlan) (bool, error)
}

// whole fills in with each option what another one means by itself.
func (o ImportOptions) whole() ImportOptions {
	o.NoPackages, o.NoDistfiles = o.NoPackages || o.ReposOnly, o.NoDistfiles || o.ReposOnly
	return o
}

// ImportPlan is what an import would do for one origin. Each payload file of the generation is
// counted in exactly one of Copy, Replace, Beside, Present, Unusable and LeftOut.
type ImportPlan struct {
	Dir         string    `json:"dir"` // of the origin on the drive
	Origin      string    `json:"origin"`
	Fingerprint string    `json:"fingerprint"`
	Serial      int64     `json:"serial"`
	Signed      time.Time `json:"signed"`
	// seconds since it was signed, as far as is known here
	Age     int64          `json:"age"`
	Older   bool           `json:"older,omitempty"` // than what was imported before
	Copy    []payload.Item `json:"copy"`
	Replace []payload.Item `json:"replace"` // an older build of the same origin lies there
	// a local file has the name: it gets the next free one
	Beside []payload.Item `json:"beside"`
	// came from the origin and has left it; removed with --prune only
	Prune []payload.Item `json:"remove"`
	Held  []Held         `json:"held"` // what Prune does not remove, and why
	// packages that this machine can never use: no part of what should come
	Unusable []payload.Item `json:"unusable"`
	LeftOut  []payload.Item `json:"left_out"`
	Present  payload.Tally  `json:"present"`
	// packages the origin has and this drive has not
	NotCarried int `json:"not_carried"`
	// Donor means that the generation is older, and that only what the newest one lists was looked
	// at; Superseded is what that does not list any more, of this and of further drives.
	Donor      bool          `json:"donor,omitempty"`
	Superseded payload.Tally `json:"superseded,omitzero"`
	// Elsewhere is what the origin has that neither is here nor on one of these drives. The bytes
	// are those of which the size is known.
	Elsewhere payload.Tally `json:"elsewhere,omitzero"`
	// OnDrives are those of them that are, according to the record, on another drive.
	OnDrives []OnDrive `json:"on_drives"`
	Need     int64     `json:"need"`

	UnusableKinds map[resolve.ReasonKind]int `json:"-"`
}

// OnDrive is a drive that has what these do not have.
type OnDrive struct {
	Label string `json:"label"`
	Files int    `json:"files"`
}

// Held means that what came from an origin, and may have left it, is not pruned.
type Held struct {
	Kind   payload.Kind  `json:"kind"`
	Tally  payload.Tally `json:"files"`
	Reason string        `json:"reason"`
	// the command that removes it all the same; "": this generation does not tell what has left the
	// origin
	Hint string `json:"hint,omitempty"`
}

// OriginImport is what an import did for one origin. Each file of the plan is in exactly one list.
type OriginImport struct {
	Plan    *ImportPlan    `json:"plan"`
	Copied  []payload.Item `json:"copied"`
	Pruned  []payload.Item `json:"removed"`
	LeftOut []payload.Item `json:"left_out"`
	Gone    payload.Tally  `json:"gone"` // came from the origin, has left it, and is still here
}

// Refused is an origin of which nothing was used.
type Refused struct {
	Origin string `json:"origin"`
	Drive  string `json:"drive"`
	Signer string `json:"fingerprint,omitempty"`  // as claimed
	State  string `json:"signer_state,omitempty"` // trust.State
	Reason string `json:"reason"`
	Err    error  `json:"-"`
	// Code is the exit code that the reason would have by itself, Hints are the commands that help;
	// whoever shows the report fills both in.
	Code  int      `json:"exit"`
	Hints []string `json:"hints"`
}

// ImportReport is what an import did.
type ImportReport struct {
	Origins []*OriginImport `json:"origins"`
	Refused []Refused       `json:"refused"`
	// origins whose generation was taken back here, and which were passed over for that
	Undone int `json:"undone,omitempty"`
	// whether this import can be taken back; nil if it changed nothing
	Undo  *UndoNote     `json:"undo,omitempty"`
	Trees []*TreeImport `json:"repositories"`
	// origins of keys that are not wanted here: no part of what should have come
	Unwanted  int      `json:"unwanted,omitempty"`
	Pretended bool     `json:"pretended,omitempty"`
	Unchanged bool     `json:"unchanged"`
	Packages  int      `json:"packages"` // entries in the index now
	Indexed   bool     `json:"indexed"`  // the index was written
	Notices   []string `json:"notices"`
	Next      []string `json:"next"` // what to type now
	// Forecast is what emerge can do now, and what it cannot; nil if packages were not wanted.
	// Outlook is the same for people.
	Forecast    *forecast.Document `json:"forecast,omitempty"`
	Outlook     *forecast.Forecast `json:"-"`
	ExcludeFile string             `json:"exclude_file,omitempty"`
}

// sort orders the lists by kind and path.
func (p *ImportPlan) sort() {
	for _, list := range [][]payload.Item{p.Copy, p.Replace, p.Beside, p.Prune,
		p.Unusable, p.LeftOut} {
		payload.Sort(list)
	}
}

// UndoNote tells whether an import can be taken back.
type UndoNote struct {
	Kept    payload.Tally `json:"kept"`              // what it replaced or removed
	Problem string        `json:"problem,omitempty"` // why it cannot be taken back
}
