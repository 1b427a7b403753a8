package portage

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/fault"
)

// BinRepo is a place from which emerge --getbinpkg takes packages.
type BinRepo struct {
	Name     string // the section of binrepos.conf; of a PORTAGE_BINHOST the MD5 of its URI
	SyncURI  string // without slashes at the end
	Location string // where fetched packages go; "" is PKGDIR
	File     string // the file in which the section stands first; "" for PORTAGE_BINHOST
	Priority int
	Frozen   bool // a copy of the index is used for ever
	// Verify is verify-signature: packages without an OpenPGP signature are refused, and XPAK
	// packages of all repositories are ignored. A PORTAGE_BINHOST has no such setting;
	// FEATURES=binpkg-request-signature does.
	Verify bool
}

// BinRepos returns what binrepos.conf and PORTAGE_BINHOST name, in Portage's order, the highest
// priority last, and what is wrong with the files. As in Portage, a section without a sync-uri does
// not count.
func (s *Settings) BinRepos() ([]BinRepo, []Problem) {
	var problems []Problem
	fail := func(p Problem) { problems = append(problems, p) }
	conf, files := s.readBinRepos(fail)
	var repos []BinRepo
	for _, name := range conf.sections {
		if r, ok := binRepo(conf, name, files[name], fail); ok {
			repos = append(repos, r)
		}
	}
	hosts := strings.Fields(s.Get("PORTAGE_BINHOST"))
	priority := 0
	for _, uri := range slices.Backward(hosts) {
		uri = strings.TrimRight(uri, "/")
		if slices.ContainsFunc(repos, func(r BinRepo) bool { return r.SyncURI == uri }) {
			continue
		}
		priority++
		sum := md5.Sum([]byte(uri))
		repos = append(repos, BinRepo{Name: hex.EncodeToString(sum[:]), SyncURI: uri,
			Priority: priority})
	}
	if len(hosts) == 0 {
		for i := range repos {
			if repos[i].Location == "" {
				repos[i].Location = s.EPREFIX + "/var/cache/binhost/" + repos[i].Name
			}
		}
	}
	slices.SortStableFunc(repos, func(a, b BinRepo) int {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		return strings.Compare(a.Name, b.Name)
	})
	return repos, problems
}

// readBinRepos reads Portage's own binrepos.conf and the machine's, and tells in which file each
// section stands first.
func (s *Settings) readBinRepos(fail func(Problem)) (*ini, map[string]string) {
	conf := newINI(map[string]string{
		"frozen": "false", "eprefix": s.EPREFIX, "eroot": s.eroot(),
		"portage_configroot": s.ConfigRoot, "root": s.Values["ROOT"],
	})
	files := map[string]string{}
	own := path.Join(s.EPREFIX, "/usr/share/portage/config/binrepos.conf")
	for _, p := range []string{own, path.Join(s.ConfigRoot, "etc/portage/binrepos.conf")} {
		for _, f := range s.configFiles(p, fail) {
			text, err := s.tree.readFile(f)
			if err != nil {
				fail(Problem{Path: f, Reason: fault.Bare(err).Error(), Fatal: true})
				continue
			}
			conf.parse(plainText(text, false), f, fail)
			for _, name := range conf.sections {
				if files[name] == "" {
					files[name] = f
				}
			}
		}
	}
	return conf, files
}

func binRepo(conf *ini, section, file string, fail func(Problem)) (BinRepo, bool) {
	get := func(option string) string {
		v, err := conf.get(section, option)
		if err != nil {
			fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] %s: %v", section, option,
				err), Fatal: true})
		}
		return v
	}
	r := BinRepo{Name: section, File: file, SyncURI: strings.TrimRight(get("sync-uri"), "/"),
		Location: get("location"),
		Frozen:   isYes(get("frozen")), Verify: isYes(get("verify-signature"))}
	if n, err := strconv.Atoi(strings.TrimSpace(get("priority"))); err == nil {
		r.Priority = n
	}
	if r.SyncURI == "" {
		fail(Problem{Path: file, Reason: fmt.Sprintf("[%s] has no sync-uri", section)})
	}
	return r, r.SyncURI != ""
}

func isYes(v string) bool { v = strings.ToLower(v); return v == "true" || v == "yes" }

// configFiles lists a configuration file, or the files of a directory of that name.
func (s *Settings) configFiles(p string, fail func(Problem)) []string {
	return s.tree.list(p, func(p string, err error) {
		fail(Problem{Path: p, Reason: fault.Bare(err).Error(), Fatal: true})
	})
}
