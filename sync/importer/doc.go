// Package importer brings what is new on a drive into a client's PKGDIR and DISTDIR.
//
//	signature  ->  serial  ->  plan  ->  space  ->  stage  ->  names and index  ->  remember
//
// # Trust
//
// Nothing on a drive is used before its signature is verified, and then only the bytes that were
// signed: each file is hashed on its way. Each origin on a drive is judged alone: one that is
// damaged, forged, older or not trusted does not stop the others. Revocations that lie on the drive
// are honoured and remembered. A new key that a trusted one introduced takes its place if a person
// agrees; the change is made once the import is certain to go on (keys.go, package trust).
//
// The machine's clock never decides: signatures are judged at the latest time that this machine is
// sure of, and a generation older than the last one is refused only if it would change anything and
// the newest one lists nothing of it. One from further in the future than a wrong clock explains is
// refused: its number would refuse every honest generation after it.
//
// # Plan
//
// All origins are planned together, before anything is shown (placements.go). A file on the client
// is an origin's only if its digest is the one that is remembered for it; everything else is local.
// A file belongs to every accepted origin that lists it. Every file of a generation finds its place
// in one of these states:
//
//	present    the bytes are where they belong                     nothing to do
//	absent     nothing has the name                                copied
//	outdated   the name belongs to what an origin brought          replaced
//	occupied   a local file has the name                           beside it, under the next free
//	                                                               number; a distfile is left out
//
// --prune goes by what the origin has, not by what this drive carries, and only where the
// generation states that it is complete; more than half of an origin's packages needs a person's
// word.
//
// # Stage and commit
//
// One import works on a PKGDIR and a DISTDIR at a time (durable.LockStore). Staged files are named
// after their contents and survive a run that is killed; what has arrived counts as there and is
// not copied twice, what nobody wants any more goes before space is measured (clientspace.go).
// Ownership is noted before a name changes and settled after (settle.go). The names are given and
// the index is written in one transaction under Portage's lock (package pkgdir), so that at every
// instant each entry matches its file.
//
// Of an origin that is on several of the drives the newest state is imported; the others are
// further sources of its files (drives.go). A drive with an older state than the newest that was
// imported here gives what that newest state still lists, and nothing else (donors.go): so the
// drives of an origin may come in any order, and one that is lost is in nobody's way. The
// remembered serial never falls, and an older state prunes nothing.
//
// # Undo
//
// A file that is replaced or removed is kept until the next import that changes anything, by hard
// links and renames alone, and noted before (keeping.go). Package undo takes an import back by
// that. A generation that was taken back is passed over by auto; a person may bring it in again.
//
// Confine takes from the process, before any of this, what an import does not need.
package importer
