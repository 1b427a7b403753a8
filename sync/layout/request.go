package layout

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"pkgsneak/manifest"
)

// ClientKeyFile is a client's public key, in its directory below ClientsDir.
const ClientKeyFile = "key.asc"

// RequestFiles are the paths of pair number n of the files of a request, below the client's
// directory: the request and the installed list. Two pairs take turns, so that a request is written
// in place: the pair of Manifest and that of Manifest.next.
func RequestFiles(n int) (record, list string) {
	return fmt.Sprintf("%s/%d.json", GenerationDir, n), fmt.Sprintf("%s/%d.Packages.zst",
		GenerationDir, n)
}

// maxPair bounds the number of a pair.
const maxPair = 1_000_000

// RequestPair is the number of the pair that a path belongs to, below a client's directory.
func RequestPair(file string) (n int, ok bool) {
	name, below := strings.CutPrefix(file, GenerationDir+"/")
	digits, _, _ := strings.Cut(name, ".")
	n, err := strconv.Atoi(digits)
	if !below || err != nil || n < 1 || n > maxPair {
		return 0, false
	}
	record, list := RequestFiles(n)
	return n, file == record || file == list
}

// OfRequest reports whether a request gives a file this path, below the client's directory.
func OfRequest(file string) bool {
	_, pair := RequestPair(file)
	return pair || file == ManifestFile || file == NextManifestFile || file == ClientKeyFile ||
		path.Dir(file) == GenerationDir && IsPlaceholder(path.Base(file))
}

// PairOf is the number of the pair that the signed list of a request names.
func PairOf(signed *manifest.Signed) (n int, ok bool) {
	for _, f := range signed.Files {
		if n, ok := RequestPair(f.Path); ok {
			return n, true
		}
	}
	return 0, false
}

// CheckRequestList refuses a signed list that is not that of a request: the client's key and one
// pair of files, and nothing else.
func CheckRequestList(signed *manifest.Signed) error {
	n, _ := PairOf(signed)
	record, list := RequestFiles(n)
	named := make([]string, len(signed.Files))
	for i, f := range signed.Files {
		named[i] = f.Path
	}
	if !slices.Equal(named, []string{list, record, ClientKeyFile}) {
		return &ListError{Reason: "the signed list is not that of a request"}
	}
	return nil
}
