package exporter

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"strings"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
)

// self is the running program as it goes on a drive, if it is one that is of use there: an ELF file
// that needs no other. Tables of symbols and for debuggers, which lie behind everything that is
// loaded, do not travel: that is a third of a program that was built without -ldflags '-s -w'.
type self struct {
	file *os.File // nil: it is not
	head []byte   // the ELF header, which tells of no sections if size is less than the file's
	size int64
	sum  manifest.Digest
}

// readSelf opens and hashes the running program. One that cannot be read is not offered.
func readSelf(ctx context.Context, path string) (s self, _ error) {
	if s = openStatic(path); s.file == nil {
		return s, nil
	}
	sums, err := digest.Reader(ctx, s.contents(), digest.BLAKE2B, nil)
	if err != nil {
		s.file.Close()
		return self{}, ctxOnly(ctx)
	}
	s.sum = sums.Blake2b
	return s, nil
}

// contents reads what goes on the drive.
func (s self) contents() io.Reader {
	from := int64(len(s.head))
	return io.MultiReader(bytes.NewReader(s.head), io.NewSectionReader(s.file, from, s.size-from))
}

func ctxOnly(ctx context.Context) error { return context.Cause(ctx) }

// openStatic opens a program if it is one that runs anywhere: an ELF file without an interpreter.
func openStatic(path string) self {
	if path == "" {
		return self{}
	}
	f, err := os.Open(path)
	if err != nil {
		return self{}
	}
	e, err := elf.NewFile(f)
	info, statErr := f.Stat()
	if err != nil || statErr != nil ||
		slices.ContainsFunc(e.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		f.Close()
		return self{}
	}
	head, size := strip(f, e, info.Size())
	return self{file: f, head: head, size: size}
}

// strip cuts the sections off that nothing loads, with the table of all sections, if there are such
// for a linker or a debugger. A program that has none stays as it is.
func strip(f io.ReaderAt, e *elf.File, size int64) (head []byte, cut int64) {
	if !slices.ContainsFunc(e.Sections, func(s *elf.Section) bool {
		return s.Type == elf.SHT_SYMTAB || strings.HasPrefix(s.Name, ".debug_") ||
			strings.HasPrefix(s.Name, ".zdebug_")
	}) {
		return nil, size
	}
	var header any
	var end uint64
	var clearSections func()
	if e.Class == elf.ELFCLASS64 {
		h := &elf.Header64{}
		header, clearSections = h, func() {
			end = h.Phoff + uint64(h.Phnum)*uint64(h.Phentsize)
			h.Shoff, h.Shnum, h.Shstrndx = 0, 0, 0
		}
	} else {
		h := &elf.Header32{}
		header, clearSections = h, func() {
			end = uint64(h.Phoff) + uint64(h.Phnum)*uint64(h.Phentsize)
			h.Shoff, h.Shnum, h.Shstrndx = 0, 0, 0
		}
	}
	from := io.NewSectionReader(f, 0, size)
	if binary.Read(from, e.ByteOrder, header) != nil {
		return nil, size
	}
	clearSections()
	for _, p := range e.Progs {
		end = max(end, p.Off+p.Filesz)
	}
	var text bytes.Buffer
	if binary.Write(&text, e.ByteOrder, header) != nil || end < uint64(text.Len()) ||
		end > uint64(size) {
		return nil, size
	}
	return text.Bytes(), int64(end)
}
