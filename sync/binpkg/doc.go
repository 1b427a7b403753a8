// Package binpkg reads the metadata of Gentoo's binary packages and checks that
// a package is what its name states, installs, and does no harm.
//
// There are two verdicts. Read is what an index needs: it accepts what
// `emaint binhost --fix` indexes, unless that package keeps Portage from
// indexing any other. Package.Check is what moving a package needs: it also reads
// the image, and accepts what emerge can install, unless it writes outside the
// image or never ends. Packages that Portage accepts and that are harmless are accepted.
//
// The other programs: Portage reads metadata and GPKG images with Python's tarfile,
// XPAK images with GNU tar, and calls a program for each compression. The rules
// below were found by asking the real ones.
//
// # Names
//
// A package lies at one of four places below PKGDIR, and its CATEGORY and PF
// must agree with it:
//
//	CAT/PF.tbz2       All/PF.tbz2         XPAK
//	CAT/PF.gpkg.tar   All/PF.gpkg.tar     GPKG
//	CAT/PN/PF-N.xpak                      XPAK, N is the build id
//	CAT/PN/PF-N.gpkg.tar                  GPKG
//
// The BUILD_ID inside may differ from N.
//
// # XPAK
//
// An image, then a segment of metadata. Integers are unsigned, four bytes, the
// highest first; offsets count from the start of the data:
//
//	file    = image segment LENGTH-OF-SEGMENT "STOP"
//	segment = "XPAKPACK" LENGTH-OF-INDEX LENGTH-OF-DATA index data "XPAKSTOP"
//	index   = *( LENGTH-OF-NAME name OFFSET LENGTH )
//
// A file without an image, with one key SLOT:
//
//	00  58 50 41 4b 50 41 43 4b 00 00 00 10 00 00 00 02  XPAKPACK........
//	10  00 00 00 04 53 4c 4f 54 00 00 00 00 00 00 00 02  ....SLOT........
//	20  30 0a 58 50 41 4b 53 54 4f 50 00 00 00 2a 53 54  0.XPAKSTOP...*ST
//	30  4f 50                                            OP
//
// The length of the data is not looked at, and of two values for one key the
// last counts. Refused are an index that does not end with its last entry,
// values outside the data, and names that are not paths below a directory:
// emerge never comes back from "..", "." and "".
//
// The image is a tar archive, plain or compressed with gzip, bzip2, xz, zstd or
// lz4, which the first bytes tell; with lzip or lzop it is accepted unchecked.
// GNU tar defends itself, so Check refuses only what it cannot unpack: members
// with "..", members below a file or below a symbolic link that is absolute or
// has "..", hard links to what is not there.
//
// # GPKG (GLEP 78)
//
// A tar archive (ustar, GNU or PAX) with one directory and, in any order,
//
//	gpkg-1               empty; a mark of the format
//	metadata.tar.COMP    files metadata/KEY
//	image.tar.COMP       the image, below image/
//	*.sig                detached OpenPGP signatures, if it is signed
//	Manifest             DATA NAME SIZE BLAKE2B HEX SHA512 HEX for each of them
//
// COMP is gz, bz2, xz, zst or lz4; lz and lzo cannot be read here. Without
// compression Portage takes the data for zstd, and a single such metadata.tar
// ends its indexing. Names, sizes and sums must agree with the Manifest both
// ways; of the image only the BLAKE2B is computed. A signed GPKG has its Manifest clear-signed;
// signatures are not judged, but what is not OpenPGP is no signature.
//
// Python's tarfile does as it is told, so Check refuses images with absolute
// names, "..", devices, duplicates, and moreover
//
//   - members below a symbolic link, which are written to where it points;
//   - hard links to symbolic links: mode and owner of what those point to change;
//   - a symbolic link in the place of image/: what it points to is moved away;
//   - more than 64 KiB behind the end of the archive: Portage waits for ever.
//
// Symbolic links may point anywhere; real packages have absolute ones and ones
// with "..".
//
// # Limits
//
// See the constants. Metadata is held in memory; images are streamed, with the
// window of the compression (zstd 128 MiB, and 2 GiB where needed as for
// Portage; xz 256 MiB) and the names of the members in memory.
package binpkg
