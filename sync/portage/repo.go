package portage

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"time"
)

// Repo is an ebuild repository of this machine.
type Repo struct {
	// as Portage names it: profiles/repo_name, or repo-name of metadata/layout.conf
	Name     string
	Location string // real path
	Priority int    // the main repository has -1000 unless it is configured
	// commit: of the git checkout, else of metadata/timestamp.commit; "" if unknown
	Revision string
	// when the tree was made: metadata/timestamp.*, else the git checkout's; zero if unknown
	Timestamp time.Time

	// Syncs means that `emerge --sync` would fetch it: repos.conf has sync-type and sync-uri, and
	// auto-sync is not off.
	Syncs bool

	tree    tree
	aliases []string
	layout  map[string]string // metadata/layout.conf
}

// HasEbuild tells whether the repository has the ebuild of one version: a single stat of
// CATEGORY/PN/PF.ebuild.
func (r Repo) HasEbuild(category, pn, pf string) bool {
	for _, part := range []string{category, pn, pf} {
		if part == "" || part[0] == '.' || strings.ContainsAny(part, "/\x00") {
			return false
		}
	}
	fi, err := r.tree.stat(path.Join(r.Location, category, pn, pf+".ebuild"))
	return err == nil && fi.Mode().IsRegular()
}

// revision finds out which state of a repository lies at a location.
func (t tree) revision(location string) (commit string, when time.Time) {
	small := func(name string) string {
		data, err := t.readSmall(path.Join(location, name))
		if err != nil {
			return ""
		}
		line, _, _ := strings.Cut(string(data), "\n")
		return strings.TrimSpace(line)
	}
	// "<sha> <epoch> <date>"
	if f := strings.Fields(small("metadata/timestamp.commit")); len(f) >= 2 {
		commit, when = hexOnly(f[0]), epoch(f[1])
	}
	// "Sat, 01 Jun 2024 00:45:00 +0000"
	if chk, err := time.Parse(time.RFC1123Z, small("metadata/timestamp.chk")); err == nil &&
		when.IsZero() {
		when = chk.UTC()
	}
	// "<epoch> <date>"
	if f := strings.Fields(small("metadata/timestamp.x")); len(f) > 0 && when.IsZero() {
		when = epoch(f[0])
	}
	if head, t := t.gitHead(location); head != "" {
		commit = head
		if when.IsZero() {
			when = t
		}
	}
	return commit, when
}

func epoch(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<40 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func hexOnly(s string) string {
	if len(s) != 40 && len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// gitHead reads the commit of a checkout without git: HEAD, the loose ref it names, packed-refs.
// The time is that of the last entry of HEAD's log, else when the last fetch ended.
func (t tree) gitHead(location string) (commit string, when time.Time) {
	dir := path.Join(location, ".git")
	read := func(name string) string {
		data, _ := t.readSmall(path.Join(dir, name))
		return strings.TrimSpace(string(data))
	}
	if !t.isDir(dir) {
		data, _ := t.readSmall(dir) // a work tree or submodule: "gitdir: PATH"
		link, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
		if !ok {
			return "", time.Time{}
		}
		dir = join(location, link)
	}
	head := read("HEAD")
	if ref, ok := strings.CutPrefix(head, "ref: "); ok {
		head = t.gitRef(dir, read("commondir"), strings.TrimSpace(ref))
	}
	if head = hexOnly(head); head == "" {
		return "", time.Time{}
	}
	if log, err := t.readTail(path.Join(dir, "logs/HEAD")); err == nil {
		when = logTime(log)
	}
	if fi, err := t.stat(path.Join(dir, "FETCH_HEAD")); err == nil && when.IsZero() {
		when = fi.ModTime().UTC().Truncate(time.Second)
	}
	return head, when
}

func (t tree) gitRef(dir, common, ref string) string {
	if strings.Contains(ref, "..") {
		return ""
	}
	dirs := []string{dir}
	if common != "" {
		dirs = append(dirs, join(dir, common))
	}
	for _, d := range dirs {
		if data, err := t.readSmall(path.Join(d, ref)); err == nil {
			return strings.TrimSpace(string(data))
		}
		packed, _ := t.readFile(path.Join(d, "packed-refs"))
		for line := range strings.Lines(string(packed)) {
			if sha, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref {
				return sha
			}
		}
	}
	return ""
}

// logTime takes the time of a reflog's last line: "OLD NEW Name <mail> EPOCH ZONE<tab>message".
func logTime(log []byte) time.Time {
	log = bytes.TrimRight(log, "\n")
	line := log[bytes.LastIndexByte(log, '\n')+1:]
	who, _, _ := strings.Cut(string(line), "\t")
	f := strings.Fields(who)
	if len(f) < 2 {
		return time.Time{}
	}
	return epoch(f[len(f)-2])
}

func join(dir, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(dir, p)
}

// Ebuilds returns the names with version of the ebuilds of a package that the repository has.
func (r Repo) Ebuilds(category, pn string) []string {
	if !plainName(category) || !plainName(pn) {
		return nil
	}
	names, err := r.tree.names(path.Join(r.Location, category, pn))
	if err != nil {
		return nil
	}
	var found []string
	for _, name := range names {
		if pf, ok := strings.CutSuffix(name, ".ebuild"); ok && plainName(pf) {
			found = append(found, pf)
		}
	}
	return found
}

// HasEbuilds reports whether there is any ebuild: a repository may be one of profiles alone.
func (r Repo) HasEbuilds() bool {
	categories, err := r.tree.names(r.Location)
	if err != nil {
		return false
	}
	for _, category := range categories {
		if !strings.Contains(category, "-") && category != "virtual" {
			continue
		}
		packages, _ := r.tree.names(path.Join(r.Location, category))
		for _, pn := range packages {
			if len(r.Ebuilds(category, pn)) > 0 {
				return true
			}
		}
	}
	return false
}

// Metadata returns an ebuild's entry in metadata/md5-cache: the variables by name. It is false
// where the repository has no such file.
func (r Repo) Metadata(category, pf string) (map[string]string, bool) {
	if !plainName(category) || !plainName(pf) {
		return nil, false
	}
	data, err := r.tree.readFile(path.Join(r.Location, "metadata/md5-cache", category, pf))
	if err != nil {
		return nil, false
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			values[key] = value
		}
	}
	return values, true
}

func plainName(s string) bool {
	return s != "" && s[0] != '.' && !strings.ContainsAny(s, "/\x00")
}
