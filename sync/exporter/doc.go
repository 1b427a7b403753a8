// Package exporter brings what changed on a build host to a drive, as a new signed generation.
//
//	who exports (key, name)  ->  what the drive holds  ->  what the host has  ->  plan  ->  guards  ->  write
//
// # Scan and plan
//
// A host's file is compared with the drive's without being read wherever something vouches for its
// contents: the digest that is remembered for a file of this size, mtime, ctime and inode; or, for
// a package, MD5 and SHA1 of the host's own index, if its entry has the file's size and mtime,
// against those of the catalogue. A file for which nothing vouches is read (Compare); one that
// differs is copied in one pass that reads, checks, hashes and writes, several files at a time
// where the media like it (volume.MediumOf). A package whose digests were computed when it passed
// the checks is not checked again: the copying compares its BLAKE2B.
//
// A package that stays on the drive, and passed older checks than today's when it was copied, is
// looked through once more, on the host (outdated.go): the facts then state it, and no client has
// to look through it. That takes a new generation, and copies nothing. It is the last step of a
// plan: what leaves a small drive is not read for it. A package that is refused now stays on the
// drive and is named by each export; it is not read again while it stays as it is.
//
// A package that the index describes otherwise is left out and named: on the client a wrong hash
// would make Portage rename it away. So is one that would hurt Portage (binpkg.Package.Check), or
// that changed while it was read. If the drive has an older file of the same name, that one stays.
//
// A name that is not free is no deletion (taken.go): where an empty file, a link, a directory or
// half a download has the name of a file that the origin had, it is left out and named, the drive's
// copy stays, and the origin counts as having it, so that no client prunes its own. The same holds
// of a package that PKGDIR's index lists and that has no file: whoever removes packages on purpose
// renews the index, as eclean-pkg does.
//
// # What the origin has, and what the drive carries
//
// The catalogue is a function of the origin's packages: an entry comes from the host's index, from
// the package itself, or from the copy on the drive, never from the catalogue before it alone. The
// record states per kind what the origin has, complete or not and why not (stock.go); the signed
// list states what this drive carries. A list that the catalogue does not describe is not signed.
//
// # A drive that is too small
//
// If not everything fits, counted with what the plan removes, or if the drive is for one client,
// package selection chooses (answer.go): the drive carries whole bundles, commits lie between them,
// and the catalogue lists the rest as ever. Nothing of that is left out, and the export ends well;
// it is an error only where a drive of which nothing is known yet can hold nothing. A twentieth of
// the free space stays free, at most 64 MiB; but what is carried does not leave for that. Files
// that leave to make room are named with the reason, and the origin counts as having them.
//
// A generation that cannot be read (its record is damaged, or both copies of its manifest are) is
// no reason to write everything again: what lies there is read once and compared with the host's
// files, of kinds that are switched off, too, and what is the same is listed again where it is
// (remains.go).
//
// # Guards
//
// Key, clock, format and record are tried before the first byte. A clock that nothing explains is
// refused (clock.go), a host that lost most of its packages is taken for one whose PKGDIR is not
// mounted, and a path that is no mounted drive would fill the root disk. A PKGDIR of which nothing
// is remembered begins no origin while the drive has forgotten ones of this machine's key
// (forgotten.go).
//
// # Write
//
// The revocation of a former key is put on the drive before there is room for anything else, and
// whatever becomes of the export.
//
// The list of the next generation begins as that of the drive and follows each file that is put
// there, so that a long export commits generations as it goes: a drive that is pulled keeps what
// had arrived. Nothing changed means no new generation, and nothing is written. The serial of a
// generation is the time in Unix seconds, but at least one more than any that this origin or this
// drive has seen.
//
// The plan is plain data; --pretend prints it. The report has disjoint lists, and every file that
// was left out is in one of them with its reason.
//
// Confine takes from the process, before any of this, what an export does not need.
package exporter
