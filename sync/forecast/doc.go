// Package forecast tells what a machine's next emerge can do with the binary packages that are here
// or that an import would bring, what it cannot and why, and the line to type.
//
//	m, err := forecast.ReadMachine(settings, cpuinfo) // /var/db/pkg, the sets, /etc/portage, the profile: read once
//	f, err := forecast.Make(m, forecast.Input{Candidates: candidates})
//	fmt.Println(strings.Join(f.Lines(forecast.TextOptions{}), "\n"))
//
// It opens files of the machine's configuration only, through package portage, and runs nothing:
// real Portage takes 7 to 29 seconds for an answer, names one culprit a run, and is silent about
// masks. Package resolve does the thinking.
//
// # The line
//
//	emerge -auDK --rebuilt-binaries-timestamp=0 --exclude "NAMES" @world
//
// The names are what would go backwards (a plain `emerge -uDK @world` downgrades without a word,
// glibc included), what lacks something (one missing package can end the whole run), what would
// break an installed package that was not rebuilt, and what this machine cannot use. More than
// MostNames of them go to a file, and the line fails where the file is missing:
//
//	names=$(cat /var/lib/pkgsneak/exclude-N) && emerge ... --exclude "$names" @world
//
// If EMERGE_DEFAULT_OPTS has options under which emerge would install something else, the line
// begins with --ignore-default-opts.
//
// The search is bounded, by the work that package resolve does and by Patience. If it is given up,
// that is told, and the line is one with -p that only shows what emerge would do; what would go
// backwards is left out of it, too.
//
// # What this machine can never use
//
// A Judge tells of an origin whether its packages are for this machine (ARCH, CHOST), and for a
// package whether the CPU has what it was built for and the installed Portage can read it. Import
// leaves that out, as one count; the owner cannot change it by a line in /etc/portage. A package
// that the configuration masks is another thing: it is imported, and told with the line that
// unmasks it.
//
// Of the CPU only those features count that compilers use unasked (package cpu). A package built
// with -march=native counts only where the features of the CPU it was built on were noted.
//
// # USE
//
// emerge -K takes packages whatever their USE; that they differ is told. With RespectUse they are
// among the excluded. A flag counts as set where package.use of /etc/portage or USE sets it; where
// only the ebuild's default or the profile's package.use decides, the package is used.
//
// # Sizes
//
// The growth on disk is known for packages whose installed size the origin recorded, against SIZE
// of the record in /var/db/pkg.
//
// # What could be compiled
//
// For what lacks, the ebuilds in this machine's repositories are looked at, as far as their
// metadata/md5-cache tells of them: with the host's own repository here (package ebuilds) that is
// all that the host could have built. Where the distfiles of one are in DISTDIR too, the line that
// compiles is told: emerge -auDNk @world.
//
// # Advisories and news
//
// A security fix is an advisory (metadata/glsa of a repository that is here, or that travels on the
// drive and is newer than the one here) to which the installed version is vulnerable and the one
// that comes is not. Unread news are those that Portage has noted, and those of a repository that
// is here or that an import brings which Portage will note at its next run, because they concern
// this machine (GLEP 42) and it has not seen them. A tree that travels is read where it lies; what
// is in it counts if the archive is the one that was signed.
package forecast
