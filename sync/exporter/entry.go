package exporter

import (
	"io"
	"strconv"

	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/pkgindex"
)

func ownEntry(r io.ReaderAt, size int64, path string) (pkgindex.Entry, error) {
	p, err := binpkg.Read(r, size, path)
	if err != nil {
		return pkgindex.Entry{}, err
	}
	return pkgindex.NewEntry(p.Get)
}

// withFile adds to an entry what only the file tells. A modification time that no client could
// take, because it is before 1970 or after 2106, becomes the time of the build.
func withFile(e pkgindex.Entry, path string, size, mtime int64,
	sums digest.Sums) (pkgindex.Entry, error) {
	mtime = carriedMTime(e, mtime)
	return e.With("PATH", path, "SIZE", strconv.FormatInt(size, 10), "MTIME",
		strconv.FormatInt(mtime, 10),
		"MD5", digest.Hex(sums.MD5[:]), "SHA1", digest.Hex(sums.SHA1[:]))
}

// carriedMTime is the modification time that a package has in the catalogue and on a client.
func carriedMTime(e pkgindex.Entry, mtime int64) int64 {
	if pkgindex.ValidMTime(mtime) {
		return mtime
	}
	if built, ok := e.BuildTime(); ok && pkgindex.ValidMTime(built) {
		return built
	}
	return 0
}

func indexSumsOf(sums digest.Sums) (s IndexSums) {
	copy(s[copy(s[:], sums.MD5[:]):], sums.SHA1[:])
	return s
}

// indexSums returns the digests of an entry in the form that is compared.
func indexSums(e pkgindex.Entry) (sums IndexSums) {
	md5, ok1 := e.MD5()
	sha1, ok2 := e.SHA1()
	if ok1 && ok2 {
		copy(sums[copy(sums[:], md5[:]):], sha1[:])
	}
	return sums
}

// describes reports whether an entry is one of the file that lies under path and has size bytes.
func describes(e pkgindex.Entry, path string, size int64) bool {
	n, ok := e.Size()
	return ok && n == size && e.Path() == path
}
