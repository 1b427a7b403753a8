package state

// The files and directories of the state directory that several files here speak of; the package
// comment tells what each of them is.
const (
	lockName      = "lock"
	signingName   = "signing.asc"
	trustedDir    = "trusted"
	retiredDir    = "retired"
	decisionsName = "decisions"
	replacingName = "replacing"
	renewedName   = "renewed"
	importsDir    = "imports"
	pendingDir    = "pending"
	acceptedDir   = "accepted"
	digestsDir    = "digests"
	refusedDir    = "refused"
	memoryName    = "memory"
	undoName      = "undo"
	keySuffix     = ".asc"

	// clientKeyName is the key with which this machine signs its requests. It is none of an origin,
	// and lies apart from that.
	clientKeyName = "client.asc"
)

// directories are those of this package.
var directories = []string{trustedDir, retiredDir, importsDir, pendingDir, acceptedDir, digestsDir,
	refusedDir}
