package importer

import (
	"fmt"
	"time"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/ledger"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/portage"
)

// The two lines that end an import. The first installs binaries only and takes rebuilds of what is installed, the second compiles what has no binary, but does not fall for the two traps of a
// plain --usepkg: it ignores a package whose version has no ebuild here, and every rebuild of an installed version.
const (
	nextBinaries = "emerge -auDK @world"
	nextCompile  = "emerge -auDk --useoldpkg-atoms='*/*' @world"
)

// advise says what to type now, and what will not work as hoped.
func (im *importer) advise() {
	im.report.Next = []string{nextBinaries, nextCompile}
	repos, err := im.m.Settings.Repos()
	if err != nil || len(repos) == 0 {
		return
	}
	for _, in := range im.origins {
		if in.catalogue == nil {
			continue
		}
		im.noteTrees(in, repos)
		im.noteEbuilds(in, repos)
	}
	im.noteNewer()
}

// noteTrees compares the ebuild repositories of the origin with those of this machine.
func (im *importer) noteTrees(in *incoming, here []portage.Repo) {
	for _, theirs := range in.gen.Record.Repositories {
		ours, ok := findRepo(here, theirs.Name)
		switch {
		case !ok:
			im.note("origin %q has the repository %q, this machine has not", in.Plan.Origin, theirs.Name)
		case theirs.Revision != "" && theirs.Revision == ours.Revision, theirs.Timestamp.IsZero(), ours.Timestamp.IsZero():
		case !ours.Timestamp.Equal(theirs.Timestamp):
			im.note("repository %q is %s here than on origin %q (%s against %s)", theirs.Name, olderBy(ours.Timestamp, theirs.Timestamp), in.Plan.Origin,
				ours.Timestamp.UTC().Format(time.DateOnly), theirs.Timestamp.UTC().Format(time.DateOnly))
		}
	}
}

func (im *importer) note(format string, args ...any) {
	im.report.Notices = append(im.report.Notices, fmt.Sprintf(format, args...))
}

func findRepo(repos []portage.Repo, name string) (portage.Repo, bool) {
	for _, r := range repos {
		if r.Name == name {
			return r, true
		}
	}
	return portage.Repo{}, false
}

// olderBy says how many days lie between two trees.
func olderBy(ours, theirs time.Time) string {
	word, d := "newer", ours.Sub(theirs)
	if d < 0 {
		word, d = "older", -d
	}
	if days := int(d.Hours() / 24); days > 1 {
		return fmt.Sprintf("%d days %s", days, word)
	}
	return fmt.Sprintf("%d hours %s", int(d.Hours()), word)
}

// noteEbuilds counts the packages that plain --usepkg will ignore: their version has no ebuild in any repository here.
func (im *importer) noteEbuilds(in *incoming, repos []portage.Repo) {
	var without []string
	for _, it := range in.gen.Packages() {
		name, err := binpkg.ParseName(it.Path)
		entry, ok := in.entries[it.Path]
		if err != nil || !ok {
			continue
		}
		category := name.Category
		if name.InAll {
			category = entry.CPV()[:len(entry.CPV())-len(name.PF)-1]
		}
		if !hasEbuild(repos, category, name.PN, name.PF) {
			without = append(without, entry.CPV())
		}
	}
	if len(without) > 0 {
		im.note("%d packages have no ebuild here (%s): emerge --usepkg ignores them, -K and --useoldpkg-atoms do not", len(without), some(without))
	}
}

func hasEbuild(repos []portage.Repo, category, pn, pf string) bool {
	for _, r := range repos {
		if r.HasEbuild(category, pn, pf) {
			return true
		}
	}
	return false
}

// some names the first few of a list.
func some(list []string) string {
	const most = 3
	text := ""
	for i, s := range list {
		if i == most {
			return text + ", ..."
		}
		if i > 0 {
			text += ", "
		}
		text += s
	}
	return text
}

// noteNewer warns of installed builds that are newer than the origin's: -K with rebuilds would replace them.
func (im *importer) noteNewer() {
	built := make(map[string]int64)
	for _, in := range im.origins {
		for _, it := range in.gen.Packages() {
			e := in.entries[it.Path]
			if e.IsZero() {
				continue
			}
			when, _ := e.BuildTime()
			built[e.CPV()] = max(built[e.CPV()], when)
		}
	}
	installed, err := im.m.Settings.Installed()
	if err != nil {
		return
	}
	var newer []string
	for _, p := range installed {
		cpv := p.Category + "/" + p.PF
		if when, ok := built[cpv]; ok && when > 0 && p.BuildTime() > when {
			newer = append(newer, cpv)
		}
	}
	if len(newer) > 0 {
		im.note("%d installed packages were built later than the origin's (%s): add --rebuilt-binaries-timestamp=0 to keep them", len(newer), some(newer))
	}
}

// history adds this run to what status shows.
func (im *importer) history() error {
	if im.m.Unattended {
		return nil
	}
	for _, in := range im.origins {
		result := "done"
		switch {
		case len(in.LeftOut) > 0:
			result = fmt.Sprintf("done, %d files left out", len(in.LeftOut))
		case len(in.Copied)+len(in.Pruned) == 0:
			result = "nothing to do"
		}
		t := payload.Count(in.Copied)
		err := im.l.AddRun(ledger.Run{When: im.m.Now(), Verb: "import", Origin: in.Plan.Origin, Drive: im.o.Drive, Result: result, Serial: in.Plan.Serial, Files: t.Files, Bytes: t.Bytes})
		if err != nil {
			return err
		}
	}
	return nil
}
