package doctor

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pkgsneak/sync/cpu"
	"pkgsneak/sync/pkgindex"
	"pkgsneak/sync/portage"
)

// expanded are the variables whose words are USE flags with a prefix, where neither machine's
// profile tells.
const expanded = "ABI_X86 ALSA_CARDS APACHE2_MODULES CPU_FLAGS_ARM CPU_FLAGS_X86 INPUT_DEVICES L10N LLVM_TARGETS LUA_TARGETS LUA_SINGLE_TARGET PHP_TARGETS PYTHON_SINGLE_TARGET PYTHON_TARGETS QEMU_SOFTMMU_TARGETS QEMU_USER_TARGETS RUBY_TARGETS VIDEO_CARDS"

// followTree are the variables that the profile sets and changes with time: they differ because the
// trees do.
var followTree = []string{"LLVM_SLOT", "LUA_SINGLE_TARGET", "LUA_TARGETS", "PHP_TARGETS",
	"POSTGRES_TARGETS", "PYTHON_SINGLE_TARGET", "PYTHON_TARGETS", "RUBY_TARGETS"}

// useFlags is the comparison of USE.
type useFlags struct {
	theirs, ours map[string]bool
	expand       []string
	hidden       []string
	lines        []portage.PackageLine

	count map[string]map[string]bool // variable -> packages that it concerns
	// variable -> flags that the origin has on, or off, and this machine has not
	on, off  map[string]map[string]bool
	explicit []string // packages that differ from a line in package.use
}

// use tells for which packages USE differs from what this machine would choose.
func (x *comparer) use() {
	theirs, ours := x.header.Get("USE"), x.s.Get("USE")
	if theirs == "" && x.gen.Record.Profile != "" {
		theirs = x.gen.Record.USE // without a profile it would be a part of the truth
	}
	if theirs == "" || ours == "" {
		x.unknown("USE of origin %q: it had no profile when it was exported", x.c.Origin)
		return
	}
	u := &useFlags{theirs: wordSet(theirs), ours: wordSet(ours),
		count: map[string]map[string]bool{}, on: map[string]map[string]bool{},
		off: map[string]map[string]bool{}}
	u.expand = slices.Concat(strings.Fields(x.header.Get("USE_EXPAND")),
		strings.Fields(x.s.Get("USE_EXPAND")))
	if len(u.expand) == 0 {
		u.expand = strings.Fields(expanded)
	}
	u.hidden = slices.Concat(strings.Fields(x.header.Get("USE_EXPAND_HIDDEN")),
		strings.Fields(x.s.Get("USE_EXPAND_HIDDEN")))
	u.lines, _ = x.s.PackageLines("package.use")
	for _, entry := range x.entries {
		u.entry(entry)
	}
	for _, key := range slices.Sorted(maps.Keys(u.count)) {
		x.tellUse(u, key)
	}
	x.tellExplicit(u.explicit)
}

func wordSet(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

var plainFlag = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+_@-]*$`)

// entry compares the flags of one package.
func (u *useFlags) entry(entry pkgindex.Entry) {
	built := wordSet(entry.Get("USE"))
	explicit := u.linesFor(entry.CPV())
	differs := ""
	for _, word := range strings.Fields(entry.Get("IUSE")) {
		flag := strings.TrimLeft(word, "+-")
		if !plainFlag.MatchString(flag) {
			continue // it would stand in a line that a person pastes
		}
		state := explicit.of(flag)
		switch {
		case state.sure == unsure:
			continue
		case state.sure == said:
			if state.on != built[flag] {
				differs = strings.TrimSpace(differs + " " + signed(flag, state.on))
			}
			continue
		case u.theirs[flag] == u.ours[flag], u.ours[flag] == built[flag]:
			continue
		case !u.ours[flag] && word[0] == '+':
			continue // on by the ebuild's default, unless something says otherwise
		}
		key, word := u.variable(flag)
		if slices.Contains(u.hidden, key) {
			continue
		}
		add := func(m map[string]map[string]bool, w string) {
			if m[key] == nil {
				m[key] = map[string]bool{}
			}
			m[key][w] = true
		}
		add(u.count, entry.CPV())
		if built[flag] {
			add(u.on, word)
		} else {
			add(u.off, word)
		}
	}
	if differs != "" {
		u.explicit = append(u.explicit, fmt.Sprintf("%s (here %s)", entry.CPV(), differs))
	}
}

func signed(flag string, on bool) string {
	if on {
		return flag
	}
	return "-" + flag
}

// certainty says how much is known of a flag from package.use.
type certainty int

const (
	unsaid certainty = iota
	unsure           // a line may mean this version
	said
)

type flagState struct {
	on   bool
	sure certainty
}

// flagStates is what lines say of a package's flags; "*" stands for all that a line may have taken
// away.
type flagStates map[string]flagState

func (s flagStates) of(flag string) flagState {
	if state, ok := s[flag]; ok {
		return state
	}
	return s["*"]
}

// linesFor returns what package.use says of a package's flags.
func (u *useFlags) linesFor(name string) flagStates {
	states := flagStates{}
	for _, l := range u.lines {
		match := atomMatches(l.Atom, name)
		if l.Atom == "*/*" || match == no {
			continue
		}
		for _, w := range l.Words {
			flag, off := strings.CutPrefix(w, "-")
			if strings.HasSuffix(flag, "*") {
				match = maybe // takes away more than it names
				flag = "*"
			}
			s := flagState{on: !off, sure: said}
			if match == maybe {
				s.sure = unsure
			}
			states[strings.TrimPrefix(flag, "+")] = s
		}
	}
	return states
}

// variable returns the variable to which a flag belongs, and its word there.
func (u *useFlags) variable(flag string) (key, word string) {
	key, word = "USE", flag
	for _, v := range u.expand {
		if w, ok := strings.CutPrefix(flag, strings.ToLower(v)+"_"); ok && len(w) < len(word) {
			key, word = v, w
		}
	}
	return key, word
}

// words returns all words that a machine's USE has of a variable.
func (u *useFlags) words(use map[string]bool, key string) []string {
	var list []string
	for _, flag := range slices.Sorted(maps.Keys(use)) {
		if k, w := u.variable(flag); k == key {
			list = append(list, w)
		}
	}
	return list
}

// tellUse tells about one variable.
func (x *comparer) tellUse(u *useFlags, key string) {
	on, off := slices.Sorted(maps.Keys(u.on[key])), slices.Sorted(maps.Keys(u.off[key]))
	names := slices.Sorted(maps.Keys(u.count[key]))
	f := Finding{Topic: "use", Weight: Wrong, Role: Client,
		What: x.ofOrigin(names, fmt.Sprintf("built with other %s than this machine has", key)),
		Why:  "emerge --usepkg ignores them and compiles; --usepkgonly takes them, and gives other features than were asked for", Names: names}
	if x.opts.on(optUsepkgOnly) {
		f.Weight = Note
	}
	var mend Fix
	switch theirs := u.words(u.theirs, key); {
	case key == "USE":
		words := slices.Clone(on)
		for _, w := range off {
			words = append(words, "-"+w)
		}
		mend = inConf(x.s, "USE", add("USE", words...))
	case key == "CPU_FLAGS_X86" && x.have != nil && len(cpu.Lacks(cpu.FromUse(theirs), x.have)) > 0:
		mend = otherCPU()
	case key == "CPU_FLAGS_X86":
		mend = cpuFlagsFix(x.s, theirs)
	case slices.Contains(followTree, key):
		f.Why = "the profile sets it, so the two trees are of different age; with one tree on both it is gone"
		mend = Fix{Do: "until the trees are the same: at the end of the file",
			File: x.userFile("package.use"), Lines: []string{"*/* " + key + ": -* " +
				strings.Join(theirs, " ")}}
	default:
		mend = inConf(x.s, key, assign(key, strings.Join(theirs, " ")))
	}
	f.Fix = []Fix{mend}
	x.differ(Difference{What: key, Origin: strings.Join(on, " "), Here: strings.Join(off, " "),
		Packages: len(names)}, f)
}

func (x *comparer) tellExplicit(names []string) {
	if len(names) == 0 {
		return
	}
	weight := Wrong
	if x.opts.on(optUsepkgOnly) {
		weight = Note
	}
	x.differ(Difference{What: "package.use", Origin: "", Here: some(names), Packages: len(names)},
		Finding{Topic: "use", Weight: weight, Role: Client,
			What:  x.ofOrigin(names, "built otherwise than this machine's package.use says"),
			Why:   "emerge --usepkg ignores them and compiles; --usepkgonly takes them as they are",
			Names: names,
			Fix:   []Fix{{Do: "put the same lines into package.use of the build host, or take them out here", File: x.etc("package.use"), Lines: []string{}}}})
}
