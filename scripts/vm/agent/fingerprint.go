package main

import (
	"bytes"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"pkgsneak/scripts/vm/wire"
)

// fingerprinter tells mounted drives apart by what a reader may believe of
// them: the manifest copies, the keys, and every file that one lists, whole or torn,
// with all that is in it; and which directories cannot be read. Files that
// nobody lists are those that pulled runs leave behind: their names come and go
// without anyone opening them.
type fingerprinter struct {
	h      maphash.Hash
	buf    []byte
	listed map[string]bool
}

// tree returns the fingerprint of a mounted drive, of this boot only.
func (p *fingerprinter) tree(dir string) uint64 {
	p.h.Reset()
	p.readLists(dir)
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			p.word("cannot be read: " + err.Error())
			return nil
		}
		if p.listed[name] || filepath.Base(filepath.Dir(name)) == "keys" {
			p.word(name)
			p.word(d.Type().String())
			p.file(name, d)
		}
		return nil
	})
	return p.h.Sum64()
}

// The files of an origin, and of a request, that tell what there is: patterns below the
// drive.
const (
	copies   = "pkgsneak/*/Manifest*"
	requests = "pkgsneak/clients/*/Manifest*"
)

// readLists notes every file that a manifest copy lists, whether or not it is whole.
func (p *fingerprinter) readLists(dir string) {
	p.listed = make(map[string]bool)
	names, _ := filepath.Glob(filepath.Join(dir, copies)) // the patterns are well-formed
	asked, _ := filepath.Glob(filepath.Join(dir, requests))
	names = append(names, asked...)
	for _, name := range names {
		p.listed[name] = true
		text, _ := os.ReadFile(name) // what can be read of it
		for line := range bytes.Lines(bytes.TrimRight(text, "\n")) {
			if words := bytes.Fields(line); len(words) > 1 {
				p.listed[filepath.Join(path.Dir(name), string(words[1]))] = true
			}
		}
	}
}

func (p *fingerprinter) word(s string) {
	p.h.WriteString(s)
	p.h.WriteByte(0)
}

func (p *fingerprinter) file(name string, d fs.DirEntry) {
	info, err := d.Info()
	if err != nil {
		p.word(err.Error())
		return
	}
	maphash.WriteComparable(&p.h, info.Size())
	if d.Type().IsRegular() {
		p.contents(name)
	}
}

func (p *fingerprinter) contents(name string) {
	f, err := os.Open(name)
	if err != nil {
		p.word(err.Error())
		return
	}
	defer f.Close()
	if p.buf == nil {
		p.buf = make([]byte, 256<<10)
	}
	for {
		n, err := f.Read(p.buf)
		p.h.Write(p.buf[:n])
		if err != nil {
			if err != io.EOF {
				p.word(err.Error())
			}
			return
		}
	}
}

// isKnown reports whether a drive with this fingerprint was tried before, and
// remembers it.
func (a *Agent) isKnown(t wire.Try, fingerprint uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.tried[t.Series]
	if seen == nil {
		seen = make(map[uint64]bool)
		a.tried[t.Series] = seen
	}
	known := seen[fingerprint]
	seen[fingerprint] = true
	return known
}
