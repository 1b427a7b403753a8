package doctor

import (
	"slices"
	"strings"
)

const (
	optOldpkg  = "--useoldpkg-atoms"
	optRebuilt = "--rebuilt-binaries"
	optRespect = "--binpkg-respect-use"
)

// emergeOpts are the words of EMERGE_DEFAULT_OPTS.
type emergeOpts struct{ words []string }

// parseOpts splits EMERGE_DEFAULT_OPTS as Portage does, like a shell without expansion.
func parseOpts(text string) emergeOpts {
	var words []string
	var word strings.Builder
	var quote rune
	in, escaped := false, false
	for _, r := range text {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			in, escaped = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '"' || r == '\'':
			in, quote = true, r
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if in {
				words = append(words, word.String())
			}
			word.Reset()
			in = false
		default:
			in = true
			word.WriteRune(r)
		}
	}
	if in {
		words = append(words, word.String())
	}
	return emergeOpts{words}
}

// Options of emerge that take y or n, with their letters.
const (
	optUsepkg     = "--usepkg k"
	optUsepkgOnly = "--usepkgonly K"
	optGetbinpkg  = "--getbinpkg g"
	optGetOnly    = "--getbinpkgonly G"
	optBuildpkg   = "--buildpkg b"
)

// on tells whether a switch is on; the last word about it counts.
func (o emergeOpts) on(option string) bool {
	v, ok := o.value(option)
	return ok && v != "n"
}

// value returns what an option was set to; "True" where it stands alone.
func (o emergeOpts) value(option string) (value string, ok bool) {
	for i := range o.words {
		if v, n := o.at(i, option); n > 0 {
			value, ok = v, true
		}
	}
	return value, ok
}

// at tells whether word i is the option: its value, and how many words the two take. In a cluster
// of letters (-avk) it takes none of its own.
func (o emergeOpts) at(i int, option string) (value string, words int) {
	long, letter, _ := strings.Cut(option, " ")
	w := o.words[i]
	if v, ok := strings.CutPrefix(w, long+"="); ok {
		return v, 1
	}
	cluster := letter != "" && len(w) > 1 && w[0] == '-' && w[1] != '-' &&
		strings.Contains(w, letter)
	if w != long && !cluster {
		return "", 0
	}
	takes := func(v string) bool { return v == "y" || v == "n" || letter == "" }
	if (w == long || len(w) == 2) && i+1 < len(o.words) && takes(o.words[i+1]) &&
		!strings.HasPrefix(o.words[i+1], "-") {
		return o.words[i+1], 2
	}
	return "True", 1
}

// without returns the options without some.
func (o emergeOpts) without(options ...string) emergeOpts {
	var rest []string
next:
	for i := 0; i < len(o.words); i++ {
		for _, option := range options {
			_, n := o.at(i, option)
			if n == 0 {
				continue
			}
			_, letter, _ := strings.Cut(option, " ")
			if w := o.words[i]; n == 1 && len(w) > 2 && w[1] != '-' {
				o.words = slices.Clone(o.words)
				o.words[i] = strings.ReplaceAll(w, letter, "")
				i--
				continue next
			}
			i += n - 1
			continue next
		}
		rest = append(rest, o.words[i])
	}
	return emergeOpts{rest}
}

// with returns the options and some more.
func (o emergeOpts) with(words ...string) emergeOpts {
	return emergeOpts{append(slices.Clone(o.words), words...)}
}

// String joins the words again, quoted where they need it.
func (o emergeOpts) String() string {
	quoted := make([]string, len(o.words))
	for i, w := range o.words {
		quoted[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\") {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// plainUsepkg: --usepkg without what makes it take packages of which the ebuild is gone.
func (o emergeOpts) plainUsepkg() bool {
	_, old := o.value(optOldpkg)
	return o.on(optUsepkg) && !o.on(optUsepkgOnly) && !o.on(optGetOnly) && !old
}

// strictOnly: --usepkgonly that refuses what was built with other USE flags.
func (o emergeOpts) strictOnly() bool {
	v, ok := o.value(optRespect)
	return ok && v != "n" && o.on(optUsepkgOnly)
}

// fixed are EMERGE_DEFAULT_OPTS without what is wrong in them. Every finding about them gives the
// same line: one that fixed only its own part would bring back another's. noBinhost: asking a
// binhost cannot succeed.
func (o emergeOpts) fixed(noBinhost bool) emergeOpts {
	if o.plainUsepkg() {
		o = o.without(optUsepkg, optRebuilt).with("--usepkgonly")
	}
	if o.strictOnly() {
		o = o.without(optRespect)
	}
	if noBinhost {
		only := o.on(optGetOnly) && !o.on(optUsepkgOnly)
		if o = o.without(optGetbinpkg, optGetOnly); only {
			o = o.with("--usepkgonly")
		}
	}
	return o
}
