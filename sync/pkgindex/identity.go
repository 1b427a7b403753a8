package pkgindex

import (
	"pkgsneak/sync/digest"
)

// IndexHashes are the hashes by which Portage compares a package with its entry.
const IndexHashes = digest.MD5 | digest.SHA1

// SameIdentity compares the entry of an index with what the package states of itself, and names the
// key that differs.
func SameIdentity(index, own Entry) (string, bool) {
	for _, key := range []string{"CPV", "SLOT", "BUILD_ID"} {
		if index.Get(key) != own.Get(key) {
			return key, false
		}
	}
	return "", true
}
