// Package sync is the two journeys of a binary package: from a build host to a drive, and from the drive to a client that has no network.
//
// # Export
//
//	who exports (key, name)  ->  what the drive holds  ->  what the host has  ->  plan  ->  guards  ->  write
//
// A host's file is compared with the drive's without being read wherever something vouches for its contents: the digest that is remembered for a file with this size,
// mtime, ctime and inode; or, for a package, MD5 and SHA1 of the host's own index, if its entry has the file's size and mtime, against those of the catalogue. What nothing vouches for is
// read (Compare), what differs is copied in one pass that reads, checks, hashes and writes, several files at a time where the media like it (MediumOf). A package whose digests were computed when it passed
// the checks is not checked again: the copying compares its BLAKE2B. From that pass come the hashes in the catalogue. A package that the index describes
// otherwise is left out and named: on the client a wrong hash would make Portage rename it away. So is one that would hurt Portage (binpkg.Package.Check), or that changed while it was read. Where
// the drive has an older file of the same name, that one stays.
//
// What the next generation lists begins as what the drive holds and follows each file that is put there, so that a long export commits generations as it goes: a drive
// that is pulled keeps what had arrived. Nothing changed means no new generation, and nothing is written. A host that lost most of its packages is taken for one whose PKGDIR is not mounted.
//
// The serial of a generation is the time in Unix seconds, but at least one more than any that this origin or this drive has seen.
//
// # Import
//
//	signature  ->  serial  ->  plan  ->  room  ->  stage  ->  names and index  ->  remember
//
// Nothing on a drive is believed before its signature, and then only the bytes that were signed: each file is hashed on its way. Each origin on the drive is judged by
// itself: one that is forged, damaged, not trusted, from the future or older than what is here is left out before its first byte, and the others are imported. A package is looked through once more before it gets its name. Several files
// are on their way at a time: as many as the medium likes are read, and as many as there are processors are looked through.
//
// A file on the client is an origin's only if its digest is the one the ledger remembers for it; everything else is local. Every file of a generation finds its place in one of these states:
//
//	present    the bytes are where they belong                     nothing to do
//	absent     nothing has the name                                copied
//	outdated   the name belongs to what this origin brought        replaced
//	occupied   a local file has the name                           beside it, under the next free number; a distfile is left out
//
// All origins are planned together (placements.go): a file belongs to every accepted origin that lists it, and what only one of them has dropped or rebuilt stays.
//
// Staged files are named after their contents and survive a run that is killed; what has arrived is not copied twice. The names are given and the index is written
// in one transaction under Portage's lock (package pkgdir).
//
// The machine's clock never decides: signatures are judged at the latest time that this machine is sure of, and a generation older than the last one is refused only if it would change anything.
//
// What comes from further in the future than a wrong clock explains is refused: its number would refuse every honest generation after it.
//
// Revocations that lie on the drive are honoured and remembered. A new key that a trusted one introduced (a certification, on the drive) takes its place if whoever answers
// for the machine says so; what came in under the old key stays the origin's.
//
// ConfineImport takes from the process, before any of this, what an import does not need.
//
// # How it is built
//
// A plan is plain data, made by a pure function (planExport, judge) and obeyed by the run; --pretend prints it. Progress is events; rooms below know nothing of it. Reports are disjoint lists,
// and every file that was left out is in one of them with its reason.
package sync
