package layout

import (
	"strings"

	"pkgsneak/manifest"
)

// clientRole ends the user id of the key with which a client signs its requests.
const clientRole = " (pkgsneak client)"

// ClientUserID is the user id of the key of a client of that name.
func ClientUserID(client string) string { return client + clientRole }

// IsClientKey tells the keys that sign requests. They sign nothing else, and no other key does: whoever
// reads an origin refuses them, and whoever reads a request takes only them.
func IsClientKey(key *manifest.PublicKey) bool { return strings.HasSuffix(key.UserID(), clientRole) }
