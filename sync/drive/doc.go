// Package drive is the tree on the drive: where things lie, how a generation
// is read, and the order in which one is written.
//
// # The tree
//
//	DRIVE/pkgsneak/
//	  README.txt                   what this is, and how to use it without pkgsneak
//	  keys/FINGERPRINT.asc         public keys; lying here does not make them trusted
//	  keys/FINGERPRINT.rev.asc     revocation certificates: whoever has one may put it here
//	  clients/                     reserved
//	  ORIGIN/                      one per origin
//	    Manifest                   GLEP 74, clear-signed: every file below, size and BLAKE2B
//	    Manifest.next              the commit slot
//	    generation/N.json          the record of generation N (type Record)
//	    generation/N.Packages.zst  the catalogue: the origin's whole index, zstd
//	    generation/N.facts.zst     what the origin has, and facts of its packages (type Facts)
//	    packages/                  a Portage binhost: Packages, CAT/...
//	    distfiles/                 layout.conf (GLEP 75) and 00..ff/
//	    repos/                     reserved
//	    bin/linux-ARCH/pkgsneak    the program that exported
//
// N, the serial, is the TIMESTAMP of the Manifest in Unix seconds. Manifest
// and Manifest.next are the two slots: each is a complete clear-signed
// Manifest with newlines behind it as room, overwritten in place, never
// truncated and never renamed. A reader takes the valid slot with the higher
// serial; a torn, blank or unreadable slot does not matter while the other is
// good. gpg and gemato accept the newlines.
//
// What the origin has and what this drive carries are two things: the record
// and the facts say the one, whatever was left out here, the Manifest the
// other. What has left the origin is told by the former alone
// (Generation.Stock).
//
// # Names
//
// A name on the drive is one that vfat, exFAT, Windows and ext4 store alike:
// printable ASCII without "*/:<>?\|, at most 255 bytes, no blank at either
// end, no dot at either end, not a DOS device (CON, NUL, COM1 ...), not of the
// shape of a short alias (LONGNA~1.TAR), and unique in its directory without
// regard to case. A package lies at packages/ plus its path below PKGDIR, a
// distfile at distfiles/XX/NAME, XX being the first two digits of
// BLAKE2B-512(NAME). What cannot have its own name gets another one, which the
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
//
// # The order of writes
//
// At every moment the drive holds a complete old or a complete new generation.
// Every step below is there because replayed crashes lost committed files
// without it, above all on vfat: a rename is not atomic there, a directory
// that grows can become unreadable as a whole, and syncfs sends no cache flush.
//
//  1. open    a descriptor for syncfs before the first write; read both slots
//  2. mend    unless Manifest is generation N, overwrite it from Manifest.next
//  3. tidy    remove what N does not list, fsync each directory that lost a name;
//     what has a listed name and is no file of that size counts as missing
//  4. found   first export only: directories, both slots and Packages with room;
//     on a drive that nobody used before, blocks spread over the free space
//     are written and compared, to find one that claims more than it has
//  5. grow    all new directories, on vfat grown while empty; syncfs and flush
//  6. put     payload straight under its final name, one file after the other or
//     several side by side, then the generation's files
//  7. flush   syncfs, then fsync of the clean slot: that sends the cache flush
//  8. compare what was written is read back from the medium itself, and the
//     sample of old files that was right in the beginning
//  9. commit  Manifest.next in place, fsync; then Manifest, fsync
//  10. derive packages/Packages in place, padded to the size the list already has
//  11. unlink what only N listed, fsync each directory that lost a name
//
// A Writer does 1 to 3 in Begin, 4 and 5 in Prepare, 6 in Put, 7 to 11 in
// Commit, and may go through Prepare, Put and Commit any number of times: an
// export of many gigabytes commits as it goes.
//
// # What is believed
//
// Nothing before the signature. After it, only files that the signed list
// names are opened, by name, below an os.Root, regular files only, never more
// bytes than the signed size, and their digest is compared at the end.
package drive
