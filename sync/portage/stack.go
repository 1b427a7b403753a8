package portage

import (
	"maps"
	"slices"
	"strings"
)

// stacker makes the effective values out of layers.
type stacker struct {
	// configuration
	env      Env
	layers   layers
	profOnly map[string]bool // variables that only profiles set
	profile  profileFlags

	// result
	values, sources map[string]string // of Settings
	knownFlags      map[string]bool
}

// profileFlags are what a profile's chain has for USE besides its make.defaults as a whole.
type profileFlags struct {
	defaults       []map[string]string // the values of each make.defaults, parents first
	forced, masked map[string]bool     // use.force, use.mask
}

// stack makes the effective values out of the layers.
func (t *stacker) stack(roots map[string]string, repos []Repo, main string) {
	t.environment()
	for _, y := range t.layers.lowestFirst() { // lowest first
		maps.Copy(t.values, y.values)
		maps.Copy(t.sources, y.from)
	}
	for _, k := range lateIncrementals {
		t.stackLate(k)
	}
	for _, k := range incrementals {
		if k != "USE" {
			t.stackSet(k)
		}
	}
	t.use()
	if v, ok := t.values["CHOST"]; ok {
		t.fallback("CBUILD", v)
	}
	t.fallback("USERLAND", "GNU")
	for _, k := range []string{"AUTOCLEAN", "NOCOLOR", "NO_COLOR"} {
		if v, ok := t.values[k]; ok {
			t.values[k] = strings.ToLower(v)
		}
	}
	maps.Copy(t.values, roots)
	t.repoVariables(repos, main)
}

// environment looks up every variable that is known so far.
func (t *stacker) environment() {
	keys := map[string]bool{}
	for _, list := range [][]string{incrementals, lateIncrementals, userOnlyEnv} {
		for _, k := range list {
			keys[k] = true
		}
	}
	for _, y := range t.layers.lowestFirst() {
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
		t.fromEnvironment(k)
	}
	for _, variable := range []string{"USE_EXPAND", "USE_EXPAND_UNPREFIXED"} {
		for _, k := range strings.Fields(t.layers.environ.values[variable]) {
			t.fromEnvironment(k)
		}
	}
}

// fromEnvironment takes a variable of the environment. A variable that only profiles may set is
// refused by Portage where it is incremental; other such variables slip through, and so they do
// here.
func (t *stacker) fromEnvironment(key string) {
	v, ok := t.env.lookup(key)
	if !ok || slices.Contains(blacklist, key) || t.profOnly[key] && isIncremental(key) {
		return
	}
	if old, set := t.layers.envd.values[key]; set && old == v {
		return // it only repeats profile.env: the login shell's value, not the user's
	}
	t.layers.environ.set(key, v, SourceEnvironment)
}

func (t *stacker) fallback(key, value string) {
	if _, ok := t.values[key]; ok {
		return
	}
	if v, ok := t.env.lookup(key); ok {
		value = v
		t.sources[key] = SourceEnvironment
	}
	t.values[key] = value
}

// stackLate joins the words of all layers and drops those before the last "*" or "-*".
func (t *stacker) stackLate(key string) {
	var words []string
	for _, y := range t.layers.lowestFirst() {
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
	t.values[key] = strings.Join(words, " ")
	if key == "ACCEPT_LICENSE" && len(words) == 0 {
		t.values[key] = "* -@EULA"
	}
}

// stackSet computes an incremental variable: a sorted set of words.
func (t *stacker) stackSet(key string) {
	var set []string
	for _, y := range t.layers.lowestFirst() {
		words := strings.Fields(y.values[key])
		set = stackWords(set, words)
		if key == "FEATURES" {
			t.noteFlags(words)
		}
	}
	if _, ok := t.values[key]; ok || len(set) > 0 || key == "FEATURES" {
		slices.Sort(set)
		t.values[key] = strings.Join(set, " ")
	}
}

// noteFlags remembers which FEATURES are mentioned.
func (t *stacker) noteFlags(words []string) {
	if t.knownFlags == nil {
		t.knownFlags = map[string]bool{}
	}
	for _, w := range words {
		t.knownFlags[strings.TrimLeft(w, "+-")] = true
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
func (t *stacker) repoVariables(repos []Repo, mainRepo string) {
	main, overlays := "", []string{}
	for i, r := range repos {
		if r.Name == mainRepo {
			main = r.Location
		}
		if r.Name != mainRepo || i > 0 {
			overlays = append(overlays, quoted(r.Location))
		}
	}
	t.values["PORTDIR"] = main
	t.values["PORTDIR_OVERLAY"] = strings.Join(overlays, " ")
	delete(t.sources, "PORTDIR")
	delete(t.sources, "PORTDIR_OVERLAY")
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
