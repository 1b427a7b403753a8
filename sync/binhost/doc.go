// Package binhost is the HTTP side: a handler that serves trees of binary packages and distfiles to
// Portage and to people, read-only, and the server around it.
//
// # Where things are
//
// PREFIX is empty or the value of --prefix, "/funtoo" for instance.
//
//	PREFIX/                          a page: the packages, or, for a drive with several origins, the origins
//	PREFIX/packages/                 a binhost: PORTAGE_BINHOST, or sync-uri in binrepos.conf
//	PREFIX/packages/Packages         its index, and Packages.gz made of the same bytes
//	PREFIX/packages/CAT/...          what the index lists, by PATH, and a page for each directory
//	PREFIX/distfiles/                a mirror: GENTOO_MIRRORS=http://HOST/PREFIX
//	PREFIX/distfiles/layout.conf     GLEP 75: filename-hash BLAKE2B 8, then flat
//	PREFIX/distfiles/NAME, XX/NAME   a distfile; XX is the first byte of the BLAKE2B-512 of its name
//	PREFIX/clients/                  a page: what the machines that import from here have and lack,
//	                                 where that is wanted
//	PREFIX/ORIGIN/...                the same for each origin of a drive
//	PREFIX/style.css, icon.svg       for the pages
//
// A drive with one origin to serve has it at PREFIX/packages and PREFIX/distfiles too. If an origin
// is called like one of these names, the name above wins as long as there is one origin, else the
// origin's.
//
// # What is served
//
// Of a machine: the files that PKGDIR's index lists (an entry without a file is not listed), and
// the distfiles of DISTDIR (sync/distdir defines what is one), with links into PORTAGE_RO_DISTDIRS.
// Everything else is not there: files the index does not have, names that begin with a dot, lock
// files, half-written files, other symbolic links, whatever lies outside. A package that is built
// or replaced while the server runs is served as soon as the index has it; whoever is reading the
// file before goes on reading that one.
//
// Of a drive: what the signed list of a verified generation has, under the paths of the origin.
// Names that were changed for the drive, and files that are split there, are whole again; the index
// is made of the signed catalogue, with TIMESTAMP the generation's serial. Nothing on a drive is
// taken on trust: a generation whose key is not trusted is not served but for
// DriveOptions.Untrusted, one whose signature is wrong never; a file is compared with its signed
// digest when it is read for the first time, and one that is not the same does not reach a client
// whole: up to SmallFile bytes it is refused, else the answer ends before its last bytes. A drive
// may be unmounted whenever no file is being read, and is picked up again when it is back.
//
// # HTTP
//
// Only GET and HEAD; no request has a body. Files have Content-Length, Last-Modified, a strong ETag
// and ranges. Last-Modified of an index is its TIMESTAMP, because that is what Portage compares and
// sends as If-Modified-Since; its ETag is that of its bytes. Content-Type is from a list of our own
// (never HTML), with nosniff. Pages need no script and load nothing from elsewhere;
// Content-Security-Policy tells it to the browser:
//
//	default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
//
// HTTP/1.1 only, also with TLS: connections are what is counted and watched, and files go out with
// sendfile. Small files of a machine are kept in memory, 16 MiB at most, and compared with what
// lies under the name (inode, size, times) for each answer.
//
// # Limits
//
// Server.MaxConns connections; behind that, idle ones are closed and new ones wait. A client that
// takes nothing for Server.Stall is dropped; as long as its side acknowledges bytes a download may
// take as long as it takes, because the kernel is asked what was acknowledged, not how long a write
// lasts. 10 seconds for a request's header, which has at most 16 KiB. A page has at most PageRows
// rows, and at most 16 pages are made at a time.
package binhost
