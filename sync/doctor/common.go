package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/pkgdir"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/volume"
)

// commonRules look at what every machine needs.
type commonRules struct {
	*facts
	*findings
}

func (e *commonRules) check(ctx context.Context) error {
	if len(e.roles) == 0 {
		e.tell(Finding{Topic: "role", Weight: Note,
			What: "this machine has neither exported nor imported yet",
			Why:  "what is wrong depends on what the machine is for",
			Fix: []Fix{{Do: "on the machine that builds", Lines: []string{"pkgsneak doctor --host",
				"pkgsneak export DRIVE"}},
				{Do: "on a machine that gets the packages",
					Lines: []string{"pkgsneak doctor --client", "pkgsneak trust DRIVE",
						"pkgsneak import DRIVE"}}}})
	}
	if e.o.Portage && !e.is(Client) {
		e.unknown("what emerge says: that is asked for a machine that imports (--client)")
	}
	e.config()
	judgeClock(e.facts, e.findings, time.Time{})
	if len(e.roles) == 0 {
		return nil
	}
	e.directories()
	return e.indexState(ctx)
}

// config tells what makes Portage itself stop.
func (e *commonRules) config() {
	for _, p := range e.s.Problems {
		if !p.Fatal {
			continue
		}
		if strings.Contains(p.Reason, "permission denied") {
			e.unknown("%s", p)
			continue
		}
		e.tell(Finding{Topic: "config", Weight: Broken, What: p.String(),
			Why: "emerge stops here, and what stands behind is not read",
			Fix: []Fix{{Do: "look at the line", File: p.Path, Lines: []string{}}}})
	}
	if len(e.s.Files) == 0 {
		e.unknown("Portage's configuration: there is none at %s", e.etc(""))
	}
}

// oldest is a time before which no clock can be right: there was no pkgsneak.
var oldest = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// judgeClock compares the clock with what cannot be later than now: what was signed on other
// machines, here or on a drive.
func judgeClock(e *facts, l *findings, signed time.Time) {
	least := signed
	if e.st != nil && least.Before(e.st.HighestTime()) {
		least = e.st.HighestTime()
	}
	if least.Before(oldest) {
		least = oldest
	}
	if e.now.After(least.Add(-24 * time.Hour)) {
		return
	}
	for _, f := range l.r.Findings {
		if f.Topic == "clock" {
			return
		}
	}
	weight := Wrong
	if e.is(Host) {
		weight = Broken
	}
	l.tell(Finding{Topic: "clock", Weight: weight,
		What: fmt.Sprintf("the clock says %s, but it is at least %s",
			fault.Time(e.now), fault.Time(least)),
		Why: "what is built or exported now gets that date, and looks older than what it replaces; import itself ignores the clock",
		Fix: []Fix{run(`date -s "YEAR-MONTH-DAY HOUR:MINUTE"`, "hwclock --systohc")}})
}

// directories looks at PKGDIR, and at DISTDIR of a host: there, a directory, writable, roomy.
func (e *commonRules) directories() {
	e.directory("PKGDIR", e.m.PKGDIR, "pkgdir")
	if e.is(Host) && e.m.DISTDIR != e.m.PKGDIR {
		e.directory("DISTDIR", e.m.DISTDIR, "distdir")
	}
	if both := machine.Overlap(e.m.PKGDIR, e.m.DISTDIR); both != "" {
		e.tell(Finding{Topic: "distdir", Weight: Note, What: both,
			Why: "emaint and eclean go through the whole of PKGDIR and of DISTDIR, and take files of the one for the other's",
			Fix: []Fix{inConf(e.s, "DISTDIR", assign("DISTDIR", "/var/cache/distfiles"))}})
	}
}

func (e *commonRules) directory(key, dir, topic string) {
	fi, err := os.Stat(dir)
	switch {
	case err == nil && !fi.IsDir():
		e.tell(Finding{Topic: topic, Weight: Broken, What: fmt.Sprintf("%s %q is not a directory",
			key, dir), Why: "emerge and pkgsneak keep their files there",
			Fix: []Fix{inConf(e.s, key, assign(key,
				"/var/cache/"+map[string]string{"PKGDIR": "binpkgs",
					"DISTDIR": "distfiles"}[key]))}})
		return
	case errors.Is(err, fs.ErrNotExist):
		if link, err := os.Readlink(dir); err == nil {
			e.tell(Finding{Topic: topic, Weight: Broken,
				What: fmt.Sprintf("%s %q is a link to %q, which is not there", key, dir, link),
				Why:  "a file system may not be mounted: emerge would find no packages, and write to the wrong place", Fix: []Fix{run("mount -a")}})
		} else if key == "PKGDIR" && e.is(Host) {
			e.tell(Finding{Topic: topic, Weight: Wrong, Role: Host,
				What: fmt.Sprintf("there is no PKGDIR at %q",
					dir),
				Why: "there is nothing to export until something has been built or packed",
				Fix: []Fix{run(`quickpkg --include-config=y "*/*"`)}})
		}
	case err != nil:
		e.unknown("%s: %v", key, err)
		return
	}
	e.freeSpace(key, dir, topic)
}

// Room below which a run is likely to end in the middle.
const (
	littleSpace = 1 << 30
	noSpace     = 64 << 20
)

// freeSpace looks at the file system on which a directory lies, or will lie.
func (e *commonRules) freeSpace(key, dir, topic string) {
	at := volume.Existing(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		e.unknown("room of %s: %v", key, err)
		return
	}
	if int64(st.Flags)&unix.ST_RDONLY != 0 {
		e.tell(Finding{Topic: topic, Weight: Broken,
			What: fmt.Sprintf("%s %q lies on a file system that is mounted read-only", key, dir),
			Why:  "nothing can be built, indexed or imported there",
			Fix:  []Fix{run("mount -o remount,rw " + fault.Quote(at))}})
		return
	}
	if f, ok := withoutLinks(key, dir, topic, volume.TypeAt(at)); ok {
		if on, known := e.s.HasFeature("distlocks"); key == "PKGDIR" || on || !known {
			e.tell(f)
		}
	}
	space := volume.SpaceOf(&st)
	weight := judgeSpace(space.Free, space.Total)
	if weight == "" {
		return
	}
	e.tell(Finding{Topic: "room", Weight: weight, What: fmt.Sprintf("%s %q has %s of room left",
		key, dir, fault.Size(space.Free)),
		Why: "a build or an import ends in the middle when the file system is full",
		Fix: []Fix{run("eclean-pkg --deep", "eclean-dist --deep")}})
}

// withoutLinks tells of a directory on a file system without hard links. Portage makes one each
// time it has waited for a lock (locks.py, _lockfile_was_removed): there its commands end in a
// traceback. This program works there.
func withoutLinks(key, dir, topic string, on volume.Type) (Finding, bool) {
	if on.HasLinks() {
		return Finding{}, false
	}
	f := Finding{Topic: topic, Weight: Broken,
		What: fmt.Sprintf("PKGDIR %q lies on %s: emerge cannot write its index there (no hard links)", dir, on),
		Why:  "emaint binhost --fix, and what emerge does after each build, end in a traceback; installing from there works, and so do pkgsneak index and import"}
	if key != "PKGDIR" {
		f.Weight, f.What = Wrong,
			fmt.Sprintf("%s %q lies on %s: emerge cannot lock its downloads there (FEATURES=distlocks, no hard links)", key, dir, on)
		f.Why = "a fetch ends in a traceback; what lies there is found and used"
	}
	f.Fix = []Fix{{Do: "move it to a file system of Linux (ext4, xfs, btrfs), and point " + key +
		" in make.conf there", Lines: []string{}}}
	return f, true
}

// judgeSpace weighs bytes of free space: "" is enough. A small file system has less, and that is as
// it should be.
func judgeSpace(free, total int64) Weight {
	switch {
	case free < noSpace:
		return Broken
	case free < min(littleSpace, total/20):
		return Wrong
	}
	return ""
}

// The limits, in files and in bytes, of what is read to be sure about an index; more differences
// than that are told as they look.
const (
	mostRead      = 50
	mostReadBytes = 512 << 20
)

// indexState tells whether the index matches PKGDIR.
func (e *commonRules) indexState(ctx context.Context) error {
	if e.dir == nil {
		return e.leftOut(ctx, nil)
	}
	scan, err := e.dir.Scan(ctx)
	if err == nil {
		err = e.dir.FindCopies(ctx, scan, nil)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		e.unknown("packages in %q: %v", e.m.PKGDIR, err)
		return nil
	}
	missed := e.dir.Missed(scan, e.listed())
	links := e.behindLinks(missed)
	if err := e.leftOut(ctx, missed); err != nil {
		return err
	}
	if len(scan.Files) == 0 && e.index == nil {
		return nil
	}
	f := Finding{Topic: "index", Weight: Wrong,
		Why: "emaint reads what is missing; emerge with pkgdir-index-trusted (the default) sees what is in the index and nothing else",
		Fix: []Fix{run("pkgsneak index")}}
	if len(links) > 0 {
		f.Fix = []Fix{{Do: "not before the links in PKGDIR are directories, because it drops the entries behind them: run", Lines: []string{"pkgsneak index"}}}
	}
	if e.trusts() {
		f.Weight = Broken
	}
	switch {
	case errors.Is(e.indexErr, fs.ErrNotExist):
		f.What = fmt.Sprintf("%q has %s and no index", e.m.PKGDIR,
			plural(len(scan.Files), "package"))
	case errors.Is(e.indexErr, fs.ErrPermission):
		e.unknown("the index: %v", e.indexErr)
		return nil
	case e.indexErr != nil:
		f.What = fmt.Sprintf("the index of %q cannot be read: %v", e.m.PKGDIR, e.indexErr)
	case !e.index.Header.Supported():
		f.What = fmt.Sprintf("the index of %q has no VERSION: 0: Portage takes it for empty",
			e.m.PKGDIR)
	default:
		return e.indexFits(ctx, scan, missed, links, f)
	}
	e.tell(f)
	return nil
}

// trusts tells whether emerge believes the index without looking: the default since Portage 3.0.52.
func (e *commonRules) trusts() bool {
	on, known := e.s.HasFeature("pkgdir-index-trusted")
	return on || !known
}

// listed are the paths of the index.
func (e *commonRules) listed() iter.Seq[string] {
	return func(yield func(string) bool) {
		if e.index == nil || !e.index.Header.Supported() {
			return
		}
		for _, entry := range e.index.Entries {
			if !yield(entry.Path()) {
				return
			}
		}
	}
}

// indexFits compares the index with the files. Only if few files differ are they read, as emaint
// would. Entries behind links are told elsewhere.
func (e *commonRules) indexFits(ctx context.Context, scan *pkgdir.Scan, missed []pkgdir.Missed,
	links []string, f Finding) error {
	missing, stale, bytes := compareIndex(scan, e.index)
	if len(missing) <= mostRead && bytes <= mostReadBytes {
		o := pkgdir.Options{Now: e.now}
		if on, known := e.s.HasFeature("compress-index"); known {
			o.CompressIndex = &on
		}
		check, err := e.dir.Check(ctx, o)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			e.unknown("the index: %v", err)
			return nil
		}
		e.unreadable(check.Invalid, missed)
		missing, stale = paths(check.Missing), paths(check.Stale)
		if len(missing)+len(stale) == 0 && len(check.Index) > 0 {
			f.Weight, f.What, f.Why = Note, strings.Join(check.Index,
				"; "), "emaint complains; emerge does not mind"
			if _, err := e.dir.Lstat("Packages.gz"); err == nil {
				f.Weight, f.Why = Wrong,
					"a machine that uses this PKGDIR as binhost reads Packages.gz first, and that is another one"
			}
			e.tell(f)
			return nil
		}
	}
	stale = withoutLinked(stale, links)
	switch {
	case len(missing) > 0 && len(stale) > 0:
		f.What = fmt.Sprintf("%s in %q not in the index as they are, and %s without a file",
			plural(len(missing), "package"), e.m.PKGDIR, entries(len(stale)))
	case len(missing) > 0:
		f.What = fmt.Sprintf("%s in %q not in the index as they are",
			plural(len(missing), "package"), e.m.PKGDIR)
	case len(stale) > 0:
		f.What, f.Weight = fmt.Sprintf("the index of %q has %s without a file", e.m.PKGDIR,
			entries(len(stale))), Wrong
		f.Why = "emerge plans with packages that are gone, and stops when it needs one"
	default:
		return nil
	}
	f.Names = append(missing, stale...)
	e.tell(f)
	return nil
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func paths(list []pkgdir.Problem) []string {
	var p []string
	for _, x := range list {
		p = append(p, x.Path)
	}
	return p
}

// compareIndex lists files that no entry describes by size and time, the entries whose file is
// gone, and the bytes of the former.
func compareIndex(scan *pkgdir.Scan, index *pkgindex.Index) (missing, stale []string, bytes int64) {
	byPath := make(map[string]pkgindex.Entry, len(index.Entries))
	for _, e := range index.Entries {
		byPath[e.Path()] = e
	}
	type alike struct { // to Portage one package, under whatever names
		base        string
		size, mtime int64
	}
	listed := make(map[alike]bool, len(index.Entries))
	for _, e := range index.Entries {
		size, _ := e.Size()
		mtime, _ := e.MTime()
		listed[alike{path.Base(e.Path()), size, mtime}] = true
	}
	for _, f := range scan.Files {
		e, ok := byPath[f.Path]
		if !ok && listed[alike{path.Base(f.Path), f.Info.Size(), f.Info.ModTime().Unix()}] {
			continue // moved, or a duplicate: told as an entry without a file, or not at all
		}
		delete(byPath, f.Path)
		size, _ := e.Size()
		mtime, _ := e.MTime()
		if ok && size == f.Info.Size() && mtime == f.Info.ModTime().Unix() {
			continue
		}
		missing = append(missing, f.Path)
		bytes += f.Info.Size()
	}
	for p := range byPath {
		stale = append(stale, p)
	}
	slices.Sort(stale)
	return missing, stale, bytes
}
