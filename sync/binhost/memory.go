package binhost

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
)

// halfMemory is how much memory in bytes each half of a memory may take, about.
const halfMemory = 8 << 20

// memory opens files of this machine as they are, and keeps the contents of small ones: to open,
// read and close them costs more than to send them. A kept file is good as long as the name leads
// to the same file of the same size and times, which is looked up each time. A link that is on the
// way by then makes no difference: the bytes are those of a file that was reached without one.
type memory struct {
	now func() time.Time

	mu         sync.Mutex
	young, old map[string]*kept // by path; young takes the place of old when it is full
	size       int              // of young
}

// kept is a small file.
type kept struct {
	at   durable.Stamp
	data []byte
}

func newMemory(now func() time.Time) *memory { return &memory{now: now, young: map[string]*kept{}} }

// open opens a file below dir, which has no link in it.
func (m *memory) open(dir, name string) (*file, error) {
	path := dir + "/" + name
	if k := m.find(path); k != nil {
		return k.file(name), nil
	}
	fd, at, err := openBeneath(dir, name)
	if err != nil {
		return nil, err
	}
	if at.Size > smallRead {
		whole := os.NewFile(uintptr(fd), name)
		return &file{content: whole, close: whole.Close, name: name, size: at.Size,
			modified: at.ModTime(), etag: etag(at)}, nil
	}
	defer unix.Close(fd)
	k := &kept{at, make([]byte, at.Size)}
	for read := 0; read < len(k.data); {
		n, err := retry(func() (int, error) { return unix.Pread(fd, k.data[read:], int64(read)) })
		if read += n; err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		}
	}
	// else it may change once more and look the same
	if m.now().Sub(time.Unix(0, at.Changed)) > settled {
		m.keep(path, k)
	}
	return k.file(name), nil
}

func (k *kept) file(name string) *file {
	return &file{content: bytes.NewReader(k.data), close: func() error { return nil }, name: name,
		size: k.at.Size, modified: k.at.ModTime(), etag: etag(k.at), small: true}
}

// find gives a file that has not changed.
func (m *memory) find(path string) *kept {
	m.mu.Lock()
	k, young := m.young[path]
	if !young {
		k = m.old[path]
	}
	m.mu.Unlock()
	if k == nil {
		return nil
	}
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Lstat(path, &st) }); err != nil ||
		stampOfStat(&st) != k.at {
		return nil
	}
	if !young {
		m.keep(path, k)
	}
	return k
}

func (m *memory) keep(path string, k *kept) {
	const aside = 256 // what an entry takes besides
	m.mu.Lock()
	defer m.mu.Unlock()
	if was := m.young[path]; was != nil {
		m.size -= len(path) + len(was.data) + aside
	}
	m.young[path] = k
	m.size += len(path) + len(k.data) + aside
	if m.size >= halfMemory {
		m.young, m.old, m.size = map[string]*kept{}, m.young, 0
	}
}
