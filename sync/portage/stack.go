package portage

import (
	"maps"
	"slices"
	"strings"
)

// incrementals are the variables whose values of all files are stacked.
var incrementals = []string{
	"ACCEPT_KEYWORDS", "CONFIG_PROTECT", "CONFIG_PROTECT_MASK", "ENV_UNSET", "FEATURES", "IUSE_IMPLICIT",
	"PROFILE_ONLY_VARIABLES", "USE", "USE_EXPAND", "USE_EXPAND_HIDDEN", "USE_EXPAND_IMPLICIT", "USE_EXPAND_UNPREFIXED",
}

// lateIncrementals are stacked too, but keep their order and their "-" words: licenses are expanded later.
var lateIncrementals = []string{"ACCEPT_LICENSE", "ACCEPT_PROPERTIES", "ACCEPT_RESTRICT"}

func isIncremental(key string) bool { return slices.Contains(incrementals, key) }

// blacklist are names that neither a file nor the environment can set.
var blacklist = strings.Fields(`
	A AA BASH_FUNC____in_portage_iuse%% BDEPEND BROOT CATEGORY DEPEND DESCRIPTION DOCS EAPI EBUILD_FORCE_TEST
	EBUILD_PHASE EBUILD_PHASE_FUNC EBUILD_SKIP_MANIFEST ED EMERGE_FROM EPREFIX EROOT GREP_OPTIONS HOMEPAGE IDEPEND
	INHERITED IUSE IUSE_EFFECTIVE KEYWORDS LICENSE MERGE_TYPE PDEPEND PF PKGUSE PORTAGE_BACKGROUND
	PORTAGE_BACKGROUND_UNMERGE PORTAGE_BUILDDIR_LOCKED PORTAGE_BUILT_USE PORTAGE_CONFIGROOT PORTAGE_EXPLICIT_INHERIT
	PORTAGE_INTERNAL_CALLER PORTAGE_IUSE PORTAGE_NONFATAL PORTAGE_PIPE_FD PORTAGE_REPO_NAME PORTAGE_USE PROPERTIES
	RDEPEND REPOSITORY REQUIRED_USE RESTRICT ROOT SANDBOX_LOG SLOT SRC_URI _`)

// userOnlyEnv are variables that matter and that often only the environment sets.
var userOnlyEnv = []string{"PKGDIR", "DISTDIR", "CHOST", "USE_ORDER", "PORTAGE_BINHOST", "EMERGE_DEFAULT_OPTS"}

// stack makes the effective values out of the layers.
func (l *loader) stack() {
	l.environment()
	for _, y := range l.layers() { // lowest first
		maps.Copy(l.s.Values, y.values)
		maps.Copy(l.s.Sources, y.from)
	}
	for _, k := range lateIncrementals {
		l.stackLate(k)
	}
	for _, k := range incrementals {
		if k != "USE" {
			l.stackSet(k)
		}
	}
	l.use()
	if v, ok := l.s.Values["CHOST"]; ok {
		l.fallback("CBUILD", v)
	}
	l.fallback("USERLAND", "GNU")
	for _, k := range []string{"AUTOCLEAN", "NOCOLOR", "NO_COLOR"} {
		if v, ok := l.s.Values[k]; ok {
			l.s.Values[k] = strings.ToLower(v)
		}
	}
	maps.Copy(l.s.Values, l.roots())
	l.repoVariables()
}

// layers are in Portage's order, the lowest first.
func (l *loader) layers() []layer {
	return []layer{l.envd, l.globals, l.defaults, l.conf, l.environ}
}

// environment looks up every variable that is known so far.
func (l *loader) environment() {
	keys := map[string]bool{}
	for _, list := range [][]string{incrementals, lateIncrementals, userOnlyEnv} {
		for _, k := range list {
			keys[k] = true
		}
	}
	for _, y := range l.layers() {
		for k, v := range y.values {
			keys[k] = true
			if strings.HasPrefix(k, "USE_EXPAND") {
				for _, name := range strings.Fields(v) {
					keys[name] = true
				}
			}
		}
	}
	for k := range keys {
		l.fromEnvironment(k)
	}
	for _, variable := range []string{"USE_EXPAND", "USE_EXPAND_UNPREFIXED"} {
		for _, k := range strings.Fields(l.environ.values[variable]) {
			l.fromEnvironment(k)
		}
	}
}

// fromEnvironment takes a variable of the environment. What only profiles may set is refused by Portage where it is
// incremental; other such variables slip through, and so they do here.
func (l *loader) fromEnvironment(key string) {
	v, ok := l.env.lookup(key)
	if !ok || slices.Contains(blacklist, key) || l.profOnly[key] && isIncremental(key) {
		return
	}
	if old, set := l.envd.values[key]; set && old == v {
		return // it only repeats profile.env: the login shell's value, not the user's
	}
	l.environ.set(key, v, SourceEnvironment)
}

func (l *loader) fallback(key, value string) {
	if _, ok := l.s.Values[key]; ok {
		return
	}
	if v, ok := l.env.lookup(key); ok {
		value = v
		l.s.Sources[key] = SourceEnvironment
	}
	l.s.Values[key] = value
}

// stackLate joins the words of all layers and drops those before the last "*" or "-*".
func (l *loader) stackLate(key string) {
	var words []string
	for _, y := range l.layers() {
		words = append(words, strings.Fields(y.values[key])...)
	}
	for i := len(words) - 1; i >= 0; i-- {
		if words[i] == "*" {
			words = words[i:]
			break
		}
		if words[i] == "-*" {
			if i < len(words)-1 {
				i++ // the last word stays: an empty value would mean the default
			}
			words = words[i:]
			break
		}
	}
	l.s.Values[key] = strings.Join(words, " ")
	if key == "ACCEPT_LICENSE" && len(words) == 0 {
		l.s.Values[key] = "* -@EULA"
	}
}

// stackSet computes an incremental variable: a sorted set of words.
func (l *loader) stackSet(key string) {
	var set []string
	for _, y := range l.layers() {
		words := strings.Fields(y.values[key])
		set = stackWords(set, words)
		if key == "FEATURES" {
			l.noteFlags(words)
		}
	}
	if _, ok := l.s.Values[key]; ok || len(set) > 0 || key == "FEATURES" {
		slices.Sort(set)
		l.s.Values[key] = strings.Join(set, " ")
	}
}

// noteFlags remembers of which FEATURES something is said.
func (l *loader) noteFlags(words []string) {
	if l.s.knownFlags == nil {
		l.s.knownFlags = map[string]bool{}
	}
	for _, w := range words {
		l.s.knownFlags[strings.TrimLeft(w, "+-")] = true
	}
}

// stackWords applies "-*", "-word" and "word" to a set.
func stackWords(set, words []string) []string {
	m := make(map[string]bool, len(set)+len(words))
	for _, w := range set {
		m[w] = true
	}
	for _, w := range words {
		w = strings.TrimPrefix(w, "+") // wrong, and taken by Portage with a complaint
		switch off, isOff := strings.CutPrefix(w, "-"); {
		case w == "":
		case w == "-*":
			clear(m)
		case isOff:
			delete(m, off)
		default:
			m[w] = true
		}
	}
	return slices.Sorted(maps.Keys(m))
}

// repoVariables sets what Portage derives from the repositories for old programs.
func (l *loader) repoVariables() {
	main, overlays := "", []string{}
	for i, r := range l.s.repos {
		if r.Name == l.main {
			main = r.Location
		}
		if r.Name != l.main || i > 0 {
			overlays = append(overlays, quoted(r.Location))
		}
	}
	l.s.Values["PORTDIR"] = main
	l.s.Values["PORTDIR_OVERLAY"] = strings.Join(overlays, " ")
	delete(l.s.Sources, "PORTDIR")
	delete(l.s.Sources, "PORTDIR_OVERLAY")
}

// quoted writes a path so that shellWords finds one word.
func quoted(p string) string {
	for i := range len(p) {
		if c := p[i]; !isNameByte(c) && strings.IndexByte("@%+=:,./-", c) < 0 {
			return "'" + strings.ReplaceAll(p, "'", `'"'"'`) + "'"
		}
	}
	return p
}
