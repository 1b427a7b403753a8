// Package sync has no code of its own: this comment is the map of the house below it.
//
// pkgsneak carries Gentoo's binary packages and distfiles from a build host to machines without a
// network, on a USB drive. Two operations do it, and everything else stands around them:
//
//	export   host -> drive     scan, plan, copy, sign        package exporter
//	import   drive -> client   verify, plan, stage, index    package importer
//
// Data flows one way: scan, list of files, plan, steps, copy, signed list. A plan is plain data and
// complete before it is shown; --pretend prints it and Run obeys it.
//
// # Floors
//
// An arrow, that is an import, runs downwards only, and packages on one floor do not import each
// other. A test in scripts holds this table; cmd/pkgsneak is floor 7 and may import all of them.
//
//	6  auto         a drive that was plugged in: mount, role, run, report
//	   doctor       the settings of this machine, and what is wrong with them
//	   roundtrip    tests in which an export and an import meet
//
//	5  exporter     what changed on a host goes to a drive, as a signed generation
//	   importer     what is new on a drive comes into PKGDIR and DISTDIR
//	   inspect      status and verify: what a drive holds, and whether it is whole
//	   binhost      a tree over HTTP, for Portage and for people
//	   forget       an origin is taken off a drive
//	   requester    what a client has, lacks and wishes goes to a drive
//	   undo         the last import is taken back
//
//	4  clients      what a host remembers of the machines that it builds for
//	   drivewriter  the order of writes, with which a pulled drive keeps an old or a new generation
//	   forecast     what an import will be able to install, what not, and the line to type
//	   reindex      the index of this machine's PKGDIR, as its own Portage would write it
//	   selection    what goes on a drive that cannot hold it all, and what not
//	   trust        who may sign: the state of a signer, rotation, revocation, enrolment
//
//	3  drive        a tree on a drive, read: manifest copies, record, catalogue, payload
//	   pkgdir       a PKGDIR: scan, and the index renewed under Portage's own lock
//	   resolve      what can be installed out of an index, and why not
//	   request      what a client tells a host: the format (on resolve)
//	   ebuilds      ebuild repositories: packed, unpacked beside, exchanged
//
//	2  layout       names, records and facts of the tree on a drive: pure (on binpkg and pkgindex)
//	   volume       file systems and media, in one table
//	   machine      this computer: directories, settings, clock (on volume)
//	   distdir      a DISTDIR: scan, and files placed in it
//	   binpkg       metadata out of XPAK and GPKG, and a look through the package
//	   pkgindex     the Packages file, read and written
//	   state        what this machine remembers: keys, imports, digests
//
//	1  manifest     the trust kernel (not below sync): GLEP 74 text, OpenPGP signatures, keys
//	   payload      the coin: Kind, Item, Tally
//	   progress     events and notices of an operation
//	   fault        classes of errors
//	   pipeline     ordered parallel map, copy, tap
//	   sandbox      landlock and seccomp
//	   durable      a file appears whole or not at all; locks; staging; the hook of tests
//	   digest       several hashes in one pass
//	   listing      directories with few system calls
//	   cpu          what a compiler's flags ask of a processor
//	   cpv          names, versions, slots and USE flags of packages: the one lexer
//	   depend       dependency strings and atoms (on cpv)
//	   portage      the machine's configuration of Portage (on cpv, durable and fault)
//	   emerge       real emerge, asked what it would do
//	   watch        directories and mounts that change
//	   pytext       Python's idea of white space and text
//
// # Packages that are cut finer than a floor asks for
//
// roundtrip has no code: it keeps tests that need exporter and importer out of both. forget, undo,
// requester and inspect are operations of their own, so that none of them is read along with export
// or import. forecast stands on resolve and puts its answer into words, for importer, inspect,
// doctor, requester and undo; clients is the host's memory of what requests brought. reindex is
// pkgdir with this machine's settings, for index, auto, importer and undo. fault has the classes of
// errors, so that a floor can report how an error ends a run without the command line, and emerge
// is the only one that starts real Portage.
package sync
