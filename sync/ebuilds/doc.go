// Package ebuilds brings ebuild repositories from a build host to a client: it packs one into one
// file, and unpacks it beside the tree that is there, with which it changes places in one step.
//
// # The archive
//
// ORIGIN/repos/NAME-N.tar.zst is a tar archive (USTAR, PAX where a name asks for it), compressed
// with zstd. A directory stands before what is in it, its files before its directories, each in
// bytewise order of their names. Owner and group are 0, modes 0644 and 0755, and all times are one:
// that of the tree (metadata/timestamp.*, the commit), else that of its newest file. The same tree
// gives the same bytes.
//
// It has regular files and directories only. A link to a file of the same repository is carried as
// that file; any other link, devices, names with control characters and files of more than 64 MiB
// are left out and named. Whatever lies at the top as .git, distfiles, packages and local is no
// part of a repository; .git is none anywhere.
//
// The digest of a tree is the BLAKE2B-512 of one line for each entry, in that order, and leaves
// out times, owners and compression:
//
//	d PATH
//	f PATH<NUL>SIZE BLAKE2B-512 in hex         x instead of f: executable
//
// A seal is a digest of names and status (mode, owner, size, times, inode), for which no file is
// read: as long as it is the same, nobody changed the tree. Where it differs, the digest of the
// contents decides: a tree that came back from a backup is still import's.
//
// # Unpacking
//
// Nothing in an archive is believed. The signed record states how many entries and bytes there are
// and what their digest is; more than that, a name twice, or one without its directory, ends it.
// All happens inside the directory above the location (os.Root).
//
// # Whose a tree is
//
// Import takes a repository that it brought itself, one that the user gave to it (adopt), and one
// that is not there yet. A tree that was changed since import brought it, a checkout and everything
// else is left alone and named. Only a tree whose every entry import wrote, and nobody changed, is
// ever deleted; one of the user's is kept as NAME.before-pkgsneak until he removes it.
//
// Refused before anything is unpacked is a location in which PKGDIR, DISTDIR, PORTAGE_TMPDIR,
// another repository or a mount point lies (by device and inode), and a tree older than the one
// here. Refused after that, before it gets its name, is one that Portage could not use: the
// repository calls itself otherwise, a master is missing, this machine's profile is not whole in
// it, or has an EAPI that the installed Portage does not read. Each refusal names what to type, and
// the old tree stands.
//
// # The exchange
//
//	1  note that DIR/.NAME.pkgsneak-N is on its way      STATE/repositories
//	2  unpack into it, owner and mode as the old one; syncfs
//	3  note that it is complete, with its seal
//	4  guards; no process of Portage runs
//	5  note that the exchange comes, with the inode that will have the name
//	6  renameat2(DIR/NAME, DIR/.NAME.pkgsneak-N, RENAME_EXCHANGE); fsync of DIR
//	7  the old one becomes .NAME.pkgsneak-undo (import's) or NAME.before-pkgsneak (the user's)
//	8  note what is here, and what is kept
//
// A run that is killed in 1 to 5 leaves the old tree where it is: what is not complete is removed
// by the next run, what is complete is used. In 6 to 8 the inode that has the name tells on which
// side of the exchange it was, and Recover goes on from there.
//
// A location that is a link stands for its target. One that is a mount point or on another device
// (a subvolume, a ZFS dataset) cannot change places: the tree comes to LOCATION/tree, and the line
// for repos.conf is printed; from then on the exchange is inside. A file system without the
// exchange refuses, and tells how a place is made for the tree to be moved to.
//
// # Until the next import
//
// The tree that was replaced stays beside the new one under the name of step 7, and Notes.Reverts
// lists the repositories of which one is kept; Site.GoBack lets both change places again and
// deletes the one that was brought. The next import that changes something marks what is kept
// (Notes.Pass) before it notes itself, and deletes it then (Site.DropKept), unless it goes on with
// one that was ended (Notes.Unfinished): the way back leads to before that. If that one's tree is
// here already and a newer one comes, then the one between goes in step 7, and the one that is kept
// stays.
package ebuilds
