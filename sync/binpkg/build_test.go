package binpkg

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"pkgsneak/sync/digest"
)

// Names of the packages that the tests build.
const (
	gpkgPath = "app-misc/labhello/labhello-1.0-r2-1.gpkg.tar"
	xpakPath = "app-misc/labhello-1.0-r2.tbz2"
)

// entry is a metadata file, or a member of a container.
type entry struct{ name, data string }

// minimal is the least metadata that a package needs.
var minimal = []entry{{"CATEGORY", "app-misc\n"}, {"PF", "labhello-1.0-r2\n"}, {"SLOT", "0\n"}}

func xpakFile(image []byte, entries ...entry) []byte {
	var index, data []byte
	for _, e := range entries {
		index = binary.BigEndian.AppendUint32(index, uint32(len(e.name)))
		index = append(index, e.name...)
		index = binary.BigEndian.AppendUint32(index, uint32(len(data)))
		index = binary.BigEndian.AppendUint32(index, uint32(len(e.data)))
		data = append(data, e.data...)
	}
	seg := []byte("XPAKPACK")
	seg = binary.BigEndian.AppendUint32(seg, uint32(len(index)))
	seg = binary.BigEndian.AppendUint32(seg, uint32(len(data)))
	seg = append(append(append(seg, index...), data...), "XPAKSTOP"...)
	file := append(bytes.Clone(image), seg...)
	file = binary.BigEndian.AppendUint32(file, uint32(len(seg)))
	return append(file, "STOP"...)
}

func dataLine(name string, data []byte) string {
	h := digest.New(digest.BLAKE2B | digest.SHA512)
	h.Write(data)
	s := h.Sum()
	return fmt.Sprintf("DATA %s %d SHA512 %x BLAKE2B %x\n", name, len(data), s.SHA512, s.Blake2b)
}

// gpkgFile makes a container of the parts and their Manifest.
func gpkgFile(t testing.TB, prefix string, parts ...entry) []byte {
	t.Helper()
	manifest := ""
	members := make([]tar.Header, 0, len(parts)+1)
	bodies := make([]string, 0, len(parts)+1)
	add := func(name, data string) {
		members = append(members, tar.Header{Name: prefix + "/" + name,
			Size: int64(len(data)), Mode: 0o644})
		bodies = append(bodies, data)
	}
	for _, p := range parts {
		add(p.name, p.data)
		manifest += dataLine(p.name, []byte(p.data))
	}
	add("Manifest", manifest)
	return tarFile(t, members, bodies...)
}

// tarFile makes a tar archive; bodies beyond the last one are empty.
func tarFile(t testing.TB, members []tar.Header, bodies ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, m := range members {
		body := ""
		if i < len(bodies) {
			body = bodies[i]
		}
		m.Size = int64(len(body))
		if err := w.WriteHeader(&m); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// metadataTar is a metadata archive of the entries.
func metadataTar(t testing.TB, entries ...entry) []byte {
	var members []tar.Header
	var bodies []string
	for _, e := range entries {
		members = append(members, tar.Header{Name: "metadata/" + e.name, Mode: 0o644})
		bodies = append(bodies, e.data)
	}
	return tarFile(t, members, bodies...)
}

// gpkgOf makes a GPKG of two unpacked archives.
func gpkgOf(t testing.TB, metadata, image []byte) []byte {
	return gpkgFile(t, "labhello-1.0-r2-1", entry{"gpkg-1", ""},
		entry{"metadata.tar.zst", string(zst(t, metadata))}, entry{"image.tar.zst",
			string(zst(t, image))})
}

func zst(t testing.TB, data []byte, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, o...)
	return written(t, &b, w, data, err)
}

func gz(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	return written(t, &b, gzip.NewWriter(&b), data, nil)
}

func lz4ed(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	return written(t, &b, lz4.NewWriter(&b), data, nil)
}

func written(t testing.TB, b *bytes.Buffer, w io.WriteCloser, data []byte, err error) []byte {
	t.Helper()
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// check reads and checks a whole package.
func check(ctx context.Context, r io.ReaderAt, size int64, path string) error {
	p, err := Read(r, size, path)
	if err != nil {
		return err
	}
	return p.Check(ctx, r)
}

func checkBytes(t testing.TB, data []byte, path string) error {
	return check(t.Context(), bytes.NewReader(data), int64(len(data)), path)
}

func readBytes(data []byte, path string) (*Package, error) {
	return Read(bytes.NewReader(data), int64(len(data)), path)
}
