// Package state is what this machine remembers: its signing key, the keys it trusts, per origin the
// highest serial it has seen and what it brought in as what, what it exported, the last runs, and
// the digests of files it has read.
//
// # The state directory
//
//	STATE/                     0755, usually /var/lib/pkgsneak
//	  lock                     held by the one pkgsneak that may write here (durable.Acquire)
//	  signing.asc              0600, the origin's key; made once, never replaced
//	  retired/FINGERPRINT.asc  0600, the keys that signing.asc took the place of
//	  trusted/FINGERPRINT.asc  public keys the administrator trusts; every *.asc here counts
//	  decisions                the keys that are not to be trusted, or no longer (Decisions)
//	  damaged                  files that verify found wrong on drives of this machine (Damaged)
//	  replacing                one key is about to take the place of another (Replace)
//	  renewed                  the origins that go on under another name (Renewals)
//	  client.asc               0600, the key with which this machine signs its requests (ClientKey)
//	  client                   its last request (LastAsked)
//	  clients/ drives/ catalogues/ offered/ forgotten/
//	                           what it remembers as a host of clients (package clients)
//	  repositories             the ebuild repositories that import brought (package ebuilds)
//	  exclude-N                names for the line to type, where they are many (package importer)
//	  undo                     what the last import changed, and which generations were taken back (Undo)
//	  memory                   serials, exports, runs (below)
//	  imports/KEY.NAME.KIND    what came from the origin NAME of the key KEY; KIND is packages or distfiles
//	  pending/KEY.NAME.KIND    the same of an import that has not ended (below)
//	  accepted/KEY.NAME.xs     what the newest generation of an origin lists that was imported (AcceptedList)
//	  digests/HEX              one for each directory whose files were read
//	  refused/HEX              one for each directory that has files which were refused (Refusals)
//
// Every file of this package is text, is replaced as a whole, begins with its format and version
// and ends with a line that counts the lines before it, so that a file which lost its end is not
// taken for a shorter one. Anything odd, unreadable or lost is an error that names the file:
// forgetting the highest serial would let an old generation in, and forgetting what was imported
// would turn the origin's packages into local ones. Only the digests are a cache; an odd one starts
// empty. So do refused, damaged and, for an import, undo. Something that is no file in the place of
// one is an error too, but for digests and refused, which are not saved then.
//
// memory is JSON, one object a line, each with one key:
//
//	{"format":{"name":"pkgsneak memory","version":1}}
//	{"highest":"2026-03-01T12:00:00Z"}
//	{"seen":{"key":"B1C9…","name":"bighost","serial":1772366400,"manifest":"9cb2…","highest":"2026-03-01T12:00:00Z"}}
//	{"imports":{"key":"B1C9…","name":"bighost","kind":"packages","file":"imports/B1C9….bighost.packages"}}
//	{"exported":{"name":"bighost","pkgdir":"/var/cache/binpkgs","serial":1772366400}}
//	{"run":{"when":"2026-03-01T12:00:05Z","verb":"import","by":"auto","origin":"bighost","drive":"/mnt/usb","result":"done","serial":1772366400,"files":3,"bytes":12345}}
//	{"end":6}
//
// An imports line for a file that is not there is an error, and so is a directory imports/ with
// files but without memory.
//
// imports/*, pending/*, digests/* and refused/* are lines of fields with a tab between. A
// backslash, tab, line feed or carriage return in a name or reason is written \\, \t, \n or \r.
// Lines are in bytewise order of the name, each name once:
//
//	pkgsneak imports 1<TAB>KEY<TAB>NAME<TAB>packages
//	ORIGIN'S PATH<TAB>PATH HERE<TAB>SIZE<TAB>BLAKE2B-512 in hex
//	end<TAB>1
//
// pending/* is the same under the heading "pkgsneak pending 1": it is written before a name
// changes, and removed when imports/* is saved. Until then a file is the origin's if its digest is
// that of either; a digest of zeros stands for a file that is to be removed. A program that does
// not read it takes such a file for a local one.
//
//	pkgsneak digests 2<TAB>DIRECTORY
//	NAME<TAB>SIZE<TAB>MTIME<TAB>CTIME<TAB>INODE<TAB>MD5<TAB>SHA1<TAB>BLAKE2B-512<TAB>RULES
//	end<TAB>1
//
// Times there are nanoseconds since 1970; a digest that is not known is "-". RULES is the number of
// the rules that the file has passed (Cache.Approve), or "-". A file of another version is one that
// is lost.
//
//	pkgsneak refused 1<TAB>DIRECTORY
//	NAME<TAB>REASON<TAB>SIZE<TAB>MTIME<TAB>CTIME<TAB>INODE<TAB>BLAKE2B-512<TAB>RULES
//	end<TAB>1
//
// is the same of files that did not pass those rules, with the reason. It is a file of its own so
// that an older program goes on with the digests.
//
// A Dir and its Caches are for one goroutine.
package state
