package portage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/pipeline"
)

// Limits of what Records reads.
const (
	MaxRecordValue = 256 << 10 // bytes of one file of a package's record
	MaxRecords     = 512 << 20 // bytes of all of them
)

// Record is the entry of one package in the database of installed packages.
type Record struct {
	Category string
	PF       string
	values   map[string]string
}

// CPV returns CATEGORY/PF.
func (r Record) CPV() string { return r.Category + "/" + r.PF }

// Get returns what a file of the record holds, with blanks and newlines collapsed to single blanks;
// "" if it is absent or was not asked for.
func (r Record) Get(key string) string { return r.values[key] }

// Records reads the given files ("SLOT", "RDEPEND", "repository") of all installed packages, sorted
// by category and PF. A file that cannot be read or is larger than MaxRecordValue counts as absent,
// and is told.
func (s *Settings) Records(keys ...string) ([]Record, []Problem, error) {
	installed, err := s.Installed()
	if err != nil || len(installed) == 0 {
		return nil, nil, err
	}
	for _, key := range keys {
		if key == "" || key[0] == '.' || strings.Contains(key, "/") {
			return nil, nil, fmt.Errorf("read installed packages: %q is no file of a record", key)
		}
	}
	db, err := s.tree.host(path.Join(s.eroot(), "var/db/pkg"))
	if err != nil {
		return nil, nil, fmt.Errorf("read installed packages: %w", err)
	}
	root, err := os.OpenRoot(db)
	if err != nil {
		return nil, nil, fmt.Errorf("read installed packages: %w", err)
	}
	defer root.Close()
	r := &recordReader{root: root, keys: keys, installed: installed,
		records: make([]Record, len(installed))}
	var wg sync.WaitGroup
	for range min(pipeline.Processors(), len(installed)) {
		wg.Go(r.run)
	}
	wg.Wait()
	if r.bytes.Load() > MaxRecords {
		return nil, nil, fmt.Errorf("read installed packages: more than %d bytes in %q",
			MaxRecords, db)
	}
	return r.records, r.problems, nil
}

// recordReader reads the records, one package a turn.
type recordReader struct {
	root      *os.Root
	keys      []string
	installed []Installed
	records   []Record

	next  atomic.Int64
	bytes atomic.Int64

	mu       sync.Mutex
	problems []Problem
}

func (r *recordReader) run() {
	for {
		i := int(r.next.Add(1)) - 1
		if i >= len(r.installed) || r.bytes.Load() > MaxRecords {
			return
		}
		p := r.installed[i]
		r.records[i] = Record{Category: p.Category, PF: p.PF, values: r.values(p)}
	}
}

func (r *recordReader) values(p Installed) map[string]string {
	values := make(map[string]string, len(r.keys))
	dir, err := r.root.OpenRoot(p.Category + "/" + p.PF)
	if err != nil {
		r.fail(p.dir, err)
		return values
	}
	defer dir.Close()
	for _, key := range r.keys {
		data, err := readValue(dir, key)
		if err != nil {
			r.fail(path.Join(p.dir, key), err)
			continue
		}
		r.bytes.Add(int64(len(data)))
		if text := oneLine(data); text != "" {
			values[key] = text
		}
	}
	return values
}

func (r *recordReader) fail(p string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.problems) < 1000 {
		r.problems = append(r.problems, Problem{Path: p, Reason: fault.Bare(err).Error()})
	}
}

// readValue reads a file of a record; an absent one is empty.
func readValue(dir *os.Root, key string) ([]byte, error) {
	f, err := durable.OpenFile(dir, key, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case fi.Size() > MaxRecordValue:
		return nil, fmt.Errorf("larger than %d bytes", MaxRecordValue)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxRecordValue+1))
	if len(data) > MaxRecordValue {
		return nil, fmt.Errorf("larger than %d bytes", MaxRecordValue)
	}
	return data, err
}

// oneLine collapses blanks and newlines, of which records have none in most cases but the one at
// the end.
func oneLine(data []byte) string {
	text := strings.TrimSpace(string(data))
	if strings.ContainsAny(text, "\n\t\r\v\f") || strings.Contains(text, "  ") {
		text = strings.Join(strings.Fields(text), " ")
	}
	return text
}
