package drive

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"pkgsneak/sync/digest"
	"pkgsneak/sync/layout"
)

// ItemAt reads anywhere in an item.
type ItemAt struct {
	parts []*os.File
	sizes []int64 // bytes
}

// ReadAt implements io.ReaderAt.
func (a *ItemAt) ReadAt(p []byte, off int64) (n int, err error) {
	for i, size := range a.sizes {
		if off >= size {
			off -= size
			continue
		}
		want := p[n:min(int64(len(p)), int64(n)+size-off)]
		m, err := a.parts[i].ReadAt(want, off)
		if n += m; m < len(want) {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}

// Close closes the item.
func (a *ItemAt) Close() error {
	var errs []error
	for _, f := range a.parts {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// itemReader joins the parts of an item and compares each and the whole.
type itemReader struct {
	d    *Drive
	root *os.Root // the origin's directory
	it   layout.Item
	hash *digest.Hash // of the whole
	part *digest.Hash // of the part, nil if there is one only
	at   int          // parts opened so far
	file *os.File
	left int64 // bytes of the part that are still to come
	err  error
	// fresh asks for the medium instead of the page cache.
	fresh bool
}

func (r *itemReader) Read(p []byte) (int, error) {
	for r.err == nil {
		if r.file == nil {
			if r.err = r.next(); r.err != nil {
				break
			}
		}
		if r.left == 0 {
			r.err = r.finishPart()
			continue
		}
		if len(p) == 0 {
			return 0, nil
		}
		if int64(len(p)) > r.left {
			p = p[:r.left]
		}
		n, err := r.file.Read(p)
		r.add(p[:n])
		switch {
		case isEOF(err):
			r.err = r.damaged("shorter than signed", nil)
		case err != nil:
			r.err = r.fail("reading", err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, r.err
}

func (r *itemReader) add(p []byte) {
	r.left -= int64(len(p))
	r.hash.Write(p)
	if r.part != nil {
		r.part.Write(p)
	}
}

// next opens the part at hand, and returns EOF behind the last if the whole is
// what was signed.
func (r *itemReader) next() error {
	if r.file != nil {
		return nil
	}
	if r.at == len(r.it.Stored) {
		if sums := r.hash.Sum(); sums.Size != r.it.Size || sums.Blake2b != r.it.Sum {
			return &DamagedError{Path: r.it.Path,
				Reason: "its contents are not those that were signed"}
		}
		return io.EOF
	}
	stored := r.it.Stored[r.at]
	f, info, err := r.d.openRegular(r.root, stored.Path)
	if err != nil {
		return r.fail("opening", err)
	}
	switch {
	case info.Size() < stored.Size:
		err = r.damaged("shorter than signed", nil)
	case info.Size() > stored.Size:
		err = r.damaged("longer than signed", nil)
	}
	if err != nil {
		f.Close()
		return err
	}
	if r.fresh {
		dropCache(f)
	}
	r.file, r.left = f, stored.Size
	return nil
}

// finishPart compares a part that was read to its signed size.
func (r *itemReader) finishPart() error {
	err := r.file.Close()
	r.file = nil
	if err != nil {
		return r.fail("reading", err)
	}
	if r.part != nil {
		if r.part.Sum().Blake2b != r.it.Stored[r.at].Sum {
			return r.damaged("its contents are not those that were signed", nil)
		}
		r.part.Reset()
	}
	r.at++
	return nil
}

// fail is what becomes of an error of the file system: the drive's, or the
// file's.
func (r *itemReader) fail(op string, err error) error {
	stored := r.it.Stored[r.at].Path
	err = r.d.Classify(op, stored, err)
	var gone *GoneError
	switch {
	case Unanswered(err):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return r.damaged("missing", err)
	case errors.As(err, &gone):
		return r.damaged("it cannot be read: "+gone.Err.Error(), err)
	case classified(err):
		return err
	}
	// a link or a file where a directory should be, or this user may not look
	return r.damaged("it cannot be read: "+bareErrno(err).Error(), err)
}

func (r *itemReader) damaged(reason string, err error) error {
	return &DamagedError{Path: r.it.Stored[r.at].Path, Reason: reason, Err: err}
}

// Close closes the item. An item that was not read to its end is not compared.
func (r *itemReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
