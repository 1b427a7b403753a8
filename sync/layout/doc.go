// Package layout is the tree on the drive as far as it is text: where things lie, what they are
// called, the record of a generation, its catalogue, its facts, and README.txt. It reads and writes
// no file.
//
// # The tree
//
//	DRIVE/pkgsneak/
//	  README.txt                   what this is, and how to use it without pkgsneak
//	  keys/FINGERPRINT.asc         public keys; lying here does not make them trusted
//	  keys/FINGERPRINT.rev.asc     revocation certificates: whoever has one may put it here
//	  clients/NAME/                a client's request, signed by it (package request)
//	  ORIGIN/                      one per origin
//	    Manifest                   GLEP 74, clear-signed: every file below, size and BLAKE2B
//	    Manifest.next              manifest copy B, the one that commits
//	    generation/N.json          the record of generation N (type Record)
//	    generation/N.Packages.zst  the catalogue: the origin's whole index, zstd
//	    generation/N.facts.zst     what the origin has, and facts of its packages (type Facts)
//	    packages/                  a Portage binhost: Packages, CAT/...
//	    distfiles/                 layout.conf (GLEP 75) and 00..ff/
//	    repos/NAME-N.tar.zst       ebuild repositories, one file each (package ebuilds)
//	    bin/linux-ARCH/pkgsneak    the program that exported
//
// N, the serial, is the TIMESTAMP of the Manifest in Unix seconds. Manifest
// and Manifest.next are the two manifest copies: each is a complete clear-signed
// Manifest with newlines behind it as padding, overwritten in place, never
// truncated and never renamed. A reader takes the valid manifest copy with the higher
// serial; a torn, blank or unreadable manifest copy does not matter while the other is
// good. gpg and gemato accept the newlines.
//
// The origin's files and those that this drive carries are two things: the record
// and the facts list the one, whatever was left out here, the Manifest the
// other. A file has left the origin if the former has it so
// (drive.Generation.Stock).
//
// # Names
//
// A name on the drive is one that vfat, exFAT, Windows and ext4 store alike:
// printable ASCII without "*/:<>?\|, at most 255 bytes, no blank at either
// end, no dot at either end, not a DOS device (CON, NUL, COM1 ...), not of the
// shape of a short alias (LONGNA~1.TAR), and unique in its directory without
// regard to case. A package lies at packages/ plus its path below PKGDIR, a
// distfile at distfiles/XX/NAME, XX being the first two digits of
// BLAKE2B-512(NAME). A file that cannot have its own name gets another one, which the
// record maps back:
//
//	package   CAT/PN/PF-N.xpak or PF-N.gpkg.tar, N the next free number
//	distfile  NAME.N.pkgsneak, NAME cleaned of what cannot be stored
//	          (Portage does not find such a file on the drive; import does)
//	program   pkgsneak-N
//	part      NAME.part01, NAME.part02 ... of a file over the size limit
//
// A name that a committed generation lists is never written again, whatever
// its bytes: a changed file goes beside the old one.
package layout
