package exporter

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// elfProgram is an ELF file that ends with code 7, with sections for a linker behind it, if any.
func elfProgram(t *testing.T, sections ...elf.SectionType) []byte {
	t.Helper()
	const base, start = 0x400000, 64 + 56
	code := []byte{0xbf, 7, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05} // exit(7)
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1,
		Entry: base + start, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	size := uint64(start + len(code))
	load := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base,
		Paddr: base, Filesz: size, Memsz: size, Align: 4096}
	var behind []any
	if len(sections) > 0 {
		h.Shoff, h.Shnum, h.Shstrndx = size+1, uint16(len(sections)+2), uint16(len(sections)+1)
		behind = append(behind, []byte{0}, elf.Section64{})
		for _, kind := range append(sections, elf.SHT_STRTAB) {
			behind = append(behind, elf.Section64{Type: uint32(kind), Off: size, Size: 1,
				Entsize: 1})
		}
	}
	var b bytes.Buffer
	for _, part := range append([]any{h, load, code}, behind...) {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// The program that travels runs, has no symbols, and is byte for byte the program where that has
// none either.
func TestProgramThatTravelsIsStripped(t *testing.T) {
	bare := elfProgram(t)
	for name, row := range map[string]struct{ file, want []byte }{
		"with symbols": {elfProgram(t, elf.SHT_SYMTAB), bare},
		"stripped":     {elfProgram(t, elf.SHT_PROGBITS), elfProgram(t, elf.SHT_PROGBITS)},
		"bare":         {bare, bare},
	} {
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, row.file, 0o755); err != nil {
			t.Fatal(err)
		}
		s, err := readSelf(t.Context(), path)
		if err != nil || s.file == nil {
			t.Fatalf("%s: %v, %+v", name, err, s)
		}
		defer s.file.Close()
		var got bytes.Buffer
		if _, err := got.ReadFrom(s.contents()); err != nil ||
			!bytes.Equal(got.Bytes(), row.want) || s.size != int64(got.Len()) {
			t.Errorf("%s: of %d bytes %d travel (%d), want %d; %v", name, len(row.file), got.Len(),
				s.size, len(row.want), err)
		}
		if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
			continue
		}
		path += "-travelled"
		if err := os.WriteFile(path, got.Bytes(), 0o755); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := exec.Command(path).Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Errorf("%s: it does not run: %v", name, err)
		}
	}
}
