package requester

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/machine"
)

// checkFile refuses what cannot be the name of a new file, or of one that is written over.
func checkFile(file string) error {
	info, err := os.Lstat(file)
	switch {
	case err == nil && info.IsDir() || strings.HasSuffix(file, "/"):
		return fmt.Errorf("writing %q: it is a directory, and a file is wanted", file)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("writing %q: it is no regular file", file)
	}
	if err := drive.CheckParent("the file", file); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	return nil
}

// writeArchive writes the request as a tar archive with the paths that it has on a drive: unpacked
// where a drive is mounted, it is one that the next export reads.
func writeArchive(m machine.Machine, file string, r *Report, key *manifest.PrivateKey, record,
	list []byte) error {
	recordName, listName := layout.RequestFiles(1)
	armor := key.Public().Armor()
	files := []struct {
		name string
		data []byte
	}{{listName, list}, {recordName, record}, {layout.ClientKeyFile, armor}}
	l := &manifest.List{Timestamp: time.Unix(r.Serial, 0).UTC(),
		Ignore: []string{layout.NextManifestFile}}
	for _, f := range files {
		l.Files = append(l.Files, manifest.File{Path: f.name, Size: int64(len(f.data)),
			Sum: digest.Bytes(f.data)})
	}
	at := m.Now()
	if made := key.Public().Created(); at.Before(made) {
		at = made
	}
	text, err := manifest.Sign(l, key, at)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	dir := path.Join(layout.TreeDir, drive.ClientDir(r.Dir))
	for _, f := range append(files, struct {
		name string
		data []byte
	}{layout.ManifestFile, text}) {
		h := &tar.Header{Name: path.Join(dir, f.name), Mode: 0o644, Size: int64(len(f.data)),
			ModTime: time.Unix(r.Serial, 0), Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("writing %q: %w", file, err)
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("writing %q: %w", file, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("writing %q: %w", file, err)
	}
	root, err := durable.OpenRoot(filepath.Dir(file), m.Hook)
	if err != nil {
		return fmt.Errorf("writing %q: %w", file, err)
	}
	defer root.Close()
	return root.WriteFile(filepath.Base(file), durable.Attr{Mode: 0o644, UID: -1, GID: -1},
		func(w io.Writer) error {
			_, err := w.Write(b.Bytes())
			return err
		})
}
