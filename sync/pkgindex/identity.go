package pkgindex

import (
	"pkgsneak/sync/digest"
)

// indexHashes are those that Portage compares a package with.
const IndexHashes = digest.MD5 | digest.SHA1

// sameIdentity compares what an index says of a package with what the package says of itself, and names the key that differs.
func SameIdentity(index, own Entry) (string, bool) {
	for _, key := range []string{"CPV", "SLOT", "BUILD_ID"} {
		if index.Get(key) != own.Get(key) {
			return key, false
		}
	}
	return "", true
}
