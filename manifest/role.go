package manifest

import "strings"

// clientRole ends the user id of the key with which a client signs its requests.
const clientRole = " (pkgsneak client)"

// ClientUserID is the user id of the key of a client of that name.
func ClientUserID(client string) string { return client + clientRole }

// IsClient tells the keys that sign requests. They sign nothing else, and no other key does: who
// reads an origin refuses them, and who reads a request takes only them.
func (p *PublicKey) IsClient() bool { return strings.HasSuffix(p.UserID(), clientRole) }

// ErrClient is what refuses the key of a client where one of an origin is meant. It is
// ErrUntrusted.
var ErrClient error = clientError{}

type clientError struct{}

func (clientError) Error() string {
	return "the key is a client's, which signs requests and no packages"
}

// Class is the class of the error in package fault, which this package does not import.
func (clientError) Class() string { return "untrusted" }

// Is makes it ErrUntrusted.
func (clientError) Is(target error) bool { return target == ErrUntrusted }

// Hints names where the key belongs.
func (clientError) Hints(string) []string {
	return []string{"on the host that exports to the client: pkgsneak clients accept NAME"}
}

// CheckOrigin returns ErrClient if the key cannot be one of an origin.
func (p *PublicKey) CheckOrigin() error {
	if p.IsClient() {
		return ErrClient
	}
	return nil
}
