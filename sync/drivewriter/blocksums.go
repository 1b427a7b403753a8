package drivewriter

import (
	"hash/crc32"

	"pkgsneak/manifest"
)

// written is a file that this session wrote, with the sums of its blocks, to find the first
// wrong byte by.
type written struct {
	manifest.File
	blocks []uint32
}

// blockSize is the length of the pieces by which read-back finds the first
// wrong byte.
const blockSize = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockSums are the check sums of a file's pieces.
type blockSums struct {
	sums []uint32
	part uint32
	fill int
}

// Write never fails.
func (m *blockSums) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		n := min(len(p), blockSize-m.fill)
		m.part = crc32.Update(m.part, castagnoli, p[:n])
		if m.fill += n; m.fill == blockSize {
			m.sums, m.part, m.fill = append(m.sums, m.part), 0, 0
		}
		p = p[n:]
	}
	return all, nil
}

func (m *blockSums) end() []uint32 {
	if m.fill > 0 {
		m.sums, m.part, m.fill = append(m.sums, m.part), 0, 0
	}
	return m.sums
}
