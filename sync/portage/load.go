package portage

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Load reads the machine's configuration. What is absent is no error; what is unreadable or wrong is in
// Settings.Problems. The error is ctx's, or that Options.Root is no directory.
func Load(ctx context.Context, o Options) (*Settings, error) {
	l := newLoader(o)
	if !l.tree.isDir("/") {
		return nil, fmt.Errorf("read portage settings: %q is not a directory", o.Root)
	}
	for _, step := range []func(){l.places, l.files, l.profile, l.user, l.stack} {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read portage settings: %w", err)
		}
		step()
	}
	l.s.modules = l.findModules()
	if o.UsePortageq && o.Portageq != nil {
		if err := l.portageq(ctx, o.Portageq); err != nil {
			return nil, err
		}
	}
	return l.s, nil
}

// layer is one of the dictionaries that Portage stacks.
type layer struct {
	values map[string]string
	from   map[string]string // the file that set each value
}

func newLayer() layer { return layer{map[string]string{}, map[string]string{}} }

func (y layer) set(key, value, file string) {
	y.values[key] = value
	y.from[key] = file
}

func (y layer) remove(key string) {
	delete(y.values, key)
	delete(y.from, key)
}

// add appends to a value as Portage does where variables are incremental.
func (y layer) add(key, value, file string) {
	if old, ok := y.values[key]; ok && old != "" {
		value = old + " " + value
	}
	y.set(key, value, file)
}

// loader is Load's state.
type loader struct {
	s    *Settings
	tree tree
	env  Env

	rootdir string            // ROOT
	eroot   string            // ROOT and EPREFIX, with a slash at the end
	global  string            // directory of make.globals and repos.conf
	vars    map[string]string // for ${VAR}
	texts   map[string]string // files read so far; a second look costs nothing and reports nothing
	failed  map[string]bool
	bytes   int

	main        string // name of the main repository
	prioritized map[string]bool

	envd, globals, defaults, conf, environ layer

	nodes     []node // the profile's chain
	nodeConfs []map[string]string
	profOnly  map[string]bool
}

func newLoader(o Options) *loader {
	t := newTree(o.Root)
	return &loader{
		s:    &Settings{Values: map[string]string{}, Sources: map[string]string{}, tree: t, env: o.Env},
		tree: t, env: o.Env,
		texts: map[string]string{}, failed: map[string]bool{}, prioritized: map[string]bool{},
		envd: newLayer(), globals: newLayer(), defaults: newLayer(), conf: newLayer(), environ: newLayer(),
	}
}

func (l *loader) fail(p Problem) {
	const most = 1000
	if len(l.s.Problems) < most {
		l.s.Problems = append(l.s.Problems, p)
	}
}

// list is tree.list with what fails reported once.
func (l *loader) list(p string) []string {
	return l.tree.list(p, func(p string, err error) {
		if !l.failed[p] {
			l.failed[p] = true
			l.fail(Problem{Path: p, Reason: bare(err).Error(), Fatal: true})
		}
	})
}

// bytesOf reads a file once, within the bounds of a Load.
func (l *loader) bytesOf(p string) (string, error) {
	if text, ok := l.texts[p]; ok {
		return text, nil
	}
	if len(l.texts) >= MaxFiles || l.bytes >= MaxTotal {
		return "", fmt.Errorf("more configuration than %d files or %d bytes", MaxFiles, MaxTotal)
	}
	data, err := l.tree.readFile(p)
	if err != nil {
		return "", err
	}
	text := string(data)
	l.texts[p] = text
	l.bytes += len(text)
	l.s.Files = append(l.s.Files, p)
	return text, nil
}

// text returns a file's text; a failure other than absence is reported.
func (l *loader) text(p string) (string, bool) {
	text, err := l.bytesOf(p)
	if err != nil && !isAbsent(err) && !l.failed[p] {
		l.failed[p] = true
		l.fail(Problem{Path: p, Reason: bare(err).Error(), Fatal: true})
	}
	return plainText([]byte(text), false), err == nil
}

// quietText is text for files that describe a repository: absence and trouble are the same.
func (l *loader) quietText(p string) (string, bool) {
	data, err := l.tree.readFile(p)
	return plainText(data, false), err == nil
}

// confMode says how one configuration file is read.
type confMode struct {
	source   bool // source statements count
	dir      bool // the file may be a directory of files
	noExpand bool
	quiet    bool // problems are reported by a later pass over the same file
}

// parse reads a file, or each file of a directory, with the variables of vars, and gives each assignment to set.
func (l *loader) parse(p string, vars map[string]string, m confMode, set func(Assignment)) bool {
	files := []string{p}
	if m.dir {
		files = l.list(p)
	}
	found := false
	for _, f := range files {
		text, ok := l.text(f)
		if !ok {
			continue
		}
		found = true
		o := ConfOptions{Vars: vars, NoExpand: m.noExpand}
		if m.source {
			o.Open = func(name string) ([]byte, error) {
				text, err := l.bytesOf(name)
				return []byte(text), err
			}
		}
		done, problems := ParseConf([]byte(text), f, o)
		for _, a := range done {
			set(a)
		}
		if !m.quiet {
			for _, p := range problems {
				l.fail(p)
			}
		}
	}
	return found
}

// places finds the directories from which all else is read.
func (l *loader) places() {
	prefix, ok := l.env.lookup("PORTAGE_OVERRIDE_EPREFIX")
	if !ok {
		prefix, _ = l.env.lookup("EPREFIX")
	}
	if prefix != "" {
		if prefix = path.Join("/", prefix); prefix == "/" {
			prefix = ""
		}
	}
	l.s.EPREFIX = prefix
	l.s.ConfigRoot = slashed(prefix)
	if c, ok := l.env.lookup("PORTAGE_CONFIGROOT"); ok && c != "" {
		l.s.ConfigRoot = slashed(c)
	}
	l.global = prefix + "/usr/share/portage/config"
	for _, old := range []string{"/usr/lib/portage/cnf", "/usr/lib64/portage/cnf"} {
		if !l.tree.exists(path.Join(l.global, "make.globals")) && l.tree.exists(path.Join(prefix+old, "make.globals")) {
			l.global = prefix + old
		}
	}
}

// slashed makes a path absolute and clean with a slash at the end, as Portage writes its roots.
func slashed(p string) string {
	if p = path.Join("/", p); p == "/" {
		return p
	}
	return p + "/"
}

func (l *loader) makeConfs() []string {
	old, now := path.Join(l.s.ConfigRoot, "etc/make.conf"), path.Join(l.s.ConfigRoot, "etc/portage/make.conf")
	a, errA := l.tree.stat(old)
	b, errB := l.tree.stat(now)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return []string{old}
	}
	return []string{old, now}
}

// files reads make.conf for what must be known early, then profile.env and make.globals, and finds the repositories.
func (l *loader) files() {
	early := newLayer()
	vars := map[string]string{}
	for _, p := range l.makeConfs() {
		l.parse(p, vars, confMode{source: true, dir: true, quiet: true}, func(a Assignment) { early.set(a.Name, a.Value, a.Path) })
	}
	l.rootdir = "/"
	if r, ok := l.env.lookup("ROOT"); ok {
		l.rootdir = slashed(r)
	} else if r := early.values["ROOT"]; strings.TrimSpace(r) != "" {
		l.rootdir = slashed(r)
	}
	l.eroot = strings.TrimSuffix(l.rootdir, "/") + l.s.EPREFIX + "/"
	l.profileEnv()

	l.vars = maps.Clone(l.envd.values)
	maps.Copy(l.vars, l.roots())
	globals := path.Join(l.global, "make.globals")
	if !l.tree.exists(globals) {
		globals = path.Join(l.s.ConfigRoot, "etc/make.globals")
	}
	l.s.defaults = l.parse(globals, l.vars, confMode{}, func(a Assignment) { l.globals.set(a.Name, a.Value, a.Path) })
	for k, v := range map[string]string{"ACCEPT_PROPERTIES": "*", "PORTAGE_BZIP2_COMMAND": "bzip2"} {
		if _, ok := l.globals.values[k]; !ok {
			l.globals.values[k] = v
		}
	}
	var portdir, overlay string
	for _, y := range []func(string) (string, bool){get(l.globals), get(early), l.env.lookup} {
		if v, ok := y("PORTDIR"); ok {
			portdir = v
		}
		if v, ok := y("PORTDIR_OVERLAY"); ok {
			overlay = v
		}
	}
	l.loadRepos(portdir, overlay)
}

func get(y layer) func(string) (string, bool) {
	return func(k string) (string, bool) { v, ok := y.values[k]; return v, ok }
}

// roots are the variables of places: they can be used in make.globals and make.conf, and nothing else can set them.
func (l *loader) roots() map[string]string {
	return map[string]string{
		"BROOT": l.s.EPREFIX, "EPREFIX": l.s.EPREFIX, "EROOT": l.eroot, "ESYSROOT": slashed(l.s.EPREFIX),
		"PORTAGE_CONFIGROOT": l.s.ConfigRoot, "ROOT": l.rootdir, "SYSROOT": "/",
	}
}

// profileEnv reads etc/profile.env below EPREFIX and EROOT: some variables count only from one of them.
func (l *loader) profileEnv() {
	read := func(p string) layer {
		y := newLayer()
		l.parse(p, nil, confMode{noExpand: true}, func(a Assignment) { y.set(a.Name, a.Value, a.Path) })
		return y
	}
	build := read(l.s.EPREFIX + "/etc/profile.env")
	target := build
	if l.rootdir != "/" {
		target = read(l.eroot + "etc/profile.env")
	}
	for k, v := range build.values {
		if !onlyTarget(k) {
			l.envd.set(k, v, build.from[k])
		}
	}
	for k, v := range target.values {
		if !onlyBuild(k) {
			l.envd.set(k, v, target.from[k])
		}
	}
}

func onlyBuild(key string) bool { return key == "PATH" || key == "PREROOTPATH" || key == "ROOTPATH" }

func onlyTarget(key string) bool {
	switch key {
	case "CONFIG_PROTECT", "CONFIG_PROTECT_MASK", "INFODIR", "INFOPATH", "MANPATH":
		return true
	}
	return strings.HasPrefix(key, "PKG_CONFIG_")
}

// user reads what belongs to the machine: make.conf, and the */* lines of /etc/portage/package.*.
func (l *loader) user() {
	if r := l.repo(l.main); r != nil {
		l.vars["PORTDIR"] = r.Location
	}
	for _, p := range l.makeConfs() {
		l.parse(p, l.vars, confMode{source: true, dir: true}, func(a Assignment) { l.conf.set(a.Name, a.Value, a.Path) })
	}
	l.profOnly = map[string]bool{}
	for _, k := range stackWords(nil, strings.Fields(l.defaults.values["PROFILE_ONLY_VARIABLES"])) {
		l.profOnly[k] = true
	}
	for k := range l.profOnly {
		l.conf.remove(k)
		l.envd.remove(k)
	}
	for _, k := range blacklist {
		for _, y := range l.layers() {
			y.remove(k)
		}
	}
	for k := range l.conf.values {
		if strings.HasPrefix(k, "__") {
			l.conf.remove(k)
		}
	}
	l.anyPackage("package.use", "USE", true)
	l.anyPackage("package.license", "ACCEPT_LICENSE", false)
	l.anyPackage("package.properties", "ACCEPT_PROPERTIES", false)
	l.anyPackage("package.accept_restrict", "ACCEPT_RESTRICT", false)
	l.anyPackageEnv()
}

// anyPackage adds the words of a package.* file's */* lines to a variable. In package.use "NAME:" makes the rest of
// the line flags of that USE_EXPAND variable.
func (l *loader) anyPackage(file, variable string, expand bool) {
	words, from := l.wildcard(file, expand)
	if len(words) > 0 {
		l.conf.add(variable, strings.Join(words, " "), from)
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

func prefixed(words []string) (flags []string) {
	prefix := ""
	for _, w := range words {
		switch {
		case strings.HasSuffix(w, ":"):
			prefix = strings.ToLower(w[:len(w)-1]) + "_"
		case w[0] == '-':
			flags = append(flags, "-"+prefix+w[1:])
		default:
			flags = append(flags, prefix+w)
		}
	}
	return flags
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
			case l.profOnly[a.Name] || slices.Contains(blacklist, a.Name) || a.Name == "CONFIG_PROTECT":
				l.fail(Problem{Path: a.Path, Line: a.Line, Reason: fmt.Sprintf("%s must not be set here", a.Name)})
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
			l.conf.add(k, v, got.from[k])
		} else {
			l.conf.set(k, v, got.from[k])
		}
	}
}

// PortageqVars are the variables that Load asks portageq for.
func PortageqVars() []string { return slices.Clone(portageqVars) }

var portageqVars = []string{
	"PKGDIR", "DISTDIR", "CHOST", "CBUILD", "ARCH", "FEATURES", "USE",
	"ACCEPT_KEYWORDS", "ACCEPT_LICENSE", "ACCEPT_PROPERTIES", "ACCEPT_RESTRICT", "CFLAGS", "CXXFLAGS",
	"CONFIG_PROTECT", "CONFIG_PROTECT_MASK", "GENTOO_MIRRORS", "INSTALL_MASK", "IUSE_IMPLICIT",
	"USE_EXPAND", "USE_EXPAND_HIDDEN", "USE_EXPAND_IMPLICIT", "USE_EXPAND_UNPREFIXED",
	"BINPKG_FORMAT", "BINPKG_COMPRESS", "PORTAGE_BINHOST", "EMERGE_DEFAULT_OPTS", "PORTAGE_RO_DISTDIRS",
}

// portageq lets Portage itself have the last word. A failure is a Problem: the files have been read already.
func (l *loader) portageq(ctx context.Context, run PortageqFunc) error {
	values, err := run(ctx, portageqVars...)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("read portage settings: %w", ctx.Err())
		}
		l.fail(Problem{Reason: fmt.Sprintf("portageq: %v", err)})
		return nil
	}
	for _, k := range portageqVars {
		v, ok := values[k]
		if _, known := l.s.Values[k]; !ok || v == "" && !known {
			continue // portageq prints an unset variable as an empty one
		}
		l.s.Values[k], l.s.Sources[k] = v, SourcePortageq
	}
	if _, ok := values["FEATURES"]; ok {
		l.s.defaults = true
	}
	return nil
}

// ParsePortageq reads the output of `portageq envvar -v VARS...`: NAME=VALUE, quoted for a shell.
func ParsePortageq(out []byte) (map[string]string, error) {
	values, problems, err := ParseAssignments(strings.NewReader(string(out)), "portageq envvar")
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("read output of portageq: %s", problems[0])
	}
	if err != nil {
		return nil, err
	}
	return values, nil
}

// findModules lists the directories in which the modules of an installed Portage may lie.
func (l *loader) findModules() []string {
	var dirs []string
	for _, lib := range []string{"usr/lib", "usr/lib64"} {
		dir := path.Join("/", l.s.EPREFIX, lib)
		names, err := l.tree.names(dir)
		if err != nil {
			continue
		}
		dirs = append(dirs, path.Join(dir, "portage/pym/portage"))
		for _, n := range names {
			if strings.HasPrefix(n, "python") {
				dirs = append(dirs, path.Join(dir, n, "site-packages/portage"))
			}
		}
	}
	return dirs
}
