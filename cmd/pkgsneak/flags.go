package main

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/sync/auto"
	"pkgsneak/sync/doctor"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/inspect"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/requester"
)

// Every flag is declared here, once: its names, its help text, and the field of options that it
// sets. A command lists the sets that it takes:
//
//	Flags: flags(common, pretend, kindsLeft, exporting, jobs, dirs, lock),
//
// Everything else follows from the declaration: parsing, the check of a value (flag_values.go), the
// variable PKGSNEAK_NAME, the line of --help, completion. A flag of several commands has one
// meaning; what it sets is read from invocation.opt by those that take it.

// options is a command line after its flags and variables. Each command reads the part that its
// flags set.
type options struct {
	json, quiet, noProgress bool
	verbose                 int
	pretend, ask, yes       bool
	cpuProfile, memProfile  string

	stateDir, pkgdir, distdir string // "": the machine's own
	portageq                  bool
	lockWait                  time.Duration

	export  exporter.ExportOptions
	imports importer.ImportOptions
	index   reindex.IndexOptions
	check   bool
	verify  inspect.VerifyOptions
	request requester.Options

	doctor       doctor.Options
	host, client bool
	explain      bool

	auto         auto.Options
	watch        auto.WatchOptions
	watchedDrive string
	autoMode     string // export, import, both

	serve serveOptions

	install, uninstall, force bool
	root                      string
	packaged                  bool

	code        string
	receipt     bool
	keyName     string
	armor       bool
	revoke      bool
	retire      bool
	fingerprint string
	replaces    string // a fingerprint
	never       bool
	unsigned    bool
}

// defaultListen is where serve listens unless --listen names another place.
const defaultListen = ":8080"

// stateDir is where this machine keeps its keys and its state, unless --state-dir names another
// place.
const stateDir = "/var/lib/pkgsneak"

// serveOptions are the flags of serve alone.
type serveOptions struct {
	listen, prefix  string
	tlsCert, tlsKey string
	untrusted       bool
	clients         bool
	maxConnections  int
	stall, grace    time.Duration
}

// newOptions gives what holds where neither a flag nor a variable is set.
func newOptions() *options {
	return &options{
		lockWait: 10 * time.Minute,
		watch:    auto.WatchOptions{Quiet: auto.DefaultQuiet},
		serve:    serveOptions{stall: time.Minute, grace: time.Minute},
	}
}

// flagDef declares a flag.
type flagDef struct {
	name string
	also []string // other names
	// the name of its value in --help, which tells completion what to offer; "" for a switch
	value  string
	usage  string
	group  group  // under which heading --help lists it; "" is the group of its set
	shown  string // the default in --help, where it is not the value of the field
	hidden bool
	// it answers a question, or states what this one run is about, so that no variable sets it:
	// nobody would be asked any more, or each run would be another one
	typed bool
	to    func(*options) flag.Value // the fields that it sets
}

// group is a heading of --help.
type group string

// The groups, in the order in which help shows them.
const (
	groupWhat   group = "what"
	groupWhere  group = "where"
	groupHow    group = "how"
	groupOutput group = "output"
)

var groups = []group{groupWhat, groupWhere, groupHow, groupOutput}

// flagSet is a set of flags that commands take together.
type flagSet []flagDef

// of puts the flags that have no group into this one.
func (g group) of(set flagSet) flagSet {
	for i := range set {
		if set[i].group == "" {
			set[i].group = g
		}
	}
	return set
}

var jsonLines = groupOutput.of(flagSet{
	{name: "json", usage: "one JSON object a line on stdout: events, then the result",
		to: func(o *options) flag.Value { return toggle{&o.json} }},
})

var common = groupOutput.of(append(flagSet{
	{name: "cpuprofile", value: "FILE",
		usage: "write a profile of the run's CPU time for go tool pprof", hidden: true,
		to: func(o *options) flag.Value { return text{&o.cpuProfile} }},
	{name: "memprofile", value: "FILE",
		usage: "write a profile of what the run allocated for go tool pprof", hidden: true,
		to: func(o *options) flag.Value { return text{&o.memProfile} }},
	{name: "verbose", also: []string{"v"},
		usage: "list each file that is copied, removed or left out; -vv: also what confines the process",
		to:    func(o *options) flag.Value { return loudness{&o.verbose} }},
	{name: "quiet", also: []string{"q"}, usage: "print only errors and warnings",
		to: func(o *options) flag.Value { return toggle{&o.quiet} }},
	{name: "state-dir", group: groupWhere, value: "DIR", usage: "keys and state of this machine",
		shown: stateDir,
		to:    func(o *options) flag.Value { return text{&o.stateDir} }},
}, jsonLines...))

var noProgress = groupOutput.of(flagSet{
	{name: "no-progress", usage: "no progress bar on a terminal",
		to: func(o *options) flag.Value { return toggle{&o.noProgress} }},
})

var pretend = groupHow.of(flagSet{
	{name: "pretend", also: []string{"p", "dry-run"},
		usage: "show what would be done, and do nothing",
		to: func(o *options) flag.Value {
			return toggle{&o.pretend, &o.export.Pretend, &o.imports.Pretend, &o.request.Pretend}
		}},
})

var ask = groupHow.of(flagSet{
	{name: "ask", also: []string{"a"}, usage: "show what would be done, and ask",
		to: func(o *options) flag.Value { return toggle{&o.ask} }},
})

var yes = groupHow.of(flagSet{
	{name: "yes", usage: "do not ask", typed: true,
		to: func(o *options) flag.Value { return toggle{&o.yes} }},
})

var unsigned = groupHow.of(flagSet{
	{name: "unsigned",
		usage: "take an origin, too, of which nothing validly signed tells what belongs to it",
		typed: true,
		to:    func(o *options) flag.Value { return toggle{&o.unsigned} }},
})

var kindsLeft = groupWhat.of(flagSet{
	{name: "no-packages", usage: "leave binary packages alone",
		to: func(o *options) flag.Value {
			return toggle{&o.export.NoPackages, &o.imports.NoPackages}
		}},
	{name: "no-distfiles", usage: "leave distfiles alone",
		to: func(o *options) flag.Value {
			return toggle{&o.export.NoDistfiles, &o.imports.NoDistfiles, &o.request.NoDistfiles}
		}},
})

// carriedRepos gives which ebuild repositories travel.
var carriedRepos = groupWhat.of(flagSet{
	{name: "repos", value: "LIST",
		usage: "ebuild repositories, with commas between; none: leave them alone",
		to: func(o *options) flag.Value {
			return undoable{allNames, repoNames{&o.export.Repos, &o.imports.Repos}}
		}},
})

// takingRepos gives whose ebuild repositories an import may take the place of.
var takingRepos = groupWhat.of(flagSet{
	{name: "adopt-repo", value: "LIST",
		usage: "let the drive's repository take the place of this machine's own, which is kept",
		typed: true,
		to:    func(o *options) flag.Value { return text{&o.imports.AdoptRepos} }},
	{name: "repos-only", usage: "bring ebuild repositories and nothing else",
		to: func(o *options) flag.Value {
			return toggle{&o.imports.ReposOnly}
		}},
})

// exporting gives how to export, with or without a person to ask.
var exporting = groupHow.of(flagSet{
	{name: "name", group: groupWhat, value: "NAME",
		usage: "what this origin is called on the drive (its last name, else this host's)",
		to:    func(o *options) flag.Value { return originName{&o.export.Name} }},
	{name: "no-read-back",
		usage: "do not compare the drive with what was written, nor test the capacity of a new one",
		to:    func(o *options) flag.Value { return toggle{&o.export.NoReadBack} }},
})

// anywhere gives whether what is written to has to be a drive.
var anywhere = groupWhere.of(flagSet{
	{name: "any-directory", usage: "DRIVE may be an ordinary directory",
		to: func(o *options) flag.Value {
			return toggle{&o.export.AnyDirectory, &o.request.AnyDirectory}
		}},
})

// minimal is how much a request tells, whoever starts it.
var minimal = groupWhat.of(flagSet{
	{name: "minimal", usage: "tell neither the installed packages nor settings in a request",
		to: func(o *options) flag.Value { return toggle{&o.request.Minimal} }},
})

// requesting gives what a request tells, and where it is written.
var requesting = groupWhat.of(flagSet{
	{name: "name", value: "NAME",
		usage: "what this client is called (its last name, else this host's)",
		to:    func(o *options) flag.Value { return originName{&o.request.Name} }},
	{name: "no-distfiles", usage: "do not name distfiles that could be compiled from",
		to: func(o *options) flag.Value { return toggle{&o.request.NoDistfiles} }},
	{name: "file", value: "FILE", usage: "write a tar archive instead, to be unpacked on a drive",
		typed: true,
		to:    func(o *options) flag.Value { return text{&o.request.File} }},
})

// answering gives for whom a drive is that cannot hold everything.
var answering = groupWhat.of(flagSet{
	{name: "for", value: "CLIENT",
		usage: "only what this client needs, by the name that it has here (pkgsneak clients)",
		to:    func(o *options) flag.Value { return undoable{allNames, text{&o.export.For}} }},
	{name: "again", usage: "carry again what is on its way to a client on another drive",
		to: func(o *options) flag.Value { return toggle{&o.export.Again} }},
	{name: "keep-requests",
		usage: "leave the clients' lists of installed packages on the drive as they are",
		to:    func(o *options) flag.Value { return toggle{&o.export.KeepRequests} }},
})

// receipt is for what was imported from a medium to which nothing can be written.
var receipt = groupWhat.of(flagSet{
	{name: "receipt",
		usage: "print a code of 16 symbols of the last import, for pkgsneak clients on the host",
		typed: true,
		to:    func(o *options) flag.Value { return toggle{&o.receipt} }},
})

// typing is for receipts that people carry.
var typing = groupWhat.of(flagSet{
	{name: "code", value: "CODE",
		usage: "take the receipt that pkgsneak status --receipt printed on the client", typed: true,
		to: func(o *options) flag.Value { return text{&o.code} }},
})

var acceptClock = groupHow.of(flagSet{
	{name: "accept-clock", usage: "the clock is right, whatever times are remembered here",
		typed: true,
		to: func(o *options) flag.Value {
			return toggle{&o.export.AcceptClock, &o.imports.AcceptClock}
		}},
})

var shrink = groupHow.of(flagSet{
	{name: "allow-shrink", usage: "allow removing more than half of an origin's packages",
		to: func(o *options) flag.Value {
			return toggle{&o.export.AllowShrink, &o.imports.AllowShrink}
		}},
})

var repair = groupWhat.of(flagSet{
	{name: "repair", usage: "read everything on the drive, and write again what is damaged there",
		to: func(o *options) flag.Value { return toggle{&o.export.Repair} }},
})

var oneOrigin = groupWhat.of(flagSet{
	{name: "origin", value: "ORIGIN", usage: "only what this origin exported",
		to: func(o *options) flag.Value {
			return undoable{allNames, text{&o.imports.Origin, &o.verify.Origin}}
		}},
})

// fitting gives which packages are let in that do not fit this machine, and which are left out that
// do.
var fitting = groupWhat.of(flagSet{
	{name: "any-arch", usage: "take packages for another machine too (ARCH, CHOST)",
		to: func(o *options) flag.Value { return toggle{&o.imports.AnyArch} }},
	{name: "any-cpu", usage: "take packages for a CPU with more than this one has too",
		to: func(o *options) flag.Value { return toggle{&o.imports.AnyCPU} }},
	{name: "respect-use",
		usage: "let the line to type leave out packages with other USE than this machine sets",
		to:    func(o *options) flag.Value { return toggle{&o.imports.RespectUse} }},
})

var excluding = groupOutput.of(flagSet{
	{name: "exclude-file", value: "FILE",
		usage: "write the names that the line to type excludes to FILE, which the line then reads",
		to: func(o *options) flag.Value {
			return undoable{"none", text{&o.imports.ExcludeFile, &o.doctor.ExcludeFile}}
		}},
})

// importing gives what an import may do to what is here.
var importing = groupWhat.of(flagSet{
	{name: "prune",
		usage: "remove what came from an origin that no longer has it; local files stay",
		to:    func(o *options) flag.Value { return toggle{&o.imports.Prune} }},
	{name: "replace", usage: "let a distfile of the drive replace a different one that is here",
		to: func(o *options) flag.Value { return toggle{&o.imports.Replace} }},
	{name: "no-undo",
		usage: "do not keep what is replaced or removed: \"pkgsneak undo\" cannot take the import back",
		to:    func(o *options) flag.Value { return toggle{&o.imports.NoUndo} }},
	{name: "check",
		usage: "unpack and look through what is copied, though the build host vouches for it",
		to:    func(o *options) flag.Value { return toggle{&o.imports.Check} }},
})

var older = groupHow.of(flagSet{
	{name: "allow-older", usage: "import a generation that is older than the last one",
		to: func(o *options) flag.Value { return toggle{&o.imports.AllowOlder} }},
})

// guards are which good signatures are not accepted.
var guards = groupHow.of(flagSet{
	{name: "max-age", value: "AGE",
		usage: "refuse what was signed longer ago, 30d or 12h for instance",
		to:    func(o *options) flag.Value { return undoable{"none", age{&o.imports.MaxAge}} }},
})

// accepting answers what an import asks about a signature: with nobody there, no is the answer.
var accepting = groupHow.of(flagSet{
	{name: "accept-future", usage: "import a generation from more than a year in the future",
		typed: true,
		to:    func(o *options) flag.Value { return toggle{&o.imports.AcceptFuture} }},
	{name: "accept-rotation",
		usage: "trust the new key that a trusted one introduces, in its place", typed: true,
		to: func(o *options) flag.Value { return toggle{&o.imports.AcceptRotation} }},
})

var jobs = groupHow.of(flagSet{
	{name: "jobs", also: []string{"j"}, value: "N",
		usage: "files worked on at a time; else chosen to suit disks and CPUs",
		to: func(o *options) flag.Value {
			return undoable{"auto", whole{1, 1024, []*int{&o.export.Workers, &o.imports.Workers,
				&o.index.Workers, &o.verify.Workers}}}
		}},
})

var dirs = groupWhere.of(flagSet{
	{name: "pkgdir", value: "DIR", usage: "binary packages; else as Portage is configured",
		to: func(o *options) flag.Value { return undoable{"portage", text{&o.pkgdir}} }},
	{name: "distdir", value: "DIR", usage: "distfiles; else as Portage is configured",
		to: func(o *options) flag.Value { return undoable{"portage", text{&o.distdir}} }},
	{name: "portageq", group: groupHow,
		usage: "ask portageq for the settings, which takes a second, instead of reading the files",
		to:    func(o *options) flag.Value { return toggle{&o.portageq} }},
})

var lock = groupHow.of(flagSet{
	{name: "lock-wait", value: "TIME", usage: "how long to wait for another program's lock",
		to: func(o *options) flag.Value { return span{&o.lockWait} }},
})

var indexing = groupWhat.of(flagSet{
	{name: "check", usage: "compare only, and end with 4 if something is wrong", typed: true,
		to: func(o *options) flag.Value { return toggle{&o.check} }},
	{name: "rebuild", usage: "read every package, whatever the index says",
		to: func(o *options) flag.Value { return toggle{&o.index.Rebuild} }},
})

var examining = groupWhat.of(flagSet{
	{name: "host", usage: "examine this machine as one that builds and exports",
		to: func(o *options) flag.Value { return toggle{&o.host} }},
	{name: "client", usage: "examine this machine as one that imports",
		to: func(o *options) flag.Value { return toggle{&o.client} }},
	{name: "portage", group: groupHow,
		usage: "ask emerge itself about the line to type (-p, as the user portage; 3 to 30 seconds)",
		to:    func(o *options) flag.Value { return toggle{&o.doctor.Portage} }},
	{name: "deep", group: groupHow,
		usage: "read the compiler flags of every package on the drive, not of some",
		to:    func(o *options) flag.Value { return toggle{&o.doctor.Deep} }},
	{name: "explain", usage: "explain why a topic matters; without a topic, list them",
		typed: true,
		to:    func(o *options) flag.Value { return toggle{&o.explain} }},
	{name: "ignore", value: "TOPICS", usage: "topics that are not reported, separated by commas",
		to: func(o *options) flag.Value { return undoable{"none", topics{&o.doctor.Ignore}} }},
})

var autoMode = groupHow.of(flagSet{
	{name: "auto", value: "ROLE",
		usage: "export, import or both: what this machine does with a drive that is plugged in",
		to:    func(o *options) flag.Value { return undoable{"none", emptyable{&o.autoMode}} }},
})

var plugged = groupHow.of(flagSet{
	{name: "label", group: groupWhat, value: "LABEL",
		usage: "export to a drive without a tree if it has this label", shown: auto.DefaultLabel,
		to: func(o *options) flag.Value { return text{&o.auto.Label} }},
	{name: "on-done", value: "COMMAND",
		usage: "run by /bin/sh at the end, with the result as JSON on its standard input",
		to:    func(o *options) flag.Value { return undoable{"none", emptyable{&o.auto.Hook}} }},
	{name: "request", usage: "after an import, write to the drive what this machine has and lacks",
		to: func(o *options) flag.Value { return toggle{&o.auto.Request} }},
	{name: "result-file", usage: "leave a text on the drive that tells the result",
		to: func(o *options) flag.Value { return toggle{&o.auto.ResultFile} }},
})

// installing is for the commands that a system can start by itself.
var installing = groupWhere.of(flagSet{
	{name: "install", group: groupWhat,
		usage: "install the files that make the system start it, and its settings", typed: true,
		to: func(o *options) flag.Value { return toggle{&o.install} }},
	{name: "uninstall", group: groupWhat, usage: "remove them", typed: true,
		to: func(o *options) flag.Value { return toggle{&o.uninstall} }},
	{name: "root", value: "DIR", usage: "install below this directory, for packagers",
		to: func(o *options) flag.Value { return text{&o.root} }},
	{name: "packaged",
		usage: "with --root: a package's places (/usr/lib/udev, /usr/lib/systemd), not /etc",
		to:    func(o *options) flag.Value { return toggle{&o.packaged} }},
	{name: "force", group: groupHow, also: []string{"f"},
		usage: "with --install: overwrite files that were changed here, too", typed: true,
		to: func(o *options) flag.Value { return toggle{&o.force} }},
})

var watching = groupHow.of(flagSet{
	{name: "watch", group: groupWhere, value: "DRIVE",
		usage: "where the drive is mounted, if there is no argument",
		to:    func(o *options) flag.Value { return text{&o.watchedDrive} }},
	{name: "once", usage: "end after the first export",
		to: func(o *options) flag.Value { return toggle{&o.watch.Once} }},
	{name: "settle", value: "TIME", usage: "export when nothing has changed for so long",
		to: func(o *options) flag.Value { return span{&o.watch.Quiet} }},
})

var serving = groupHow.of(flagSet{
	{name: "listen", group: groupWhere, value: "ADDRESS", usage: "address and port, or a port alone",
		shown: defaultListen,
		to:    func(o *options) flag.Value { return text{&o.serve.listen} }},
	{name: "prefix", group: groupWhere, value: "PATH",
		usage: "path in front of all others, /funtoo for instance",
		to:    func(o *options) flag.Value { return undoable{"none", emptyable{&o.serve.prefix}} }},
	{name: "tls-cert", value: "FILE", usage: "certificate for HTTPS, a PEM file",
		to: func(o *options) flag.Value { return undoable{"none", text{&o.serve.tlsCert}} }},
	{name: "tls-key", value: "FILE", usage: "its key, a PEM file",
		to: func(o *options) flag.Value { return undoable{"none", text{&o.serve.tlsKey}} }},
	{name: "untrusted", group: groupWhat,
		usage: "serve origins whose key is not trusted here as well; the pages mark them",
		to:    func(o *options) flag.Value { return toggle{&o.serve.untrusted} }},
	{name: "clients", group: groupWhat,
		usage: "show to everybody what the machines that import from here have and lack, at /clients/",
		to:    func(o *options) flag.Value { return toggle{&o.serve.clients} }},
	{name: "max-connections", value: "N",
		usage: "how many at a time; else 1024, less where few files may be open",
		to: func(o *options) flag.Value {
			return undoable{"auto", whole{1, 1 << 20, []*int{&o.serve.maxConnections}}}
		}},
	{name: "stall", value: "TIME", usage: "drop a client that takes nothing for so long",
		to: func(o *options) flag.Value { return span{&o.serve.stall} }},
	{name: "grace", value: "TIME", usage: "how long downloads may go on after the stop",
		to: func(o *options) flag.Value { return span{&o.serve.grace} }},
})

var publicKey = groupOutput.of(flagSet{
	{name: "armor", usage: "print the public key as gpg and trust read it",
		to: func(o *options) flag.Value { return toggle{&o.armor} }},
})

var newKey = groupWhat.of(flagSet{
	{name: "name", value: "NAME", usage: "whose key it is (this host's name)",
		to: func(o *options) flag.Value { return text{&o.keyName} }},
})

var newName = groupWhat.of(flagSet{
	{name: "name", value: "NAME",
		usage: "the new name of the origin (the old one with a number behind)", typed: true,
		to: func(o *options) flag.Value { return originName{&o.keyName} }},
})

var revoking = groupHow.of(flagSet{
	{name: "revoke",
		usage: "the old key may be in wrong hands: it is revoked, and introduces nobody",
		typed: true,
		to:    func(o *options) flag.Value { return toggle{&o.revoke} }},
})

var trusting = groupHow.of(flagSet{
	{name: "fingerprint", group: groupWhat, value: "FPR",
		usage: "trust the key with this fingerprint, without a question", typed: true,
		to: func(o *options) flag.Value { return fingerprint{&o.fingerprint} }},
	{name: "replaces", value: "FPR",
		usage: "the key takes the place of this one, which is trusted no longer", typed: true,
		to: func(o *options) flag.Value { return fingerprint{&o.replaces} }},
	{name: "never", usage: "never import what the key signs, and do not report it as left out",
		typed: true,
		to:    func(o *options) flag.Value { return toggle{&o.never} }},
})

var retiring = groupHow.of(flagSet{
	{name: "retire",
		usage: "the key that is there signs no longer, and is kept with the former ones",
		typed: true,
		to:    func(o *options) flag.Value { return toggle{&o.retire} }},
})

// The sets of auto, which its worker takes too. A clock is believed by a person only, once.
var unattended = []flagSet{oneOrigin, kindsLeft, exporting, anywhere, importing, fitting, shrink,
	guards, minimal, jobs, dirs, lock}

// flags gives the flags of a command.
func flags(sets ...flagSet) []cli.Flag {
	var all []cli.Flag
	for _, set := range sets {
		for i := range set {
			all = append(all, declared{&set[i]})
		}
	}
	return all
}

// declared is a flagDef as cli takes it.
type declared struct{ *flagDef }

// Names implements cli.Flag.
func (d declared) Names() []string { return append([]string{d.name}, d.also...) }

// String implements cli.Flag.
func (d declared) String() string { return "--" + d.name }

// IsSet implements cli.Flag: the context has the answer.
func (d declared) IsSet() bool { return false }

// IsVisible implements cli.VisibleFlag.
func (d declared) IsVisible() bool { return !d.hidden }

// Apply implements cli.Flag. The value is one of its own until read copies it.
func (d declared) Apply(set *flag.FlagSet) error {
	value := d.to(newOptions())
	for _, name := range d.Names() {
		set.Var(value, name, d.usage)
	}
	return nil
}

// check reports why a value is none.
func (d declared) check(value string) error { return d.to(newOptions()).Set(value) }

// suited is a kind of value that can tell which ones are good. Of others the flag's usage tells it.
type suited interface{ suits() string }

// takes tells which values are good. written is how the flag was written, or its variable.
func (d declared) takes(written string) string {
	if d.value == "" {
		return written + " takes yes or no, and is yes without a value"
	}
	value, word := d.initial(), ""
	if u, ok := value.(undoable); ok {
		value, word = u.unsettable, ", or "+u.word
	}
	good := d.usage
	if s, ok := value.(suited); ok {
		good = s.suits()
	}
	return written + " takes " + d.value + ": " + good + word
}

// initial is the value that holds where nobody gives one.
func (d declared) initial() flag.Value { return d.to(newOptions()) }

// isSwitch tells a flag without a value.
func isSwitch(f cli.Flag) bool {
	d, ok := f.(declared)
	if !ok {
		_, ok := f.(*cli.BoolFlag)
		return ok
	}
	return d.value == ""
}

// ownPrefix begins the name of each of our variables.
const ownPrefix = "PKGSNEAK_"

// visible leaves out the flags that are in no help.
func visible(flags []cli.Flag) []cli.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f cli.Flag) bool {
		v, ok := f.(cli.VisibleFlag)
		return ok && !v.IsVisible()
	})
}

// variable is the name of a flag's variable.
func variable(flag string) string {
	return ownPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// read gives the options of a command: each flag has the value of the command line, else that of
// its variable.
func read(c *cli.Context, v variables) (*options, error) {
	o := newOptions()
	for _, f := range c.Command.Flags {
		d, ok := f.(declared)
		if !ok {
			continue
		}
		value, source := d.given(c, v)
		if source == "" {
			continue
		}
		if err := d.to(o).Set(value); err != nil {
			// parseArgs has checked the command line's
			err = usageErrorf("%s from %s: %w", variable(d.name), source, err)
			if !errors.As(err, new(*hintError)) {
				err = withHint(err, "%s", d.takes(variable(d.name)))
			}
			return nil, err
		}
	}
	return o, nil
}

// given is the value that somebody gave a flag, and where it is from; "" from nowhere.
func (d declared) given(c *cli.Context, v variables) (value, source string) {
	if c.IsSet(d.name) {
		return c.Value(d.name).(flag.Value).String(), "the command line"
	}
	if d.typed {
		return "", ""
	}
	if value, source := v.get(variable(d.name)); value != "" {
		return value, source
	}
	return "", ""
}

// topics is a list of what doctor examines.
type topics struct{ list *[]string }

// String implements flag.Value.
func (t topics) String() string {
	if t.list == nil {
		return ""
	}
	return strings.Join(*t.list, ",")
}

// Set implements flag.Value.
func (t topics) Set(s string) error {
	names := listWords(s)
	for _, name := range names {
		if _, ok := doctor.LookUpTopic(name); !ok {
			return noTopic(name)
		}
	}
	*t.list = names
	return nil
}

// Get implements flag.Getter.
func (t topics) Get() any { return t }

func (t topics) isSet() bool { return t.list != nil && len(*t.list) > 0 }
func (t topics) unset()      { *t.list = nil }

// noTopic is the error for a topic that doctor does not have.
func noTopic(name string) error {
	var names []string
	for _, t := range doctor.Topics() {
		names = append(names, t.Name)
	}
	err := usageErrorf("doctor has no topic %q", name)
	if near := nearest(name, names); near != "" {
		return withHint(err, "pkgsneak doctor --explain %s", near)
	}
	return withHint(err, "pkgsneak doctor --explain")
}
