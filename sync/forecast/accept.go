package forecast

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/sync/depend"
	"pkgsneak/sync/portage"
	"pkgsneak/sync/resolve"
)

// acceptance is this machine's configuration: what Portage lets in.
type acceptance struct {
	m              *Machine
	mask, unmask   lineSet[string]
	accept         lineSet[[]string]
	keywords       lineSet[[]string]
	license        lineSet[[]string]
	use            lineSet[[]string]
	profileUse     lineSet[[]string]
	acceptKeywords []string
	acceptLicense  []string // groups replaced by their members
	hosts          *regexp.Regexp
	flags          map[string]bool   // USE
	hidden         []string          // prefixes of flags that nobody chooses
	byLicense      map[string]string // answers that no line of package.license changes
	noProfile      bool
}

func newAcceptance(m *Machine) *acceptance {
	s := m.settings
	a := &acceptance{m: m, acceptKeywords: strings.Fields(s.Get("ACCEPT_KEYWORDS")),
		flags: wordSet(s.Get("USE")), noProfile: s.Profile == "",
		acceptLicense: portage.ExpandLicenses(strings.Fields(s.Get("ACCEPT_LICENSE")),
			m.licenses), byLicense: make(map[string]string)}
	for _, line := range m.masks.Mask {
		a.mask.add(line, line)
	}
	for _, line := range m.masks.Unmask {
		a.unmask.add(line, line)
	}
	for set, lines := range map[*lineSet[[]string]][]portage.PackageLine{&a.accept: m.masks.Accept,
		&a.keywords: m.masks.Keywords,
		&a.license:  m.masks.License, &a.use: m.masks.Use, &a.profileUse: m.masks.ProfileUse} {
		for _, l := range lines {
			set.add(l.Atom, l.Words)
		}
	}
	a.hosts = acceptedHosts(s)
	for _, v := range strings.Fields(s.Get("USE_EXPAND_HIDDEN")) {
		a.hidden = append(a.hidden, strings.ToLower(v)+"_")
	}
	return a
}

// acceptedHosts is ACCEPT_CHOSTS, else CHOST; nil accepts all.
func acceptedHosts(s *portage.Settings) *regexp.Regexp {
	words := strings.Fields(s.Get("ACCEPT_CHOSTS"))
	if len(words) == 0 {
		if chost, known := s.CHOST(); known {
			words = []string{regexp.QuoteMeta(chost)}
		}
	}
	if len(words) == 0 {
		return nil
	}
	re, err := regexp.Compile("^(?:" + strings.Join(words, "|") + ")$")
	if err != nil {
		return nil // one of Python's that Go does not have
	}
	return re
}

// judge reports whether the configuration accepts a package.
func (a *acceptance) judge(p resolve.Package, installed bool) resolve.Reason {
	q, ok := dependPackage(&p)
	if !ok {
		return resolve.Reason{Kind: resolve.Invalid, Text: "not a name of a package"}
	}
	if n, err := strconv.Atoi(p.EAPI); !installed && p.EAPI != "" &&
		(err != nil || a.m.EAPI > 0 && n > a.m.EAPI) {
		return resolve.Reason{Kind: resolve.Unreadable, Text: "EAPI " + p.EAPI}
	}
	if !a.acceptsHost(p.CHOST) {
		return resolve.Reason{Kind: resolve.Machine, Text: p.CHOST}
	}
	if masks := a.mask.of(&q); len(masks) > 0 && len(a.unmask.of(&q)) == 0 {
		return resolve.Reason{Kind: resolve.Mask, Text: masks[len(masks)-1]}
	}
	if a.noProfile {
		return resolve.Reason{} // ACCEPT_KEYWORDS and licence groups would be a part of the truth
	}
	if missing := a.missingLicenses(p.License, &q); missing != "" {
		return resolve.Reason{Kind: resolve.License, Text: missing}
	}
	if want := a.missingKeyword(p.Keywords, &q); want != "" {
		return resolve.Reason{Kind: resolve.Keyword, Text: want}
	}
	return resolve.Reason{}
}

func (a *acceptance) acceptsHost(chost string) bool {
	return chost == "" || a.hosts == nil || a.hosts.MatchString(chost)
}

// missingLicenses returns the licenses that are not accepted, "" if nothing is missing.
func (a *acceptance) missingLicenses(license string, q *depend.Package) string {
	if license == "" {
		return ""
	}
	if strings.Contains(license, "? ") {
		if text, err := depend.Reduce(license, q.Use, depend.Options{}); err == nil {
			license = text
		}
	}
	own := a.license.of(q)
	if missing, known := a.byLicense[license]; known && len(own) == 0 {
		return missing
	}
	accept := a.acceptLicense
	for _, words := range own {
		accept = append(slices.Clip(accept), portage.ExpandLicenses(words, a.m.licenses)...)
	}
	missing := strings.Join(portage.MissingLicenses(license, accept), " ")
	if len(own) == 0 {
		a.byLicense[license] = missing
	}
	return missing
}

// missingKeyword returns the keyword that would have to be accepted, "" if one is. This is
// KeywordsManager of Portage 3.0.
func (a *acceptance) missingKeyword(keywords string, q *depend.Package) string {
	has := strings.Fields(keywords)
	for _, words := range a.keywords.of(q) {
		has = portage.StackWords(has, words)
	}
	accept := a.acceptKeywords
	for _, words := range a.accept.of(q) {
		if len(words) == 0 {
			for _, k := range a.acceptKeywords {
				if k[0] != '~' && k[0] != '-' {
					words = append(words, "~"+k)
				}
			}
		}
		accept = portage.StackWords(accept, words)
	}
	if portage.KeywordsAccepted(has, accept) {
		return ""
	}
	for _, k := range has {
		if k == a.m.ARCH || k == "~"+a.m.ARCH {
			return k
		}
	}
	return "**"
}

// wants returns what this machine sets of a package's flags. If that is not sure (the ebuild's own
// default, which a word of make.conf may have taken back, or a line of the profile), it is what the
// package has.
func (a *acceptance) wants(p resolve.Package) func(flag string) bool {
	q, ok := dependPackage(&p)
	if !ok || a.noProfile {
		return func(flag string) bool { return ok && q.Use(flag) }
	}
	said, unsure := map[string]bool{}, map[string]bool{}
	for _, words := range a.profileUse.of(&q) {
		for _, w := range words {
			unsure[strings.TrimLeft(w, "+-")] = true
		}
	}
	all := false
	for _, words := range a.use.of(&q) {
		for _, w := range words {
			flag, off := strings.CutPrefix(w, "-")
			all = all || strings.HasSuffix(flag, "*")
			said[strings.TrimPrefix(flag, "+")] = !off
		}
	}
	byDefault := map[string]bool{}
	for w := range strings.FieldsSeq(p.IUse) {
		if strings.HasPrefix(w, "+") {
			byDefault[w[1:]] = true
		}
	}
	return func(flag string) bool {
		on, known := said[flag]
		switch {
		case known:
			return on
		case all, unsure[flag], !a.flags[flag] && byDefault[flag], slices.ContainsFunc(a.hidden,
			func(s string) bool { return strings.HasPrefix(flag, s) }):
			return q.Use(flag)
		}
		return a.flags[flag]
	}
}

// otherUse returns the flags in which a package differs from what this machine sets: "+flag" or
// "-flag" as the package has it.
func (a *acceptance) otherUse(p resolve.Package) []string {
	want, use := a.wants(p), wordSet(p.Use)
	var flags []string
	for w := range strings.FieldsSeq(p.IUse) {
		flag := strings.TrimLeft(w, "+-")
		switch on := use[flag]; {
		case on == want(flag):
		case on:
			flags = append(flags, "+"+flag)
		default:
			flags = append(flags, "-"+flag)
		}
	}
	return flags
}

// ReasonText puts a reason in words, behind "is".
func ReasonText(r resolve.Reason) string {
	switch r.Kind {
	case resolve.Keyword:
		return "masked here by " + r.Text
	case resolve.License:
		return "masked here by its license " + r.Text
	case resolve.Mask:
		return "masked here by package.mask (" + r.Text + ")"
	case resolve.Machine:
		return "made for " + r.Text + ", which this machine does not accept"
	case resolve.Unreadable:
		return fmt.Sprintf("of %s, which the Portage installed here cannot read", r.Text)
	case resolve.CPU:
		return "built for a CPU with " + r.Text + ", which this one lacks"
	case resolve.OtherUse:
		return "built with other USE (" + r.Text + ")"
	}
	return "not valid: " + r.Text
}
