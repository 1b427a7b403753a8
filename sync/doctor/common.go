package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/machine"
	"pkgsneak/sync/trust"
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
	weight, fix := Wrong, []Fix{run(`date -s "YEAR-MONTH-DAY HOUR:MINUTE"`, "hwclock --systohc")}
	if e.is(Host) {
		weight = Broken
	}
	if !e.now.Before(trust.NotBefore) && least.After(e.now.Add(trust.MaxAhead)) {
		fix = append(fix, e.ifTheClockIsRight())
	}
	l.tell(Finding{Topic: "clock", Weight: weight,
		What: fmt.Sprintf("the clock says %s, but it is at least %s",
			fault.Time(e.now), fault.Time(least)),
		Why: "what is built or exported now gets that date, and looks older than what it replaces; import itself ignores the clock",
		Fix: fix})
}

// ifTheClockIsRight leads out where not this clock is wrong, but one by which something was signed:
// this machine's, at an export, or a build host's.
func (e *facts) ifTheClockIsRight() Fix {
	if e.hasExportedAhead() {
		return Fix{Do: "or, if this clock is right and was far ahead at an export: run",
			Lines: []string{"pkgsneak key renew"}}
	}
	return Fix{Do: `or, if this clock is right and that of a build host was far ahead: there "pkgsneak key renew" and export again, and here run`,
		Lines: []string{"pkgsneak import DRIVE --accept-clock"}}
}

// hasExportedAhead reports whether the last export as any of this machine's origins was far ahead
// of the clock.
func (e *facts) hasExportedAhead() bool {
	if e.st == nil {
		return false
	}
	return slices.ContainsFunc(e.st.Origins(), func(name string) bool {
		last, _ := e.st.Exported(name)
		return time.Unix(last.Serial, 0).After(e.now.Add(trust.MaxAhead))
	})
}

// directories looks at PKGDIR, and at DISTDIR of a host: is it there, a directory, writable, and
// is there space.
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
				What: fmt.Sprintf("there is no PKGDIR at %q", dir),
				Why:  "there is nothing to export until something has been built or packed",
				Fix:  []Fix{run(`quickpkg --include-config=y "*/*"`)}})
		}
	case err != nil:
		e.unknown("%s: %v", key, err)
		return
	}
	e.freeSpace(key, dir, topic)
}

// Bytes of free space below which a run is likely to end in the middle.
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
