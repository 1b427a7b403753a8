// Package request is the format in which a client tells a build host what it has, lacks and wishes.
// It reads and writes no file: package clients reads requests from a drive, package requester
// writes them.
//
// # Who takes part
//
// A client writes one request to a drive, over the one that it wrote there before, and signs it
// with a key of its own that has the role "client" (manifest.PublicKey.IsClient). A host that has
// accepted the key reads it. Its contents decide which packages are carried to that client, and
// nothing else: nothing in it is run or built, and nothing in it becomes a path.
//
// # On the drive
//
//	DRIVE/pkgsneak/clients/NAME/
//	  Manifest, Manifest.next      as in an origin (package manifest), signed by the client's key
//	  key.asc                      the client's public key
//	  generation/N.json            the request: type Record
//	  generation/N.Packages.zst    the installed packages, an index of package pkgindex, zstd
//
// N, the serial, is the TIMESTAMP of the manifest in Unix seconds, and grows with each request of a
// client. NAME is a name of layout.OriginName. The manifest lists the three files. A request
// without a list of installed packages (minimal) has an index without entries.
//
// # The request
//
// JSON; a reader passes over members that it does not have.
//
//	{
//	  "format": 1,
//	  "role": "request",
//	  "client": "attic",
//	  "fingerprint": "62F8…",
//	  "serial": 1767225600,
//	  "created": "2026-01-01T00:00:00Z",
//	  "previous": 1766966400,
//	  "installed": {"packages": 1200, "bytes": 1047552},
//	  "machine": {"portage": "3.0.66", "eapi": 8, "arch": "amd64", "chost": "x86_64-pc-linux-gnu", "accept_keywords": "amd64", …},
//	  "roots": {"world": ["app-editors/vim"], "sets": {"desktop": ["x11-base/xorg-server"]}, "system": ["sys-apps/portage"]},
//	  "receipts": [{"origin": "bighost", "key": "B1C9…", "serial": 1767139200, "entries": 2111, "lacks": "AAEC…"}],
//	  "wants": [{"atom": "dev-libs/lib:0/2[ssl]", "for": "app-misc/app-2", "why": "missing"}, {"file": "foo-1.tar.gz", "why": "wished"}],
//	  "refused": [{"cpv": "app-misc/bar-3", "why": "cpu", "text": "avx512f"}],
//	  "failed": [{"cpv": "app-misc/baz-1", "phase": "compile", "when": 1767225000}]
//	}
//
// previous is the serial of the machine's request before, absent from its first one: a host sees by
// it that two machines ask with one key.
//
// machine and roots are absent from a minimal request. Settings are in it as results, never as
// files: of package.accept_keywords, package.license, package.mask and package.unmask only those
// lines that speak of an installed or wished package, or of one in a catalogue that the client has
// seen; license groups are replaced by their members.
//
// # Receipts
//
// A receipt tells which packages of one origin the client has as files. Usually it is against a
// catalogue that the client has read: bit i of lacks (bit i%8 of byte i/8, the lowest first) stands
// for entry i of generation/SERIAL.Packages.zst, and is set where that package is not here; entries
// is their number, and lacks is absent if nothing is lacking. Without a catalogue has lists the
// packages: 16 bytes each (type Sum), sorted. Both are base64. Files that are local or came from
// other origins are not told.
//
// # The installed list
//
// An index of package pkgindex. An entry has the keys of InstalledEntry, and its USE the flags of
// IUSE only.
//
// # Limits
//
// MaxRecord, MaxList and MaxListFile; MaxReceipts, MaxWants, MaxRules; texts as in
// layout.RecordText; atoms as depend.ParseAtom reads them, without blockers. Whatever passes a
// limit is refused as a whole.
//
// # A receipt that is typed
//
// Where nothing can be written to the medium, 16 symbols tell which generation a client has
// imported, and how that went (type Code).
package request
