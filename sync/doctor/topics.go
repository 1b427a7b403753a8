package doctor

import "slices"

// Topic is what a finding is about.
type Topic struct {
	Name  string
	Title string
	Text  string // lines
}

// Topics lists what can be explained, in the order in which things are to be fixed.
func Topics() []Topic { return slices.Clone(topics) }

// LookUpTopic returns a topic.
func LookUpTopic(name string) (Topic, bool) {
	i := slices.IndexFunc(topics, func(t Topic) bool { return t.Name == name })
	if i < 0 {
		return Topic{}, false
	}
	return topics[i], true
}

var topics = []Topic{
	{"config", "files that Portage cannot read", `
make.conf is no shell script: Portage reads it with a parser of its own, which knows NAME="value", source and
comments. At the first thing it does not know emerge stops.`},
	{"state", "keys and memory", `
/var/lib/pkgsneak (--state-dir) holds the signing key of a host, the keys that a client trusts, the highest
generation seen of each origin, and what was imported as what. A file there that is damaged is not guessed at:
forgetting the highest generation would let an old one in. Bring it back from a backup. Without one, move the
directory away and trust the key again; a host should keep its signing.asc.`},
	{"clock", "a clock that is behind", `
A machine without a battery wakes up in 1970. Signatures are judged at the latest time that was ever signed for this
machine, so an import works; but packages that are built then carry that date, and emerge takes the newer build.
An export gets a number that only just grows.`},
	{"role", "host, client, both", `
A host builds and exports, a client imports. What a machine is shows in what it has done: a signing key, an export,
a trusted key, an import; or PKGSNEAK_AUTO says it. Before all that FEATURES is taken as a hint: getbinpkg for a client,
else buildpkg for a host. --host and --client say it for once.`},
	{"pkgdir", "where packages lie", `
PKGDIR is where emerge puts packages and looks for them: /var/cache/binpkgs, on Funtoo and older systems
/var/cache/portage/packages or /usr/portage/packages. export reads it, import fills it.`},
	{"distdir", "where distfiles lie", `
DISTDIR is where emerge keeps sources: what a client needs to compile without a network. export carries them too.`},
	{"room", "too little room", `
A build, an export and an import need room for what is new before what is old goes. eclean-pkg and eclean-dist
(app-portage/gentoolkit) remove what no installed package or ebuild needs.`},
	{"buildpkg", "keeping what was compiled", `
emerge compiles, installs and throws the result away, unless FEATURES=buildpkg tells it to keep a package in PKGDIR.
For what was installed before, quickpkg packs the installed files; without --include-config=y it leaves out those
below /etc.`},
	{"march", "-march and other machines", `
-march says which instructions the compiler may use. native means "those of this very machine": on a CPU that
lacks one, the program ends with "Illegal instruction", and when that happens to glibc, bash or python the machine
cannot be mended from within. -mtune only arranges the code and is harmless. For machines of one kind:

  x86-64       every 64-bit CPU
  x86-64-v2    Intel Nehalem (2008), AMD Bulldozer (2011): SSE 4.2
  x86-64-v3    Intel Haswell (2013), AMD Excavator (2015): AVX2, BMI, FMA
  x86-64-v4    AVX-512: few of Intel's desktop CPUs, AMD Zen 4 (2022)

A change counts for what is built from then on: emerge -e @world builds everything again.`},
	{"cpu-flags", "CPU_FLAGS_X86", `
Some ebuilds have hand-written code for SSE 4, AVX and so on, which CPU_FLAGS_X86 switches on, whatever -march says.
Many programs look at the CPU before they use it, some do not. What all machines have in common is safe:
cpuid2cpuflags (app-portage/cpuid2cpuflags) prints it for one machine.`},
	{"cpu", "packages for another CPU", `
A package says in its CFLAGS and in its USE for which CPU it was built. It is held against /proc/cpuinfo of this
machine. The index has no CFLAGS: they are read out of the packages on the drive, of some of them, or of all
with --deep. What -march=native meant is not written in a package; the build host's CPU_FLAGS_X86 are a hint.`},
	{"format", "BINPKG_FORMAT", `
gpkg (GLEP 78, the default since 2024) has checksums and can be signed; xpak (.tbz2, .xpak) is what every Portage
reads, and all that Funtoo's reads. pkgsneak carries both.`},
	{"compress", "BINPKG_COMPRESS", `
Packages are unpacked with programs that the client must have: bzip2, gzip, xz and zstd are everywhere, lz4, lzip and
lzop are not. A GPKG that is not compressed at all is taken for whatever the reader's own BINPKG_COMPRESS says, and one
of them ends the indexing of a whole PKGDIR. zstd is quick and small.`},
	{"index", "the Packages file", `
Since Portage 3.0.52 emerge trusts PKGDIR/Packages and looks at no file (FEATURES=pkgdir-index-trusted): a package
that is not in it does not exist, and without the file there are no packages. Entries that differ from their file make
emerge rename the package away. pkgsneak index does what emaint binhost --fix does.`},
	{"left-out", "what an export leaves out", `
An export carries regular files with a package's name and place, and DISTDIR's files. Links are followed in DISTDIR only,
into the directories of PORTAGE_RO_DISTDIRS. Empty files, downloads on their way, what Portage set aside and the folders
of a mirror's tree are named by export, doctor and serve in the same words, and an export that met one ends with 3.`},
	{"key", "the signing key", `
A host signs what it exports, with a key that is made on the first export: /var/lib/pkgsneak/signing.asc. Clients know
the host by it and by nothing else. Keep a copy elsewhere (pkgsneak key shows it); whoever has it can give packages to
all clients.`},
	{"trust", "trusted keys", `
A client imports from origins whose key it trusts, and a person trusts a key once: pkgsneak trust DRIVE shows the
fingerprint, which is to be compared with what pkgsneak key shows on the host. That the key lies on the drive proves
nothing.`},
	{"signing", "packages that are signed one by one", `
FEATURES=binpkg-signing signs each GPKG with gpg. Portage checks such a signature wherever it meets one, and refuses the
package if the key is not in /etc/portage/gnupg. pkgsneak's signature is another one: over the whole of a drive.`},
	{"auto", "plug in and walk away", `
pkgsneak auto --install puts a udev rule in place that starts pkgsneak when a drive is plugged in. What it does then,
PKGSNEAK_AUTO in /etc/conf.d/pkgsneak says: export, import or both. A machine that was not told does nothing.`},
	{"usepkg", "--usepkg, --usepkgonly, and what they leave out", `
-k (--usepkg) takes a package if the ebuild of the same version is in this machine's tree and its USE and dependencies
agree; else it compiles, and it never takes a rebuild of what is installed. On a client whose tree is older than
the host's it does nothing, without a word. -K (--usepkgonly) takes what packages there are.

  emerge -auDK --rebuilt-binaries-timestamp=0 --exclude "NAMES" @world

--rebuilt-binaries-timestamp=0 keeps -K from replacing builds of this machine that are newer. It still takes a lower
version where that was built later, glibc included, and one package that lacks something can end the whole run; so
import and doctor work out which names are to be excluded, and print the line with them.`},
	{"emerge", "what emerge says itself", `
The forecast is worked out from /var/db/pkg, the index and /etc/portage, in a fraction of a second. pkgsneak doctor
--portage asks real emerge with the same line and -p, which takes 3 to 30 seconds, and shows where the two differ. As root
it runs emerge as the user portage. Where they differ, emerge is right; the line must not be used where emerge would go
backwards, and does nothing where emerge ends with an error.`},
	{"respect-use", "--binpkg-respect-use", `
With -k Portage looks whether a package was built with the USE flags that this machine wants, and else compiles it;
--binpkg-respect-use=n takes it as it is. With -K that is so anyway. It hides that the machines differ. Equal USE
on all is what makes every package fit: pkgsneak doctor DRIVE shows where it does not.`},
	{"getbinpkg", "--getbinpkg without a network", `
FEATURES=getbinpkg and --getbinpkg ask a binhost at each emerge. Offline that waits for a network that does not come.
Imported packages lie in PKGDIR: -k and -K find them there.`},
	{"binhost", "a drive as binhost", `
A drive can be used without an import: PORTAGE_BINHOST="/mnt/usb/pkgsneak/ORIGIN/packages" with emerge -gK. Portage
keeps a copy of the index per path and takes a new one if its TIMESTAMP has grown; pkgsneak sees to that. Such packages
are not checked against pkgsneak's signature: run pkgsneak verify first.`},
	{"undo", "taking an import back", `
"pkgsneak undo" puts back what the last import replaced or removed in PKGDIR and DISTDIR, and names the line with which emerge
goes back to those builds. It has only what was a package here: FEATURES=unmerge-backup has emerge make one of each installed
package that an update replaces. glibc never goes back, and neither do configuration files and databases that a new
version changed.`},
	{"verify-signature", "verify-signature and XPAK", `
Portage's own binrepos.conf says verify-signature = true since 2026: packages of a binhost must each be signed with
gpg. XPAK packages cannot be and are ignored, of all binhosts if one of them verifies. For a drive of
pkgsneak say verify-signature = false in its section; the drive is signed as a whole. Packages in PKGDIR are not
concerned, unless FEATURES has binpkg-request-signature.`},
	{"drive", "a drive that cannot be believed", `
Everything on a drive is signed at once. What does not agree with the signature is not used: pkgsneak verify DRIVE says
what it is; an export from the host mends it.`},
	{"arch", "another architecture", `
Packages are for one ARCH. Distfiles are for all.`},
	{"chost", "CHOST", `
Packages carry the CHOST for which they were built, and Portage masks those that are not this machine's. Where only
the vendor differs (x86_64-pc-linux-gnu, x86_64-unknown-linux-gnu), ACCEPT_CHOSTS can name both. gnu and musl are
two C libraries: their packages do not mix.`},
	{"profile", "profiles", `
A profile sets defaults: USE, targets, layout. The same one on host and client is the least work. Packages of a
systemd, musl, hardened or split-usr profile do not fit a machine without; 23.0 and 17.1 differ in how everything
is linked.`},
	{"repositories", "ebuild repositories", `
The build host's ebuild repositories travel with its packages, and an import puts one in the place of the one that an
import brought before. Another one is yours: it stays until --adopt-repo NAME gives its place away. emerge --sync would
fetch over it; auto-sync = no in its section of repos.conf keeps it from that. metadata/md5-cache spares each client the
sourcing of every ebuild; git checkouts have none, and egencache makes it.`},
	{"eapi", "EAPI", `
The EAPI is the dialect of an ebuild. A Portage that does not know it masks the package. The way out is a newer Portage
as a package of an older EAPI.`},
	{"keywords", "KEYWORDS", `
amd64 is stable, ~amd64 testing. A host with ACCEPT_KEYWORDS="~amd64" builds what a stable client masks, with -K too.`},
	{"license", "LICENSE", `
ACCEPT_LICENSE masks packages as KEYWORDS do. What the host accepts, the client has to accept as well.`},
	{"use", "USE flags", `
The Funtoo page on binary package servers says it: set all USE flags on all machines to be the same. With -k a package
with other flags is ignored, with -K it is installed with the host's. Compared are global flags, variables like
VIDEO_CARDS, and this machine's package.use. What follows the tree (PYTHON_TARGETS) is equal when the trees are.`},
}
