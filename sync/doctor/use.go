package doctor

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pkgsneak/sync/cpu"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/resolve"
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
	judge        *judge

	count map[string]map[string]bool // variable -> packages that it concerns
	// variable -> flags that the origin has on, or off, and this machine has not
	on, off  map[string]map[string]bool
	explicit []string // packages that differ from a line in package.use
	theirOwn []string // packages that differ by lines of the build host's package.use
	ownLines []string // for this machine's package.use, so that they do not
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
	u := &useFlags{theirs: wordSet(theirs), ours: wordSet(ours), judge: x.judge,
		count: map[string]map[string]bool{}, on: map[string]map[string]bool{},
		off: map[string]map[string]bool{}}
	u.expand = slices.Concat(strings.Fields(x.header.Get("USE_EXPAND")),
		strings.Fields(x.s.Get("USE_EXPAND")))
	if len(u.expand) == 0 {
		u.expand = strings.Fields(expanded)
	}
	for i := range x.offered {
		c := &x.offered[i]
		switch x.judge.Package(c).Kind {
		case resolve.CPU, resolve.Unreadable: // no line makes it fit
		default:
			u.compare(c)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(u.count)) {
		x.tellUse(u, key)
	}
	x.tellExplicit(u.explicit)
	x.tellTheirs(u)
}

func wordSet(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

var plainFlag = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+_@-]*$`)

// compare compares the flags of one package: those in which it differs from what this machine sets,
// as import and status count them, by who sets it.
func (u *useFlags) compare(c *forecast.Candidate) {
	own := u.judge.OwnUse(c)
	name, differs, line := c.Entry.CPV(), "", ""
	for _, f := range u.judge.OtherUse(c) {
		on, flag := f[0] == '+', f[1:]
		if !plainFlag.MatchString(flag) {
			continue // it would stand in a line that a person pastes
		}
		if want, said := own[flag]; said {
			differs += " " + signed(flag, want)
			continue
		}
		if u.theirs[flag] == u.ours[flag] {
			line += " " + signed(flag, on)
			continue
		}
		key, word := u.variable(flag)
		add := func(m map[string]map[string]bool, w string) {
			if m[key] == nil {
				m[key] = map[string]bool{}
			}
			m[key][w] = true
		}
		add(u.count, name)
		if on {
			add(u.on, word)
		} else {
			add(u.off, word)
		}
	}
	if differs != "" {
		u.explicit = append(u.explicit, name+" (here"+differs+")")
	}
	if line != "" {
		u.theirOwn = append(u.theirOwn, name+" ("+strings.TrimSpace(line)+")")
		if line = "=" + name + line; !slices.Contains(u.ownLines, line) {
			u.ownLines = append(u.ownLines, line)
		}
	}
}

func signed(flag string, on bool) string {
	if on {
		return flag
	}
	return "-" + flag
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
	var fix Fix
	switch theirs := u.words(u.theirs, key); {
	case key == "USE":
		words := slices.Clone(on)
		for _, w := range off {
			words = append(words, "-"+w)
		}
		fix = inConf(x.s, "USE", add("USE", words...))
	case key == "CPU_FLAGS_X86" && x.have != nil && len(cpu.Lacks(cpu.FromUse(theirs), x.have)) > 0:
		fix = otherCPU()
	case key == "CPU_FLAGS_X86":
		fix = cpuFlagsFix(x.s, theirs)
	case slices.Contains(followTree, key):
		f.Why = "the profile sets it, so the two trees are of different age; with one tree on both it is gone"
		fix = Fix{Do: "until the trees are the same: at the end of the file",
			File: x.userFile("package.use"), Lines: []string{"*/* " + key + ": -* " +
				strings.Join(theirs, " ")}}
	default:
		fix = inConf(x.s, key, assign(key, strings.Join(theirs, " ")))
	}
	f.Fix = []Fix{fix}
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

// tellTheirs tells of packages that differ although no variable of the two machines does: the build
// host has lines of its own for them.
func (x *comparer) tellTheirs(u *useFlags) {
	if len(u.theirOwn) == 0 {
		return
	}
	weight := Wrong
	if x.opts.on(optUsepkgOnly) {
		weight = Note
	}
	x.differ(Difference{What: "package.use", Origin: some(u.theirOwn), Here: "",
		Packages: len(u.theirOwn)},
		Finding{Topic: "use", Weight: weight, Role: Client,
			What:  x.ofOrigin(u.theirOwn, "built with USE that is the build host's for them alone"),
			Why:   "emerge --usepkg ignores them and compiles; --usepkgonly takes them as they are",
			Names: u.theirOwn,
			Fix: []Fix{{Do: "at the end of the file", File: x.userFile("package.use"),
				Lines: u.ownLines[:min(len(u.ownLines), mostLines)]}}})
}
