package resolve

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pkgsneak/sync/depend"
)

// vector is a line of testdata/*.jsonl.gz: a machine, and what real emerge did on it.
// testdata/README.md describes the format.
type vector struct {
	ours        bool // from testdata, where each has to be predicted exactly
	Name        string
	What        string
	Installed   []map[string]any
	Packages    []map[string]any
	World       []string
	WorldSets   map[string][]string `json:"world_sets"`
	System      []string
	Profile     []string
	Provided    []string
	Config      map[string]any
	Ebuilds     []map[string]any
	Options     string
	Emerge      run
	WithExclude *struct {
		Exclude []string
		run
	} `json:"with_exclude"`
}

type run struct {
	RC       int
	Merges   [][]string
	Messages []string
}

// readVectors reads the vectors of this package, and those of the folder that PKGSNEAK_VECTORS
// names.
func readVectors(t testing.TB) []vector {
	t.Helper()
	names, err := filepath.Glob("testdata/*.jsonl.gz")
	if err != nil || len(names) == 0 {
		t.Fatalf("no vectors in testdata: %v", err)
	}
	if folder := os.Getenv("PKGSNEAK_VECTORS"); folder != "" {
		for _, pattern := range []string{"*.jsonl", "*.jsonl.gz"} {
			more, err := filepath.Glob(filepath.Join(folder, pattern))
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, more...)
		}
	}
	var all []vector
	for _, name := range names {
		for _, v := range readVectorFile(t, name) {
			v.ours = strings.HasPrefix(name, "testdata/")
			all = append(all, v)
		}
	}
	return all
}

func readVectorFile(t testing.TB, name string) []vector {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(data)
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	var all []vector
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return all
}

func value(m map[string]any, key string) string {
	switch x := m[key].(type) {
	case string:
		return x
	case float64:
		return strconv.FormatInt(int64(x), 10)
	}
	return ""
}

func (v *vector) words(key string) []string { return strings.Fields(value(v.Config, key)) }

func (v *vector) lines(key string) []string {
	var list []string
	if x, ok := v.Config[key].([]any); ok {
		for _, line := range x {
			list = append(list, line.(string))
		}
	}
	return list
}

func packages(list []map[string]any, chost string) []Package {
	all := make([]Package, 0, len(list))
	for _, m := range list {
		p := FromKeys(func(key string) string { return value(m, key) })
		if p.CHOST == "" {
			p.CHOST = chost
		}
		all = append(all, p)
	}
	return all
}

func atoms(t testing.TB, lines []string) []depend.Atom {
	t.Helper()
	var list []depend.Atom
	for _, s := range lines {
		s = strings.Replace(s, "*/*", "any/package", 1)
		a, err := depend.ParseAtom(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

// input makes the machine of a vector.
func (v *vector) input(t testing.TB) Input {
	chost := value(v.Config, "CHOST")
	implicit := v.words("iuse_implicit")
	in := Input{
		Installed: packages(v.Installed, chost), Candidates: packages(v.Packages,
			"x86_64-pc-linux-gnu"),
		World: atoms(t, v.World), System: atoms(t, v.System), Profile: atoms(t,
			v.Profile), Provided: v.Provided,
		Implicit: func(flag string) bool { return slices.Contains(implicit, flag) },
		Accept:   v.accept(t),
	}
	for name, list := range v.WorldSets {
		if in.Sets == nil {
			in.Sets = make(map[string][]depend.Atom)
		}
		in.Sets[name] = atoms(t, list)
	}
	return in
}

// accept is the little of Portage's configuration that the vectors have.
func (v *vector) accept(t testing.TB) func(Package, bool) Reason {
	masked := atoms(t, slices.Concat(v.lines("package.mask"), v.lines("repo/package.mask")))
	for i := range masked {
		if masked[i].CP == "any/package" { // an atom with wildcards is not one of package depend's
			masked[i].CP = ""
		}
	}
	for _, line := range v.lines("profile/package.mask") {
		if !strings.HasPrefix(line, "-") {
			masked = append(masked, atoms(t, []string{line})...)
		}
	}
	unmasked := atoms(t, v.lines("package.unmask"))
	hosts := append(v.words("ACCEPT_CHOSTS"), value(v.Config, "CHOST"))
	return func(p Package, installed bool) Reason {
		q, err := newPkg(&p, 0, 0, installed, nil)
		if err != nil {
			return Reason{Invalid, err.Error()}
		}
		matches := func(a depend.Atom) bool {
			return depend.Match(&a, &q.dep) || a.CP == "" && (a.Repo == "" || p.Repo == "" ||
				a.Repo == p.Repo)
		}
		switch {
		case p.EAPI != "" && !slices.Contains(strings.Fields("0 1 2 3 4 5 6 7 8 9"), p.EAPI):
			return Reason{Unreadable, "EAPI " + p.EAPI}
		case slices.ContainsFunc(masked, matches) && !slices.ContainsFunc(unmasked, matches):
			return Reason{Mask, "package.mask"}
		}
		if missing := v.missingLicense(p); missing != "" {
			return Reason{License, missing}
		}
		if !installed && !slices.ContainsFunc(hosts, func(h string) bool { return h == p.CHOST }) {
			return Reason{Machine, p.CHOST}
		}
		if !v.keywordAccepted(t, p, matches) {
			return Reason{Keyword, p.Keywords}
		}
		return Reason{}
	}
}

// missingLicense returns a license that is not accepted and that no alternative makes up for.
func (v *vector) missingLicense(p Package) string {
	tree, err := depend.Parse(p.License, depend.Options{})
	if err != nil {
		return err.Error()
	}
	q := pkg{Package: &p}
	for _, n := range tree.Reduce(q.uses, false) {
		if missing := v.missingOf(n); missing != "" {
			return missing
		}
	}
	return ""
}

func (v *vector) missingOf(n depend.Node) string {
	missing := ""
	for _, m := range n.Nodes {
		one := v.missingOf(m)
		if one == "" && n.Kind == depend.AnyOf {
			return ""
		}
		if one != "" {
			missing = one
		}
	}
	if n.Kind != depend.Leaf {
		return missing
	}
	groups, _ := v.Config["license_groups"].(map[string]any)
	ok := false
	for _, word := range v.words("ACCEPT_LICENSE") {
		name, denied := strings.CutPrefix(word, "-")
		group, isGroup := strings.CutPrefix(name, "@")
		if name == "*" || name == n.Word ||
			isGroup && slices.Contains(strings.Fields(value(groups, group)), n.Word) {
			ok = !denied
		}
	}
	if ok {
		return ""
	}
	return n.Word
}

func (v *vector) keywordAccepted(t testing.TB, p Package, matches func(depend.Atom) bool) bool {
	accepted := v.words("ACCEPT_KEYWORDS")
	for _, line := range v.lines("package.accept_keywords") {
		fields := strings.Fields(line)
		if !matches(atoms(t, fields[:1])[0]) {
			continue
		}
		if len(fields) == 1 {
			accepted = append(accepted, "~"+value(v.Config, "ARCH"))
		}
		for _, word := range fields[1:] {
			if name, denied := strings.CutPrefix(word, "-"); denied {
				accepted = slices.DeleteFunc(slices.Clone(accepted), func(s string) bool {
					return s == name || name == "*"
				})
				continue
			}
			accepted = append(accepted, word)
		}
	}
	if slices.Contains(accepted, "**") {
		return true
	}
	for k := range strings.FieldsSeq(p.Keywords) {
		switch {
		case slices.Contains(accepted, k),
			k == "*" && slices.ContainsFunc(accepted, func(s string) bool { return s[0] != '~' }),
			k == "~*" && slices.ContainsFunc(accepted, func(s string) bool { return s[0] == '~' }),
			k[0] != '~' && k[0] != '-' && slices.Contains(accepted, "*"),
			k[0] == '~' && slices.Contains(accepted, "~*"):
			return true
		}
	}
	return false
}

// names returns merges in the form that can be compared: kind, CPV and build.
func names(merges []Merge) []string {
	var list []string
	for _, m := range merges {
		kind := "binary"
		if m.Kind == Uninstall {
			kind = "uninstall"
		}
		list = append(list, kind+" "+m.Package.CPV+" "+m.Package.BuildID)
	}
	slices.Sort(list)
	return list
}

func (r *run) names(v *vector) []string {
	var list []string
	for _, m := range r.Merges {
		id := m[4]
		if m[0] == "uninstall" {
			for _, p := range v.Installed {
				if value(p, "CPV") == m[2] {
					id = value(p, "BUILD_ID")
				}
			}
		}
		list = append(list, m[0]+" "+m[2]+" "+id)
	}
	slices.Sort(list)
	return list
}

func (r *run) downgrades() int {
	n := 0
	for _, m := range r.Merges {
		if strings.Contains(m[1], "D") {
			n++
		}
	}
	return n
}

// missingFrom returns the strings of a that b lacks.
func missingFrom(a, b []string) []string {
	var list []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			list = append(list, s)
		}
	}
	return list
}

// differs tells of a prediction that is wrong: an error for our own vectors, a number for others.
func (v *vector) differs(t *testing.T, format string, args ...any) {
	t.Helper()
	if v.ours {
		t.Errorf(format, args...)
	} else {
		t.Logf(format, args...)
	}
}

// agreement counts how well predictions agree with emerge.
type agreement struct {
	machines, exact, rcRight                 int
	merges, hit, tooMany                     int
	downgrades, downgradesHit, downgradesToo int
}

func (a *agreement) String() string {
	percent := func(n, of int) string {
		return fmt.Sprintf("%d of %d (%.1f %%)", n, of, 100*float64(n)/float64(max(of, 1)))
	}
	return fmt.Sprintf("rc 0: %d machines, lists exact %s, merges predicted %s, too many %d; downgrades %d of %d, too many %d; rc right %d",
		a.machines, percent(a.exact, a.machines), percent(a.hit,
			a.merges), a.tooMany, a.downgradesHit, a.downgrades, a.downgradesToo, a.rcRight)
}

// predicted tells whether emerge would end with 0 for an Input by itself, and what it would do,
// downgrades and all.
func predicted(in Input) (ok bool, merges []Merge, err error) {
	s, err := newStock(&in)
	if err != nil {
		return false, nil, err
	}
	s.setExclude(in.Exclude)
	out := s.predict(nil, maxTries)
	return out.ok, s.merges(&out), nil
}

func TestPredictAsEmerge(t *testing.T) {
	var sum agreement
	for _, v := range readVectors(t) {
		if _, broken := v.Config["profile-missing"]; broken {
			continue
		}
		ok, merges, err := predicted(v.input(t))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if ok == (v.Emerge.RC == 0) {
			sum.rcRight++
		} else {
			v.differs(t, "%s: ok %v, emerge rc %d", v.Name, ok, v.Emerge.RC)
		}
		if v.Emerge.RC != 0 {
			continue
		}
		sum.machines++
		got, want := names(merges), v.Emerge.names(&v)
		lacking, extra := missingFrom(want, got), missingFrom(got, want)
		sum.merges += len(want)
		sum.hit += len(want) - len(lacking)
		sum.tooMany += len(extra)
		down := 0
		for _, m := range merges {
			if m.Kind == Downgrade {
				down++
			}
		}
		sum.downgrades += v.Emerge.downgrades()
		sum.downgradesHit += min(down, v.Emerge.downgrades())
		sum.downgradesToo += max(0, down-v.Emerge.downgrades())
		if len(lacking)+len(extra) == 0 {
			sum.exact++
		} else {
			v.differs(t, "%s: missed %q, too many %q", v.Name, lacking, extra)
		}
	}
	t.Log(&sum)
	if sum.hit*1000 < sum.merges*988 || sum.exact*1000 < sum.machines*967 ||
		sum.downgradesHit*70 < sum.downgrades*68 || sum.downgradesToo > 0 {
		t.Error("the prediction agrees less with emerge than it should")
	}
}

// TestPredictExcludeAsEmerge: what emerge does under the --exclude of the vectors, slot atoms among
// them.
func TestPredictExcludeAsEmerge(t *testing.T) {
	var sum agreement
	for _, v := range readVectors(t) {
		if v.WithExclude == nil {
			continue
		}
		in := v.input(t)
		in.Exclude = atoms(t, v.WithExclude.Exclude)
		ok, merges, err := predicted(in)
		if err != nil || ok != (v.WithExclude.RC == 0) {
			t.Errorf("%s: ok %v, emerge rc %d; %v", v.Name, ok, v.WithExclude.RC, err)
			continue
		}
		if !ok {
			continue
		}
		got, want := names(merges), v.WithExclude.names(&v)
		lacking, extra := missingFrom(want, got), missingFrom(got, want)
		sum.machines++
		sum.merges += len(want)
		sum.hit += len(want) - len(lacking)
		sum.tooMany += len(extra)
		if len(lacking)+len(extra) == 0 {
			sum.exact++
		} else {
			v.differs(t, "%s: missed %q, too many %q", v.Name, lacking, extra)
		}
	}
	t.Log(&sum)
	if sum.hit*1000 < sum.merges*988 || sum.exact*1000 < sum.machines*967 {
		t.Error("the prediction agrees less with emerge than it should")
	}
}
