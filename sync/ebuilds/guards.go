package ebuilds

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/portage"
)

// A Refusal reports why a tree does not get its name, and what to type.
type Refusal struct {
	Reason string
	Hints  []string
	Short  int64 // bytes that lack on the disk; 0: it is not for want of room
}

func (e *Refusal) Error() string { return e.Reason }

func refusal(reason string, hints ...string) *Refusal {
	return &Refusal{Reason: reason, Hints: hints}
}

// checkTree looks at an unpacked tree before it gets its name: with a wrong one Portage stops
// altogether. coming names the repositories that this import brings too.
func checkTree(s *portage.Settings, name, location, staged string, coming []string) *Refusal {
	r := portage.RepoIn(staged)
	if r.Name != name {
		return refusal(fmt.Sprintf("the repository in it calls itself %q", r.Name))
	}
	if missing := missingMaster(s, r, coming); missing != "" {
		return refusal(fmt.Sprintf("it stands on the repository %q, which is not here", missing),
			"on the build host: pkgsneak export DRIVE, without --repos or with --repos "+missing+","+name)
	}
	dirs, problem := portage.ProfileWith(s, name, location, staged)
	if problem != nil && s.Profile != "" { // else Portage stands still already
		return profileRefusal(s, problem, staged)
	}
	dirs = append(dirs, portage.ProfileDir{Dir: path.Join(location, "profiles"),
		EAPI: firstLine(filepath.Join(staged, "profiles/eapi"))})
	return checkEAPIs(s, dirs)
}

// missingMaster returns a repository on which this one stands and that Portage would not find.
func missingMaster(s *portage.Settings, r portage.Repo, coming []string) string {
	here, _ := s.Repos()
	for _, master := range r.Masters() {
		known := slices.Contains(coming, master) || master == r.Name ||
			slices.ContainsFunc(here, func(o portage.Repo) bool { return o.Called(master) })
		if !known {
			return master
		}
	}
	return ""
}

// checkEAPIs refuses a chain with a directory that the installed Portage cannot read. Where no
// Portage is found nothing can be told.
func checkEAPIs(s *portage.Settings, dirs []portage.ProfileDir) *Refusal {
	most, known := s.PortageEAPI()
	for _, d := range dirs {
		if d.EAPI == "" || !known {
			continue
		}
		if n, err := strconv.Atoi(d.EAPI); err != nil || n < 0 || n > most {
			return refusal(fmt.Sprintf("its profile %q has the EAPI %q, and the Portage installed here reads those up to %d: it would stop altogether", d.Dir, d.EAPI, most),
				"emerge -1auDK sys-apps/portage, then import again")
		}
	}
	return nil
}

// profileRefusal is about a profile that the new tree does not have, or only in part.
func profileRefusal(s *portage.Settings, problem *portage.Problem, staged string) *Refusal {
	r := refusal(fmt.Sprintf("this machine's profile %q is not whole in it (%s): Portage would stop altogether", s.ProfileName(), problem))
	if next := successor(s, staged); next != "" {
		r.Hints = append(r.Hints, "eselect profile set "+next+", then import again")
	} else {
		r.Hints = append(r.Hints, "choose a profile that both trees have: eselect profile list")
	}
	return r
}

// successor is the profile that takes the place of this machine's: the one that its file deprecated
// names, or the one of the new tree with the same end.
func successor(s *portage.Settings, staged string) string {
	exists := func(name string) bool {
		fi, err := os.Stat(filepath.Join(staged, "profiles", filepath.Clean("/"+name)))
		return name != "" && err == nil && fi.IsDir()
	}
	if next := firstLine(s.HostPath(path.Join(s.Profile, "deprecated"))); s.Profile != "" &&
		exists(next) {
		return next
	}
	var best string
	most := 0
	for _, name := range described(staged, s.ARCH()) {
		if n := sameEnd(name, s.ProfileName()); n > most && exists(name) {
			best, most = name, n
		}
	}
	return best
}

// described lists the profiles that a tree's profiles.desc has for an architecture.
func described(staged, arch string) []string {
	data := readLittle(filepath.Join(staged, "profiles/profiles.desc"), 1<<20)
	var names []string
	for line := range strings.Lines(data) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == arch {
			names = append(names, f[1])
		}
	}
	return names
}

// sameEnd counts the last parts that two paths have in common.
func sameEnd(a, b string) int {
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	n := 0
	for n < len(x) && n < len(y) && x[len(x)-1-n] == y[len(y)-1-n] {
		n++
	}
	return n
}

func firstLine(name string) string {
	line, _, _ := strings.Cut(readLittle(name, 4096), "\n")
	return strings.TrimSpace(line)
}

// readLittle reads the beginning of a regular file, "" if there is none.
func readLittle(name string, most int64) string {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	data, _ := io.ReadAll(io.LimitReader(f, most))
	return string(data)
}

// inside is a directory that must not go away with the tree in which it lies.
type inside struct {
	path, name string // name: PKGDIR, the repository "x", ...
	hint       string // how it is moved out; with %s for the path
}

// checkInside refuses a location in which something else lies: PKGDIR and DISTDIR of older
// machines, the place where Portage builds, another repository, a mount point. Paths are compared
// by device and inode.
func checkInside(location string, things []inside, mounts []string) *Refusal {
	top, err := os.Stat(location)
	if err != nil {
		return nil
	}
	children := map[fileID]string{idOf(top): location}
	if names, err := os.ReadDir(location); err == nil {
		for _, e := range names {
			if fi, err := os.Stat(filepath.Join(location, e.Name())); err == nil && fi.IsDir() {
				children[idOf(fi)] = filepath.Join(location, e.Name())
			}
		}
	}
	for _, t := range things {
		if below(t.path, children) {
			at := t.path // a link to it would be moved, and the directory stay
			if real, err := filepath.EvalSymlinks(at); err == nil {
				at = real
			}
			return refusal(fmt.Sprintf("%s (%q) lies in it", t.name, t.path),
				strings.ReplaceAll(t.hint, "%s", fault.Quote(at)))
		}
	}
	for _, m := range mounts {
		if strings.HasPrefix(m, location+"/") {
			return refusal(fmt.Sprintf("something is mounted in it (%q)", m),
				"umount "+fault.Quote(m)+", or mount it elsewhere, then import again")
		}
	}
	return nil
}

type fileID struct{ dev, ino uint64 }

func idOf(fi os.FileInfo) fileID {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}
	}
	return fileID{uint64(st.Dev), st.Ino}
}

// below reports whether a path, or what exists of it, is one of the directories or lies below one.
func below(name string, dirs map[fileID]string) bool {
	if name == "" {
		return false
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	for p := filepath.Clean(name); ; p = filepath.Dir(p) {
		if fi, err := os.Stat(p); err == nil && dirs[idOf(fi)] != "" {
			return true
		}
		if p == "/" || p == "." {
			return false
		}
	}
}

// portagePrograms are the names of processes under which eclasses must not change.
var portagePrograms = []string{"emerge", "ebuild", "ebuild.sh", "egencache", "emerge-webrsync"}

// runningPortage names a process of Portage that runs now, with its number; "" if there is none.
// proc is /proc.
func runningPortage(proc string) string {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") != "" {
			continue
		}
		if comm := firstLine(filepath.Join(proc, e.Name(),
			"comm")); slices.Contains(portagePrograms, comm) {
			return fmt.Sprintf("%s (process %s)", comm, e.Name())
		}
	}
	return ""
}

// checkAge refuses a tree that is older than the one here.
func checkAge(here portage.Repo, tree *layout.Tree) *Refusal {
	if here.Timestamp.IsZero() || tree.Timestamp.IsZero() ||
		!tree.Timestamp.Before(here.Timestamp) {
		return nil
	}
	return refusal(fmt.Sprintf("it is of %s, and the one here of %s",
		fault.Time(tree.Timestamp), fault.Time(here.Timestamp)),
		"if it is meant, this once: --allow-older")
}
