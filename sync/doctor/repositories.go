package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"pkgsneak/sync/drive"
	"pkgsneak/sync/ebuilds"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/portage"
)

// RepositoryComparison reports what an import would do with an ebuild repository on the drive.
type RepositoryComparison struct {
	Name     string    `json:"name"`
	Origin   time.Time `json:"origin,omitzero"` // of the state on the drive
	Here     time.Time `json:"here,omitzero"`   // of this machine's
	Location string    `json:"location"`
	// take, unchanged, left alone or refused
	Action ebuilds.Action `json:"action"`
	Reason string         `json:"reason,omitempty"`
}

// repositoryRules look at the ebuild repositories of this machine, and compare them with those that
// a drive carries.
type repositoryRules struct {
	*facts
	*findings
}

// check looks at this machine's own.
func (e *repositoryRules) check() {
	repos, err := e.s.Repos()
	if err != nil {
		return
	}
	notes, err := ebuilds.ReadNotes(e.m.StateDir, nil)
	if err != nil {
		e.unknown("which ebuild repositories an import brought: %v", err)
	}
	for _, r := range repos {
		if e.is(Host) && !r.HasCache() && r.HasEbuilds() {
			e.tell(Finding{Topic: "repositories", Weight: Note, Role: Host,
				What: fmt.Sprintf("the repository %q has no metadata/md5-cache", r.Name),
				Why:  "it travels with the packages, and each client sources every ebuild of it, a tenth of a second for each",
				Fix:  []Fix{run("egencache --update --repo " + r.Name)}})
		}
		if err == nil && notes != nil && notes.Note(r.Name) != nil {
			e.sync(r)
		}
	}
}

// sync tells of a repository that comes with drives, and that emerge --sync would fetch as well.
func (e *repositoryRules) sync(r portage.Repo) {
	if !r.Syncs || e.is(Host) && !e.is(Client) {
		return
	}
	e.tell(Finding{Topic: "repositories", Weight: Wrong, Role: Client,
		What: fmt.Sprintf("emerge --sync fetches the repository %q, which comes with drives",
			r.Name),
		Why: "without a network it hangs for up to twenty minutes; with one it writes over what import brought, and import leaves the tree alone from then on",
		Fix: []Fix{e.noSync(r.Name)}})
}

// noSync is how a section of repos.conf is told not to sync.
func (e *repositoryRules) noSync(name string) Fix {
	lines := []string{"[" + name + "]", "auto-sync = no"}
	conf := path.Join(e.s.ConfigRoot, "etc/portage/repos.conf")
	if fi, err := os.Stat(e.s.HostPath(conf)); err == nil && !fi.IsDir() {
		return Fix{Do: "in the section [" + name + "]", File: conf, Lines: lines[1:]}
	}
	return Fix{Do: "in a file that is read after the others",
		File: path.Join(conf, "zz-"+name+".conf"), Lines: lines}
}

// compare tells what an import would do with the repositories of an origin, and returns those that
// are to be looked into where they lie.
func (e *repositoryRules) compare(ctx context.Context, c *Comparison,
	gen *drive.Generation) []forecast.Tree {
	if e.is(Host) && !e.is(Client) {
		return nil
	}
	notes, err := ebuilds.ReadNotes(e.m.StateDir, nil)
	if err != nil {
		return nil // told above
	}
	site := &ebuilds.Site{Settings: e.s, Notes: notes,
		Dirs: map[string]string{"PKGDIR": e.m.PKGDIR, "DISTDIR": e.m.DISTDIR}}
	var offers []ebuilds.Offer
	for _, r := range gen.Record.Repositories {
		if r.Tree == nil {
			continue
		}
		it, carried := gen.Find(payload.Repository, r.Tree.File)
		if carried {
			offers = append(offers, ebuilds.Offer{Name: r.Name, Origin: c.Origin,
				Serial: gen.Serial(), Tree: *r.Tree, Size: it.Size,
				Open: func() (io.ReadCloser, error) { return gen.Open(it) }})
		}
	}
	steps, err := site.Plan(ctx, offers, ebuilds.Options{})
	if err != nil {
		e.unknown("what an import would do with the ebuild repositories: %v", err)
		return nil
	}
	here, _ := e.s.Repos()
	for _, s := range steps {
		r := portage.Repo{}
		for _, one := range here {
			if one.Name == s.Name {
				r = one
			}
		}
		if s.Action == ebuilds.Take {
			e.profile(ctx, s, r)
		}
		c.Repositories = append(c.Repositories, RepositoryComparison{Name: s.Name,
			Origin: s.Offer().Tree.Timestamp, Here: r.Timestamp, Location: s.Location,
			Action: s.Action, Reason: s.Reason})
		e.step(s, r)
	}
	return forecast.TreesOf(ctx, here, steps...)
}

// step tells what is in the way of one repository.
func (e *repositoryRules) step(s *ebuilds.Step, here portage.Repo) {
	f := Finding{Topic: "repositories", Role: Client, Fix: []Fix{}}
	switch s.Action {
	case ebuilds.LeftAlone:
		if t := s.Offer().Tree; here.Name != "" && here.Revision == t.Revision &&
			here.Timestamp.Equal(t.Timestamp) {
			return // it is the same, however it came
		}
		f.Weight = Note
		f.What = fmt.Sprintf("the repository %q%s on the drive is left alone by an import: %s",
			s.Name, ofDay(s.Offer().Tree.Timestamp), s.Reason)
		f.Why = "what emerge computes from ebuilds, it computes from the tree here" + ofHere(here)
		f.Fix = append(f.Fix, Fix{
			Do:    "to give its place to the build host's, once (what is here is kept beside it): run",
			Lines: []string{"pkgsneak import " + e.driveWord() + " --adopt-repo " + s.Name}})
	case ebuilds.Refused:
		f.Weight = Wrong
		f.What = fmt.Sprintf("the repository %q%s on the drive is refused by an import: %s", s.Name,
			ofDay(s.Offer().Tree.Timestamp), s.Reason)
		f.Why = "the tree here stays, and the packages come all the same"
		if len(s.Hints) > 0 {
			f.Fix = append(f.Fix, Fix{Do: "first", Lines: s.Hints})
		}
	case ebuilds.Take:
		if here.Name != "" {
			e.sync(here)
		}
		return
	default:
		return
	}
	e.tell(f)
}

// profile looks whether this machine's profile is in a tree that would be taken.
func (e *repositoryRules) profile(ctx context.Context, s *ebuilds.Step, here portage.Repo) {
	name, ours := strings.CutPrefix(e.s.Profile, here.Location+"/profiles/")
	if here.Name == "" || !ours {
		return
	}
	there, err := ebuilds.Holds(ctx, s.Offer(), path.Join("profiles", name))
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		s.Action, s.Reason = ebuilds.Refused, fault.Text(err)
	case err == nil && !there:
		s.Action = ebuilds.Refused
		s.Reason = fmt.Sprintf("this machine's profile %q is not in it", name)
		s.Hints = []string{"eselect profile list",
			"eselect profile set PROFILE   (one that both trees have)"}
	}
}

func ofDay(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " of " + t.UTC().Format(time.DateOnly)
}

func ofHere(r portage.Repo) string {
	if r.Timestamp.IsZero() {
		return ""
	}
	return ", which is" + ofDay(r.Timestamp)
}
