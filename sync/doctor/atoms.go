package doctor

import (
	"path"
	"strings"

	"pkgsneak/sync/cpv"
)

// answer is what can be said without comparing versions.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// atomMatches tells whether an atom of /etc/portage/package.* means a package. A range of versions,
// a slot or a repository is maybe.
func atomMatches(atom, name string) answer {
	result := yes
	atom, _, _ = strings.Cut(atom, "[")
	if i := strings.IndexByte(atom, ':'); i >= 0 {
		atom, result = atom[:i], maybe
	}
	c, err := cpv.Parse(name)
	if err != nil {
		return no
	}
	bare := strings.TrimLeft(atom, "<>=~!")
	if bare == atom {
		if ok, err := path.Match(atom, c.Category+"/"+c.PN); err != nil || !ok {
			return no
		}
		return result
	}
	if atom[0] == '=' && bare == name {
		return result
	}
	category, pf, _ := strings.Cut(strings.TrimSuffix(bare, "*"), "/")
	pn, _, ok := cpv.SplitPF(pf)
	if atom[0] == '=' && !strings.HasSuffix(bare, "*") || !ok ||
		category != c.Category || pn != c.PN {
		return no
	}
	return maybe
}
