package portage

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Load reads the machine's configuration. A file that is absent is no error; what is unreadable or
// wrong is in Settings.Problems. The error is ctx's, or that Options.Root is no directory.
func Load(ctx context.Context, o Options) (*Settings, error) {
	l := newLoader(o)
	if !l.tree.isDir("/") {
		return nil, fmt.Errorf("read portage settings: %q is not a directory", o.Root)
	}
	l.at = findPlaces(l.tree, l.env)
	l.s.EPREFIX, l.s.ConfigRoot = l.at.eprefix, l.at.configRoot
	for _, step := range []func(){l.early, l.profile, l.user, l.stack} {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read portage settings: %w", err)
		}
		step()
	}
	l.s.modules = findModules(l.tree, l.at.broot)
	if o.UsePortageq && o.Portageq != nil {
		if err := l.portageq(ctx, o.Portageq); err != nil {
			return nil, err
		}
	}
	l.s.Files, l.s.Problems = l.reader.files, l.problems
	return l.s, nil
}

// Again reads the configuration once more, after a repository or the profile in it has changed. The
// variables that portageq told stay as they are: it is not asked a second time.
func (s *Settings) Again(ctx context.Context) (*Settings, error) {
	o := s.options
	o.UsePortageq = false
	now, err := Load(ctx, o)
	if err != nil {
		return nil, err
	}
	for k, source := range s.Sources {
		if source == SourcePortageq {
			now.Values[k], now.Sources[k] = s.Values[k], source
		}
	}
	now.defaults = now.defaults || s.defaults
	now.options = s.options
	return now, nil
}

// loader is Load's state.
type loader struct {
	s *Settings
	*reader
	env    Env
	at     places
	vars   map[string]string // for ${VAR}
	main   string            // name of the main repository
	layers layers

	chain     *chain // nil: no profile
	nodeConfs []map[string]string
	profOnly  map[string]bool
}

func newLoader(o Options) *loader {
	t := newTree(o.Root)
	return &loader{
		s: &Settings{Values: map[string]string{}, Sources: map[string]string{},
			options: o, tree: t, env: o.Env},
		reader: newReader(t), env: o.Env, layers: newLayers(),
	}
}

// early reads make.conf for what must be known early, then profile.env and make.globals, and finds
// the repositories.
func (l *loader) early() {
	early := newLayer()
	vars := map[string]string{}
	for _, p := range l.at.makeConfs(l.tree) {
		l.parse(p, vars, confMode{source: true, dir: true, quiet: true}, func(a Assignment) {
			early.set(a.Name, a.Value, a.Path)
		})
	}
	l.at.rootdir = "/"
	if r, ok := l.env.lookup("ROOT"); ok {
		l.at.rootdir = slashed(r)
	} else if r := early.values["ROOT"]; strings.TrimSpace(r) != "" {
		l.at.rootdir = slashed(r)
	}
	l.at.eroot = strings.TrimSuffix(l.at.rootdir, "/") + l.s.EPREFIX + "/"
	l.profileEnv()

	l.vars = maps.Clone(l.layers.envd.values)
	maps.Copy(l.vars, l.at.roots())
	globals := path.Join(l.at.global, "make.globals")
	if !l.tree.exists(globals) {
		globals = path.Join(l.s.ConfigRoot, "etc/make.globals")
	}
	l.s.defaults = l.parse(globals, l.vars, confMode{}, func(a Assignment) {
		l.layers.globals.set(a.Name, a.Value, a.Path)
	})
	for k, v := range map[string]string{"ACCEPT_PROPERTIES": "*",
		"PORTAGE_BZIP2_COMMAND": "bzip2"} {
		if _, ok := l.layers.globals.values[k]; !ok {
			l.layers.globals.values[k] = v
		}
	}
	var portdir, overlay string
	for _, y := range []func(string) (string, bool){get(l.layers.globals), get(early),
		l.env.lookup} {
		if v, ok := y("PORTDIR"); ok {
			portdir = v
		}
		if v, ok := y("PORTDIR_OVERLAY"); ok {
			overlay = v
		}
	}
	f, main := findRepos(l.reader, l.at, portdir, overlay)
	l.s.repos, l.s.absent, l.main = f.found, f.absent, main
}

// profileEnv reads etc/profile.env below EPREFIX and EROOT: some variables count only from one of
// them.
func (l *loader) profileEnv() {
	read := func(p string) layer {
		y := newLayer()
		l.parse(p, nil, confMode{noExpand: true}, func(a Assignment) {
			y.set(a.Name, a.Value, a.Path)
		})
		return y
	}
	build := read(l.s.EPREFIX + "/etc/profile.env")
	target := build
	if l.at.rootdir != "/" {
		target = read(l.at.eroot + "etc/profile.env")
	}
	for k, v := range build.values {
		if !onlyTarget(k) {
			l.layers.envd.set(k, v, build.from[k])
		}
	}
	for k, v := range target.values {
		if !onlyBuild(k) {
			l.layers.envd.set(k, v, target.from[k])
		}
	}
}

func onlyBuild(key string) bool {
	return key == "PATH" || key == "PREROOTPATH" ||
		key == "ROOTPATH"
}

func onlyTarget(key string) bool {
	switch key {
	case "CONFIG_PROTECT", "CONFIG_PROTECT_MASK", "INFODIR", "INFOPATH", "MANPATH":
		return true
	}
	return strings.HasPrefix(key, "PKG_CONFIG_")
}

// user reads what belongs to the machine: make.conf, and the */* lines of /etc/portage/package.*.
func (l *loader) user() {
	if r := namedRepo(l.s.repos, l.main); r != nil {
		l.vars["PORTDIR"] = r.Location
	}
	for _, p := range l.at.makeConfs(l.tree) {
		l.parse(p, l.vars, confMode{source: true, dir: true}, func(a Assignment) {
			l.layers.conf.set(a.Name, a.Value, a.Path)
		})
	}
	l.profOnly = map[string]bool{}
	for _, k := range stackWords(nil,
		strings.Fields(l.layers.defaults.values["PROFILE_ONLY_VARIABLES"])) {
		l.profOnly[k] = true
	}
	for k := range l.profOnly {
		l.layers.conf.remove(k)
		l.layers.envd.remove(k)
	}
	for _, k := range blacklist {
		for _, y := range l.layers.lowestFirst() {
			y.remove(k)
		}
	}
	for k := range l.layers.conf.values {
		if strings.HasPrefix(k, "__") {
			l.layers.conf.remove(k)
		}
	}
	l.anyPackage("package.use", "USE", true)
	l.anyPackage("package.license", "ACCEPT_LICENSE", false)
	l.anyPackage("package.properties", "ACCEPT_PROPERTIES", false)
	l.anyPackage("package.accept_restrict", "ACCEPT_RESTRICT", false)
	l.anyPackageEnv()
}

// anyPackage adds the words of a package.* file's */* lines to a variable. In package.use "NAME:"
// makes the rest of the line flags of that USE_EXPAND variable.
func (l *loader) anyPackage(file, variable string, expand bool) {
	words, from := l.wildcard(file, expand)
	if len(words) > 0 {
		l.layers.conf.add(variable, strings.Join(words, " "), from)
	}
}

func (l *loader) wildcard(file string, expand bool) (words []string, from string) {
	for _, f := range l.list(path.Join(l.s.ConfigRoot, "etc/portage", file)) {
		text, _ := l.text(f)
		for line := range strings.SplitSeq(text, "\n") {
			w := lineWords(line)
			if len(w) == 0 || w[0] != "*/*" {
				continue
			}
			from = f
			if expand {
				words = append(words, prefixed(w[1:])...)
			} else {
				words = append(words, w[1:]...)
			}
		}
	}
	return words, from
}

// anyPackageEnv reads the files of /etc/portage/env that package.env gives to */*.
func (l *loader) anyPackageEnv() {
	names, from := l.wildcard("package.env", false)
	vars := maps.Clone(l.vars)
	got := newLayer()
	for _, n := range names {
		p := path.Join(l.s.ConfigRoot, "etc/portage/env", n)
		found := l.parse(p, vars, confMode{source: true}, func(a Assignment) {
			switch {
			case l.profOnly[a.Name] || slices.Contains(blacklist, a.Name) ||
				a.Name == "CONFIG_PROTECT":
				l.fail(Problem{Path: a.Path, Line: a.Line,
					Reason: fmt.Sprintf("%s must not be set here", a.Name)})
			case isIncremental(a.Name):
				got.add(a.Name, a.Value, a.Path)
			default:
				got.set(a.Name, a.Value, a.Path)
			}
		})
		if !found {
			l.fail(Problem{Path: from, Reason: fmt.Sprintf("%q does not exist", p)})
		}
	}
	for k, v := range got.values {
		if isIncremental(k) {
			l.layers.conf.add(k, v, got.from[k])
		} else {
			l.layers.conf.set(k, v, got.from[k])
		}
	}
}

// profile finds the chain and reads the settings of each of its directories.
func (l *loader) profile() {
	top := profileDir(l.tree, l.s.ConfigRoot)
	if top == "" {
		return
	}
	l.s.Profile = top
	c := &chain{reader: l.reader, repos: l.s.repos}
	if err := c.add(top, 0); err != nil {
		// Portage goes on without any profile then.
		l.fail(Problem{Path: err.path, Reason: err.reason, Fatal: true})
		return
	}
	if own := path.Join(l.s.ConfigRoot, "etc/portage/profile"); l.tree.exists(own) {
		c.nodes = append(c.nodes, node{own, true})
	}
	l.chain = c
	for _, n := range c.nodes {
		l.s.Profiles = append(l.s.Profiles, n.dir)
		delete(l.vars, "USE") // USE="${USE} x" must not undo what a parent set per package
		values := map[string]string{}
		l.parse(path.Join(n.dir, "make.defaults"), l.vars, confMode{dir: n.dirs},
			func(a Assignment) { values[a.Name] = a.Value })
		l.nodeConfs = append(l.nodeConfs, values)
		for k, v := range values {
			file := path.Join(n.dir, "make.defaults")
			if isIncremental(k) {
				l.layers.defaults.add(k, v, file)
			} else {
				l.layers.defaults.set(k, v, file)
			}
		}
	}
}

// stack makes the effective values out of what was read.
func (l *loader) stack() {
	var p profileFlags
	if l.chain != nil {
		p = profileFlags{l.nodeConfs, l.chain.flags("use.force"), l.chain.flags("use.mask")}
	}
	t := &stacker{env: l.env, layers: l.layers, profOnly: l.profOnly, profile: p,
		values: l.s.Values, sources: l.s.Sources}
	t.stack(l.at.roots(), l.s.repos, l.main)
	l.s.knownFlags = t.knownFlags
}
