package portage

import (
	"path"
	"slices"
	"strings"

	"pkgsneak/sync/fault"
)

// maxSets bounds the sets that name one another.
const maxSets = 1000

// Sets is what @world consists of on this machine, as lines of files: atoms that nobody checked
// yet.
type Sets struct {
	World []string // atoms of var/lib/portage/world
	// of each set in var/lib/portage/world_sets, and those it names, by name without "@"
	User map[string][]string
	// System and Profile are the lines of the profile's files packages that begin with "*", without
	// it, and that do not.
	System, Profile []string
	Provided        []string // CPVs of package.provided
	Problems        []Problem
}

// Sets reads what emerge @world means on this machine. User's sets are those of /etc/portage/sets
// and of the repositories' sets directories; sets that programs make (@preserved-rebuild) are told
// as problems.
func (s *Settings) Sets() Sets {
	r := &setReader{s: s, sets: Sets{User: map[string][]string{}}}
	var names []string
	for _, w := range r.lines(path.Join(s.eroot(), "var/lib/portage/world")) {
		if name, isSet := strings.CutPrefix(w, "@"); isSet { // as Portage wrote it once
			names = append(names, name)
			continue
		}
		r.sets.World = append(r.sets.World, w)
	}
	for _, w := range r.lines(path.Join(s.eroot(), "var/lib/portage/world_sets")) {
		names = append(names, strings.TrimPrefix(w, "@"))
	}
	for _, name := range names {
		r.set(name)
	}
	r.profiles()
	return r.sets
}

type setReader struct {
	s    *Settings
	sets Sets
}

func (r *setReader) fail(p Problem) { r.sets.Problems = append(r.sets.Problems, p) }

// lines reads a file of one atom or set a line, or a directory of such files; what is absent is
// empty.
func (r *setReader) lines(p string) []string {
	var all []string
	for _, f := range r.s.configFiles(p, r.fail) {
		text, err := r.s.tree.readFile(f)
		if err != nil {
			if !isAbsent(err) {
				r.fail(Problem{Path: f, Reason: fault.Bare(err).Error(), Fatal: true})
			}
			continue
		}
		for _, line := range wordLines(plainText(text, false)) {
			word, _, _ := strings.Cut(line, " ")
			all = append(all, word)
		}
	}
	return all
}

// set reads a user's set and those that it names.
func (r *setReader) set(name string) {
	if _, done := r.sets.User[name]; done || len(r.sets.User) >= maxSets {
		return
	}
	switch name {
	case "selected", "system", "world", "profile", "selected-packages", "selected-sets":
		return // part of @world anyway
	}
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") {
		r.fail(Problem{Path: "world_sets", Reason: "@" + name + " is no name of a set"})
		return
	}
	for _, dir := range r.setDirs() {
		p := path.Join(dir, name)
		if !r.s.tree.exists(p) {
			continue
		}
		r.sets.User[name] = nil
		for _, w := range r.lines(p) {
			if inner, isSet := strings.CutPrefix(w, "@"); isSet {
				r.set(inner)
				continue
			}
			r.sets.User[name] = append(r.sets.User[name], w)
		}
		return
	}
	r.fail(Problem{Path: "world_sets", Reason: "the set @" + name +
		" is no file: its packages are not looked at"})
}

func (r *setReader) setDirs() []string {
	dirs := []string{path.Join(r.s.ConfigRoot, "etc/portage/sets")}
	for _, repo := range r.s.repos {
		dirs = append(dirs, path.Join(repo.Location, "sets"),
			path.Join(repo.Location, "metadata/sets"))
	}
	return dirs
}

// profiles stacks packages and package.provided over the profile's chain.
func (r *setReader) profiles() {
	var all []string
	for _, dir := range r.s.Profiles {
		lines := r.lines(path.Join(dir, "packages"))
		if !r.s.profileSet(dir) {
			lines = slices.DeleteFunc(lines, func(w string) bool {
				return !strings.HasPrefix(strings.TrimPrefix(w, "-"), "*")
			})
		}
		all = stackLines(all, lines)
		r.sets.Provided = stackLines(r.sets.Provided, r.lines(path.Join(dir, "package.provided")))
	}
	for _, w := range all {
		if atom, system := strings.CutPrefix(w, "*"); system {
			r.sets.System = append(r.sets.System, atom)
		} else {
			r.sets.Profile = append(r.sets.Profile, w)
		}
	}
}

// profileSet reports whether the lines of a profile's file packages without "*" mean @profile:
// where layout.conf asks for it, and in /etc/portage/profile.
func (s *Settings) profileSet(dir string) bool {
	repo := repoOf(s.repos, dir)
	return repo == nil || slices.Contains(strings.Fields(repo.layout["profile-formats"]),
		"profile-set")
}

// stackLines adds lines to a list; "-line" takes away an equal one, "-*" all.
func stackLines(list, lines []string) []string {
	if len(lines) == 0 {
		return list
	}
	place := make(map[string]int, len(list)+len(lines))
	for i, w := range list {
		place[w] = i
	}
	list = slices.Clone(list)
	for _, w := range lines {
		off, isOff := strings.CutPrefix(w, "-")
		switch _, there := place[w]; {
		case w == "-*":
			list = list[:0]
			clear(place)
		case isOff:
			if i, found := place[off]; found {
				list[i] = ""
				delete(place, off)
			}
		case !there:
			place[w] = len(list)
			list = append(list, w)
		}
	}
	return slices.DeleteFunc(list, func(w string) bool { return w == "" })
}
