package binpkg

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"pkgsneak/sync/pytext"
)

// keys are the metadata files that are kept: those of Portage's index, those
// that tell what the package is, and those that a person may ask for. The rest
// (environment.bz2, the ebuild, NEEDED and so on) is never copied.
var keys = [...]string{
	"BDEPEND", "BUILD_ID", "BUILD_TIME", "CATEGORY", "CBUILD", "CFLAGS",
	"CHOST", "CXXFLAGS", "DEFINED_PHASES", "DEPEND", "DESCRIPTION", "EAPI",
	"FEATURES", "HOMEPAGE", "IDEPEND", "IUSE", "KEYWORDS", "LDFLAGS",
	"LICENSE", "PDEPEND", "PF", "PROPERTIES", "PROVIDES", "RDEPEND",
	"REPO_REVISIONS", "REQUIRES", "RESTRICT", "RUSTFLAGS", "SIZE", "SLOT",
	"USE", "repository",
}

var keyIndex = func() map[string]int {
	m := make(map[string]int, len(keys))
	for i, k := range keys {
		m[k] = i
	}
	return m
}()

// metadata holds the kept values, as they were in the file. All share one
// string.
type metadata struct {
	value   [len(keys)]string
	present [len(keys)]bool
}

func (m *metadata) get(key string) (string, bool) {
	i, ok := keyIndex[key]
	if !ok {
		return "", false
	}
	return m.value[i], m.present[i]
}

// gather collects kept values while a package is read. The slices it is given
// must stay as they are until done.
type gather struct {
	raw  [len(keys)][]byte
	have [len(keys)]bool
}

// put takes a value; of several for one key the last one counts, as for
// Portage.
func (g *gather) put(name, value []byte) {
	if i, ok := keyIndex[string(name)]; ok {
		g.raw[i], g.have[i] = value, true
	}
}

// done copies the values into one string.
func (g *gather) done() metadata {
	n := 0
	for _, v := range g.raw {
		n += len(v)
	}
	var all strings.Builder
	all.Grow(n)
	for _, v := range g.raw {
		all.Write(v)
	}
	m := metadata{present: g.have}
	text := all.String()
	for i, v := range g.raw {
		m.value[i], text = text[:len(v)], text[len(v):]
	}
	return m
}

// collapse is Portage's " ".join(value.split()) after decoding with
// errors="replace". Most values need no work but cutting the last newline.
func collapse(s string) string {
	s = strings.TrimRight(s, " \n")
	if isCollapsed(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	pending := false
	for rest := []byte(s); len(rest) > 0; {
		r, n := pytext.DecodeRune(rest)
		if isSpace(r) {
			pending = b.Len() > 0
		} else {
			if pending {
				b.WriteByte(' ')
				pending = false
			}
			b.WriteRune(r)
		}
		rest = rest[n:]
	}
	return b.String()
}

// isCollapsed reports whether s is ASCII without control characters whose
// blanks stand alone and not at the ends. It may be wrong on the safe side.
func isCollapsed(s string) bool {
	before := byte(' ')
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' || c >= utf8.RuneSelf || c == ' ' && before == ' ' {
			return false
		}
		before = c
	}
	return s == "" || before != ' '
}

// isSpace is Python's str.isspace: the white space of Unicode and the four
// separators of ASCII.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}
