package ebuilds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/watch"
)

// Site is a client as its repositories see it. Everything is handed in.
type Site struct {
	Settings *portage.Settings
	// directories that must not lie in a repository, by name: PKGDIR, DISTDIR
	Dirs   map[string]string
	Notes  *Notes
	Hook   durable.Hook                  // shown each change; nil outside of tests
	Proc   string                        // "/proc"; "" takes it
	Mounts func() ([]watch.Mount, error) // nil: the kernel's table
}

// Offer is a repository that a drive carries.
type Offer struct {
	Name   string
	Origin string
	Serial int64 // of the generation
	Tree   layout.Tree
	Size   int64 // bytes of the archive
	// the archive; its last Read tells whether it is the one that was signed
	Open func() (io.ReadCloser, error)
}

// Options state what is meant. The zero value takes nothing that import did not bring itself.
type Options struct {
	Adopt      []string // repositories of the user's that are import's from now on
	AllowOlder bool
	// NoUndo deletes the tree that was replaced at once.
	NoUndo bool
	// GoesOn: the import that kept what is kept was ended, and this one goes on with it. A tree
	// that it brought goes, and what it kept stays.
	GoesOn bool
	Change string // state.Changed.ID of that; "": it brought repositories alone
}

// Action is what becomes of an offer.
type Action string

// The actions.
const (
	Take      Action = "take"       // it is unpacked and gets the name
	Unchanged Action = "unchanged"  // it is here already
	LeftAlone Action = "left alone" // what is here is the user's: no part of what should come
	Refused   Action = "refused"    // it should have come
)

// Step is what is to be done with one offer: plain data.
type Step struct {
	Name     string   `json:"name"`
	Action   Action   `json:"action"`
	Location string   `json:"location"` // where it lies, or will lie
	Reason   string   `json:"reason,omitempty"`
	Hints    []string `json:"hints"`
	New      bool     `json:"new,omitempty"`     // nothing is there yet
	Adopted  bool     `json:"adopted,omitempty"` // the user's own is kept beside it
	Bytes    int64    `json:"bytes"`             // unpacked
	Count    int      `json:"count"`
	Conf     string   `json:"repos_conf,omitempty"` // the line that repos.conf needs, as a command

	offer Offer
}

// Offer is what the step is about.
func (s *Step) Offer() Offer { return s.offer }

// Plan decides about each offer, masters before those that stand on them. Nothing is changed.
func (s *Site) Plan(ctx context.Context, offers []Offer, o Options) ([]*Step, error) {
	repos, err := s.Settings.Repos()
	if err != nil {
		return nil, err
	}
	steps := make([]*Step, 0, len(offers))
	for _, offer := range inOrder(offers) {
		step := &Step{Name: offer.Name, Bytes: offer.Tree.Bytes,
			Count: offer.Tree.Count, offer: offer}
		if err := s.decide(ctx, step, repos, o); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// inOrder puts masters first.
func inOrder(offers []Offer) []Offer {
	var done []Offer
	var add func(o Offer, depth int)
	add = func(o Offer, depth int) {
		if depth > len(offers) || slices.ContainsFunc(done, func(d Offer) bool {
			return d.Name == o.Name
		}) {
			return
		}
		for _, master := range o.Tree.Masters {
			if i := slices.IndexFunc(offers, func(m Offer) bool {
				return m.Name == master
			}); i >= 0 && master != o.Name {
				add(offers[i], depth+1)
			}
		}
		if !slices.ContainsFunc(done, func(d Offer) bool { return d.Name == o.Name }) {
			done = append(done, o)
		}
	}
	for _, o := range offers {
		add(o, 0)
	}
	return done
}

// decide fills in a step.
func (s *Site) decide(ctx context.Context, step *Step, repos []portage.Repo, o Options) error {
	name := step.Name
	note := s.Notes.Note(name)
	adopt := slices.Contains(o.Adopt, name)
	i := slices.IndexFunc(repos, func(r portage.Repo) bool { return r.Name == name })
	if i < 0 {
		return s.decideNew(ctx, step, note, repos, o)
	}
	r := repos[i]
	if step.Location = s.Settings.HostPath(r.Location); isEmpty(step.Location) {
		step.New = true
		step.take(s.guardLocation(step, repos))
		return nil
	}
	ours := note != nil && note.Here != nil && (note.Location == step.Location ||
		filepath.Dir(note.Location) == step.Location)
	if ours {
		if note.Location != step.Location { // Portage does not look there yet
			step.Conf = moveLine(s.Settings, name, note.Location)
		}
		return s.decideOurs(ctx, step, note, repos, o)
	}
	if !adopt {
		what := "import did not bring the one here"
		if r.IsCheckout() {
			what = "the one here is a checkout of git"
		}
		step.leaveAlone(what, adoptHint(name))
		return nil
	}
	step.Adopted = true
	s.guard(step, r, repos, o)
	return nil
}

// decideOurs is about a repository that import brought.
func (s *Site) decideOurs(ctx context.Context, step *Step, note *Note, repos []portage.Repo,
	o Options) error {
	step.Location = note.Location
	adopt := slices.Contains(o.Adopt, step.Name)
	same, why, err := s.isUntouched(ctx, note)
	switch {
	case err != nil:
		return err
	case note.Here.Origin != step.offer.Origin && !adopt:
		step.leaveAlone(fmt.Sprintf("the one here came from the origin %q", note.Here.Origin),
			adoptHint(step.Name))
		return nil
	case same && note.Here.Digest == step.offer.Tree.Digest:
		step.Action = Unchanged
		return nil
	case !same && !adopt:
		step.leaveAlone("it was changed here since import brought it ("+why+")",
			adoptHint(step.Name))
		return nil
	}
	step.Adopted = !same
	s.guard(step, portage.RepoIn(step.Location), repos, o)
	return nil
}

// guard decides to take a tree in the place of the one here, unless its place or its age speaks
// against it.
func (s *Site) guard(step *Step, here portage.Repo, repos []portage.Repo, o Options) {
	refused := s.guardLocation(step, repos)
	if refused == nil && !o.AllowOlder {
		refused = checkAge(here, &step.offer.Tree)
	}
	step.take(refused)
}

func adoptHint(name string) string {
	return "if the build host's shall take its place: pkgsneak import DRIVE --adopt-repo " + name +
		" (once; the one here is kept as " + name + beforeSuffix + ")"
}

func (step *Step) leaveAlone(reason string, hints ...string) {
	step.Action, step.Reason, step.Hints = LeftAlone, reason, hints
}

func (step *Step) take(refused *Refusal) {
	step.Action = Take
	if refused != nil {
		step.Action, step.Reason, step.Hints = Refused, refused.Reason, refused.Hints
	}
}

// decideNew is about a repository that Portage does not find here.
func (s *Site) decideNew(ctx context.Context, step *Step, note *Note, repos []portage.Repo,
	o Options) error {
	at := portage.RepoLocation(s.Settings, step.Name)
	configured := at != ""
	if !configured {
		at = filepath.Join("/", s.Settings.EPREFIX, "var/db/repos", step.Name)
	}
	at = s.Settings.HostPath(at)
	if target, err := filepath.EvalSymlinks(at); err == nil {
		at = target
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(at)); err == nil {
		at = filepath.Join(dir, filepath.Base(at))
	}
	step.Location, step.New = at, true
	if !configured {
		step.Conf = confLine(s.Settings, step.Name, at)
	}
	fi, err := os.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		step.take(s.guardLocation(step, repos))
		return nil
	case err != nil:
		return err
	case ours(note, at, fi): // it is here, and only repos.conf does not name it
		step.New = false
		return s.decideOurs(ctx, step, note, repos, o)
	case isInner(note, at):
		step.New, step.Conf = false, moveLine(s.Settings, step.Name, note.Location)
		return s.decideOurs(ctx, step, note, repos, o)
	case fi.IsDir() && isEmpty(at):
		step.take(s.guardLocation(step, repos))
		return nil
	case !slices.Contains(o.Adopt, step.Name):
		step.leaveAlone(fmt.Sprintf("%q is there, and Portage does not take it for that repository",
			at), adoptHint(step.Name))
		return nil
	}
	step.New, step.Adopted = false, true
	s.guard(step, portage.RepoIn(at), repos, o)
	return nil
}

func isEmpty(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

func inodeOf(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// confLine is the command that writes a section of repos.conf.
func confLine(s *portage.Settings, name, location string) string {
	conf := filepath.Join(s.ConfigRoot, "etc/portage/repos.conf")
	text := fmt.Sprintf(`printf '[%s]\nlocation = %s\nauto-sync = no\n'`, name, location)
	if fi, err := os.Stat(s.HostPath(conf)); err == nil && !fi.IsDir() {
		return text + " >>" + conf
	}
	return "mkdir -p " + conf + "; " + text + " >" + conf + "/" + name + ".conf"
}

// moveLine is the command that tells Portage the other place of a repository which it has already.
func moveLine(s *portage.Settings, name, location string) string {
	conf := filepath.Join(s.ConfigRoot, "etc/portage/repos.conf")
	profile := ""
	if s.ProfileName() != "" {
		profile = "; eselect profile set " + s.ProfileName()
	}
	if fi, err := os.Stat(s.HostPath(conf)); err == nil && !fi.IsDir() {
		return fmt.Sprintf("set location = %s in the section [%s] of %s", location, name,
			conf) + profile
	}
	return fmt.Sprintf(`mkdir -p %s; printf '[%s]\nlocation = %s\nauto-sync = no\n' >%s/zz-%s.conf`,
		conf, name, location, conf, name) + profile
}

// guardLocation is what is checked before anything is unpacked, and decides on the place of a
// location that cannot change places with another directory.
func (s *Site) guardLocation(step *Step, repos []portage.Repo) *Refusal {
	mounts, err := s.mounts()
	if err != nil {
		return refusal(fmt.Sprintf("what is mounted here cannot be read: %v", err))
	}
	var things []inside
	for name, dir := range s.Dirs {
		things = append(things, inside{dir, name, "move it out, and set " + name +
			" in make.conf: mv %s /var/cache/"})
	}
	if tmp := s.Settings.Get("PORTAGE_TMPDIR"); tmp != "" {
		things = append(things, inside{s.Settings.HostPath(tmp), "PORTAGE_TMPDIR",
			"set PORTAGE_TMPDIR in make.conf to another directory than %s"})
	}
	for _, r := range repos {
		if at := s.Settings.HostPath(r.Location); r.Name != step.Name && at != step.Location {
			things = append(things, inside{at, fmt.Sprintf("the repository %q", r.Name),
				"mv %s /var/db/repos/" + r.Name + ", and change its location in repos.conf"})
		}
	}
	slices.SortFunc(things, func(a, b inside) int { return strings.Compare(a.name, b.name) })
	if refused := checkInside(step.Location, things, mounts); refused != nil {
		return refused
	}
	if s.needsOwnPlace(step.Location, mounts) {
		at := filepath.Join(step.Location, innerName)
		if fi, err := os.Lstat(at); err == nil && !ours(s.Notes.Note(step.Name), at, fi) {
			return refusal(fmt.Sprintf("it is a mount point or another device, and %q in it is taken", at), "mv "+at+" "+at+".old")
		}
		step.Location, step.New, step.Adopted = at, true, false
		step.Conf = moveLine(s.Settings, step.Name, at)
	}
	return nil
}

// innerName is the directory that is used in a location which cannot change places itself.
const innerName = "tree"

func ours(note *Note, at string, fi fs.FileInfo) bool {
	return note != nil && note.Here != nil && note.Location == at && note.Here.Inode == inodeOf(fi)
}

// isInner reports whether import brought a tree into a location that cannot change places itself.
func isInner(note *Note, location string) bool {
	at := filepath.Join(location, innerName)
	fi, err := os.Lstat(at)
	return err == nil && ours(note, at, fi)
}

// needsOwnPlace reports whether a location is a mount point, or lies on another device than the
// directory above it (a subvolume, a ZFS dataset), or directly below the root directory.
func (s *Site) needsOwnPlace(location string, mounts []string) bool {
	if slices.Contains(mounts, location) || filepath.Dir(location) == "/" {
		return true
	}
	here, err1 := os.Stat(location)
	above, err2 := os.Stat(filepath.Dir(location))
	return err1 == nil && err2 == nil && idOf(here).dev != idOf(above).dev
}

func (s *Site) mounts() ([]string, error) {
	read := s.Mounts
	if read == nil {
		read = watch.Mounts
	}
	list, err := read()
	points := make([]string, len(list))
	for i, m := range list {
		points[i] = m.Point
	}
	return points, err
}

func (s *Site) proc() string {
	if s.Proc == "" {
		return "/proc"
	}
	return s.Proc
}

// isUntouched reports whether the tree that import brought is still what it was: by names and
// status, and where those differ (a restored backup, another disk) by its contents. why names what
// differs.
func (s *Site) isUntouched(ctx context.Context, note *Note) (same bool, why string, err error) {
	return untouched(ctx, note.Location, note.Here)
}

func untouched(ctx context.Context, dir string, t *Tree) (same bool, why string, err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, "it is gone", nil
	}
	if err != nil {
		return false, "", err
	}
	defer root.Close()
	seen, err := walk(ctx, root, true)
	if err != nil {
		return false, "", err
	}
	if seen.seal == t.Seal {
		return true, "", nil
	}
	if len(seen.left) > 0 {
		return false, seen.left[0], nil
	}
	source := &Source{root: root, seen: seen}
	digest, err := source.Digest(ctx, nil)
	switch {
	case errors.Is(err, errChanged):
		return false, err.Error(), nil
	case err != nil:
		return false, "", err
	case digest == t.Digest:
		return true, "", nil
	}
	for i := range seen.entries {
		if e := &seen.entries[i]; int64(e.st.Mtim.Sec) != t.MTime {
			return false, fmt.Sprintf("%q", e.path), nil
		}
	}
	return false, "its files are others", nil
}
