// Package trust answers whose signatures count on this machine, and tells a person what is to be
// done about one that does not.
//
// # The state of a signer
//
// The signer of a generation is in one of these states here, and each state has one sentence and
// one command that leads out of it (Signer.Sentence, Signer.Advice). Import, status, verify, trust,
// doctor, serve and auto print those and nothing of their own. Where nobody named it, an origin of
// a key that is never wanted is passed over by all of them, and is no failure (Unwanted).
//
//	Trusted      its key lies in the state directory
//	Mine         this machine signs with it
//	MineHidden   this machine exports under that name, with a key that this user may not read
//	MineDamaged  this machine exports under that name, and a key of its own is damaged
//	Former       this machine signed with it before it had another one: the next export signs anew
//	Successor    a trusted key introduced it (a certification, on the drive): import --accept-rotation
//	Retired      it was trusted here, and another key took its place, or the administrator took that back
//	Revoked      its owner withdrew it
//	Expired      its time is over
//	Never        the administrator does not want what it signs: trust --never
//	Unknown      none of these; perhaps another key of an origin that is known here (Signer.Before)
//
// A key that lies on a drive proves nothing by that. It may be read with for showing a generation
// (View.Load), and the introduction of a new key by a trusted one is only a letter: whoever answers
// for the machine decides.
//
// # Time
//
// Signatures and keys are judged at the latest time that is known for certain: the clock, or the
// time of a verified signature if that is later. A clock that is behind decides nothing.
//
// # Revocations
//
// A revocation proves itself, wherever it lies: those on a drive are applied
// (View.ApplyRevocations), and an import remembers them for ever.
package trust
