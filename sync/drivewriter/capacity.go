package drivewriter

import (
	"fmt"
	"strings"

	"pkgsneak/manifest"
)

// CapacityError reports that a generation would have more files than one signed list can name.
type CapacityError struct {
	Files, Bytes       int // of the list; parts of a file count each
	MaxFiles, MaxBytes int
}

func (e *CapacityError) Error() string {
	if e.Files > e.MaxFiles {
		return fmt.Sprintf("%d files are more than the %d that a drive can carry of one origin",
			e.Files, e.MaxFiles)
	}
	return fmt.Sprintf("the list of %d files would have %d bytes, more than %d", e.Files,
		e.Bytes, e.MaxBytes)
}

// Hints tells how there are fewer.
func (e *CapacityError) Hints(drive string) []string {
	return []string{"remove files that nobody needs (eclean-dist, eclean-pkg), or take two drives: pkgsneak export " + drive +
		" --no-distfiles, and --no-packages on the other one"}
}

// ownFiles is more than the files of a generation that are no payload.
const ownFiles = 16

// CheckCapacity decides before the first byte whether one signed list can name all the files of a
// generation. partSize is that of BeginOptions.
func CheckCapacity(files []NewFile, partSize int64) error {
	if partSize <= 0 {
		partSize = DefaultPartSize
	}
	count, size := ownFiles, ownFiles*lineBytes
	for _, f := range files {
		parts := int((max(f.Size, 1) + partSize - 1) / partSize)
		count += parts
		// A blank takes four bytes.
		size += parts * (lineBytes + len(f.Path) + 3*strings.Count(f.Path, " "))
	}
	if count > manifest.MaxFiles || size > manifest.MaxText {
		return &CapacityError{Files: count - ownFiles, Bytes: size,
			MaxFiles: manifest.MaxFiles - ownFiles, MaxBytes: manifest.MaxText}
	}
	return nil
}

// lineBytes is more bytes than a line of the list has without the origin's path: "DATA ", a
// directory of the layout, a size, " BLAKE2B " and 128 digits, and what a changed name is longer.
const lineBytes = 5 + 24 + 16 + 9 + 128 + 24
