package importer

import "pkgsneak/manifest"

// The states of an origin's file on the client.
type presence uint8

const (
	absent   presence = iota // nothing has its name
	present                  // a file with these bytes is where it belongs
	outdated                 // its place holds what this origin delivered earlier: it is replaced
	occupied                 // its place holds something else: a local file
)

// clientFile is one place on the client, as far as the plan depends on it.
type clientFile struct {
	Local  string // the path that was looked at
	Exists bool   // a regular file is there
	Size   int64  //
	// of its contents; zero where the size tells it from everything that matters
	Sum manifest.Digest
}

// judge compares the file at the client's place with the wanted bytes and with those that this
// origin delivered there earlier (the zero digest: none). A file is the origin's only if its digest
// is the one that is remembered; everything else is local.
func judge(f clientFile, want, delivered manifest.Digest) presence {
	switch {
	case !f.Exists:
		return absent
	case f.Sum == want:
		return present
	case delivered != manifest.Digest{} && f.Sum == delivered:
		return outdated
	}
	return occupied
}
