package undo

import (
	"cmp"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// Back is what emerge has to do so that the system follows. It names packages one by one: a plain
// update of @world with binary packages would take back whatever is newer here than in PKGDIR, also
// what the import had nothing to do with.
type Back struct {
	// what to type; "": nothing that came was installed, or nothing can go back
	Line string `json:"line,omitempty"`
	// atoms of the builds that were there before, in the line or in File
	Names []string   `json:"names"`
	File  string     `json:"file,omitempty"`
	Only  []Leftover `json:"cannot"` // installed out of the import, and staying so
}

// Leftover is an installed package that the line does not take back.
type Leftover struct {
	Name   string `json:"name"` // CPV
	Reason string `json:"reason"`
}

// mostNames is how many names stand in the line; more go to a file.
const mostNames = 20

// listName is the file in the state directory for more names.
const listName = "undo-packages"

// oneWay are packages that never go back to an older version: programs that were built since need
// them.
var oneWay = []string{"sys-libs/glibc", "sys-libs/musl", "sys-libs/libcxx", "sys-libs/libcxxabi",
	"llvm-runtimes/libcxx", "llvm-runtimes/libcxxabi"}

// build is a package as far as it tells builds apart.
type build struct {
	cp, version, slot, time, cpv string
}

func buildOf(get func(string) string, name string) (build, bool) {
	c, err := cpv.Parse(name)
	if err != nil {
		return build{}, false
	}
	slot, _, _ := strings.Cut(get("SLOT"), "/")
	return build{c.Category + "/" + c.PN, c.Version, cmp.Or(slot, "0"),
		get("BUILD_TIME"), name}, true
}

// older orders builds as emerge chooses among them.
func older(a, b build) int {
	at, _ := strconv.ParseInt(a.time, 10, 64)
	bt, _ := strconv.ParseInt(b.time, 10, 64)
	return cmp.Or(cpv.CompareVersions(a.version, b.version), cmp.Compare(at, bt))
}

// planBack compares what is installed with what goes and what will be there.
func (u *undo) planBack() error {
	if u.pkgdir == nil {
		return nil
	}
	now, err := u.pkgdir.Index()
	if err != nil {
		return err
	}
	going, there := u.builds(now)
	if len(going) == 0 {
		return nil
	}
	installed, _, err := u.m.Settings.Records("SLOT", "BUILD_TIME")
	if err != nil {
		return err
	}
	b := &Back{}
	for _, r := range installed {
		is, ok := buildOf(r.Get, r.CPV())
		if !ok || !slices.Contains(going, is) {
			continue
		}
		var best *build
		for i, x := range there {
			if x.cp == is.cp && x.slot == is.slot && (best == nil || older(*best, x) < 0) {
				best = &there[i]
			}
		}
		switch {
		case best == nil:
			b.Only = append(b.Only, Leftover{is.cpv, "no other build of it is here"})
		case slices.Contains(oneWay, is.cp) && cpv.CompareVersions(best.version, is.version) < 0:
			b.Only = append(b.Only, Leftover{is.cpv, best.cpv + " is here again, but an older " +
				is.cp + " breaks what was built since"})
		default:
			b.Names = append(b.Names, "="+best.cpv)
		}
	}
	slices.Sort(b.Names)
	b.Names = slices.Compact(b.Names)
	b.Line = u.line(b.Names, "")
	u.report.Back = b
	return nil
}

// builds are those that go, and those that are there when they are gone.
func (u *undo) builds(now *pkgindex.Index) (going, there []build) {
	act := make(map[string]action)
	back := make(map[string]bool)
	for i := range u.files {
		if f := &u.files[i]; f.kind == payload.Package {
			act[f.Local] = f.act
			back[f.Local] = f.act == restore || f.act == replace || f.act == beside
		}
	}
	for _, e := range now.Entries {
		x, ok := buildOf(e.Get, e.CPV())
		switch a := act[e.Path()]; {
		case !ok:
		case a == remove || a == replace:
			going = append(going, x)
		default:
			there = append(there, x)
		}
	}
	for _, e := range u.indexBefore().Entries {
		if x, ok := buildOf(e.Get, e.CPV()); ok && back[e.Path()] {
			there = append(there, x)
		}
	}
	return going, there
}

// line is what to type.
func (u *undo) line(names []string, file string) string {
	if len(names) == 0 {
		return ""
	}
	line := "emerge -a1K "
	if forecast.ChangesPlan(u.m.Settings.Get("EMERGE_DEFAULT_OPTS")) {
		line += "--ignore-default-opts "
	}
	if file != "" {
		return line + "$(cat " + fault.Quote(file) + ")"
	}
	return line + strings.Join(names, " ")
}

// saveBack writes the names to a file where they are too many for a line that people read.
func (u *undo) saveBack() error {
	b := u.report.Back
	if b == nil || len(b.Names) <= mostNames {
		return nil
	}
	root, err := durable.OpenRoot(u.m.StateDir, u.m.Hook)
	if err != nil {
		return err
	}
	defer root.Close()
	err = root.WriteFile(listName, durable.Attr{Mode: 0o644, UID: -1, GID: -1, ModTime: u.m.Now()},
		func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Join(b.Names, "\n")+"\n")
			return err
		})
	if err != nil {
		return err
	}
	b.File = filepath.Join(u.m.StateDir, listName)
	b.Line = u.line(b.Names, b.File)
	return nil
}
