package disk

import (
	"bytes"
	"sync"
)

// Device is a drive as its host sees it. ReadAt and WriteAt take ranges within
// Size and do all of it or fail.
type Device interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Flush() error
	Size() int64
}

// Recorder is a device that keeps a log of what it was told.
type Recorder struct {
	Device

	mu  sync.Mutex
	log Log
}

// WriteAt writes and notes it.
func (r *Recorder) WriteAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	r.log = append(r.log, Entry{Offset: off, Data: bytes.Clone(p)})
	r.mu.Unlock()
	return r.Device.WriteAt(p, off)
}

// Flush flushes and notes it.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	r.log = append(r.log, Entry{Flags: Flush})
	r.mu.Unlock()
	return r.Device.Flush()
}

// Log returns what was noted so far.
func (r *Recorder) Log() Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log[:len(r.log):len(r.log)]
}

// Fake is a drive that claims to be larger than it is, as those sold by
// swindlers do. Behind Real bytes it either wraps around, so that later writes
// destroy earlier ones, or drops what it is given and reads blank.
type Fake struct {
	Device
	Claimed int64
	Real    int64
	Wraps   bool
}

// Size is the size that the drive claims.
func (f *Fake) Size() int64 { return f.Claimed }

// ReadAt reads what is really there.
func (f *Fake) ReadAt(p []byte, off int64) (int, error) {
	return f.each(p, off, f.Device.ReadAt, func(p []byte) { clear(p) })
}

// WriteAt never reports that something was lost.
func (f *Fake) WriteAt(p []byte, off int64) (int, error) {
	return f.each(p, off, f.Device.WriteAt, func([]byte) {})
}

// each cuts a range where the real drive ends.
func (f *Fake) each(p []byte, off int64, do func([]byte, int64) (int, error),
	behind func([]byte)) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		if f.Wraps {
			at %= f.Real
		}
		if at >= f.Real {
			behind(p[n:])
			break
		}
		part := p[n:min(int64(len(p)), int64(n)+f.Real-at)]
		if _, err := do(part, at); err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(p), nil
}
