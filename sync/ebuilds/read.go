package ebuilds

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"pkgsneak/sync/pipeline"
)

// Read gives files of an offer's archive to take, as they are met: those for which want is true, by
// their names below the tree and their sizes in bytes. Nothing is unpacked. All of the archive is
// read: it is the one that was signed only if the error is nil.
func Read(ctx context.Context, o Offer, want func(name string, size int64) bool,
	take func(name string, data []byte)) error {
	r, err := o.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	z, err := newReader(ctx, r)
	if err != nil {
		return err
	}
	defer z.Close()
	t := tar.NewReader(io.LimitReader(z, limitOf(&o.Tree)))
	for n := 0; ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return archiveFault(err)
		}
		if n++; n > o.Tree.Count {
			return archiveError("it has more than the %d entries that the record says",
				o.Tree.Count)
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxFile || !want(h.Name, h.Size) {
			continue
		}
		data := make([]byte, h.Size)
		if _, err := io.ReadFull(t, data); err != nil {
			return archiveFault(err)
		}
		take(h.Name, data)
	}
	z.Close() // it reads ahead
	_, err = io.Copy(io.Discard, pipeline.Reader{Ctx: ctx, R: r})
	return err
}
