package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/blake2b"
)

// payloadFor makes the bytes of a package or distfile for a place of the model.
func payloadFor(key string, r *rand.Rand) []byte {
	data := make([]byte, 100+r.IntN(1<<(5+r.IntN(8))))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	file, ok := strings.CutPrefix(key, "p/")
	if !ok {
		return data
	}
	category, name := path.Split(file)
	category, _, _ = strings.Cut(category, "/")
	metadata := [][2]string{{"CATEGORY", category}, {"SLOT", "0"}, {"EAPI", "8"},
		{"KEYWORDS", "amd64"}, {"BUILD_TIME", fmt.Sprint(historiesBegin - r.IntN(10_000_000))},
		{"repository", "gentoo"}, {"CHOST", "x86_64-pc-linux-gnu"}}
	if pf, classic := strings.CutSuffix(name, ".tbz2"); classic {
		return xpakOf(append(metadata, [2]string{"PF", pf}), imageOf(pf, data))
	}
	base, gpkg := strings.CutSuffix(name, ".gpkg.tar")
	base = strings.TrimSuffix(base, ".xpak")
	at := strings.LastIndexByte(base, '-')
	metadata = append(metadata, [2]string{"PF", base[:at]}, [2]string{"BUILD_ID", base[at+1:]})
	if gpkg {
		return gpkgOf(base, metadata, imageOf("image", data))
	}
	return xpakOf(metadata, imageOf(base[:at], data))
}

func sumOf(data []byte) string { return fmt.Sprintf("%x", sha1.Sum(data)) }

// tarOf makes a tar archive of files given as name and contents.
func tarOf(files ...[2]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		must(w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])),
			Format: tar.FormatGNU}))
		_, err := w.Write([]byte(f[1]))
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

// must ends a test whose own data cannot be made.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// imageOf is what a package installs: one file.
func imageOf(name string, data []byte) []byte {
	if name == "image" {
		return tarOf([2]string{"image/usr/share/file", string(data)})
	}
	return tarOf([2]string{"./usr/share/" + name, string(data)})
}

// xpakOf makes a package in Portage's older format: the compressed image, then the metadata (man 5
// xpak).
func xpakOf(metadata [][2]string, image []byte) []byte {
	var file bytes.Buffer
	z := gzip.NewWriter(&file)
	_, err := z.Write(image)
	must(err)
	must(z.Close())
	var index, data []byte
	for _, kv := range metadata {
		index = binary.BigEndian.AppendUint32(index, uint32(len(kv[0])))
		index = append(index, kv[0]...)
		index = binary.BigEndian.AppendUint32(index, uint32(len(data)))
		index = binary.BigEndian.AppendUint32(index, uint32(len(kv[1])+1))
		data = append(append(data, kv[1]...), '\n')
	}
	segment := []byte("XPAKPACK")
	segment = binary.BigEndian.AppendUint32(segment, uint32(len(index)))
	segment = binary.BigEndian.AppendUint32(segment, uint32(len(data)))
	segment = append(append(append(segment, index...), data...), "XPAKSTOP"...)
	file.Write(segment)
	return append(binary.BigEndian.AppendUint32(file.Bytes(), uint32(len(segment))), "STOP"...)
}

// gpkgOf makes a package in Portage's newer format (GLEP 78).
func gpkgOf(prefix string, metadata [][2]string, image []byte) []byte {
	files := make([][2]string, 0, len(metadata))
	for _, kv := range metadata {
		files = append(files, [2]string{"metadata/" + kv[0], kv[1] + "\n"})
	}
	members := [][2]string{{"gpkg-1", ""}, {"metadata.tar.zst", string(zstdOf(tarOf(files...)))},
		{"image.tar.zst", string(zstdOf(image))}}
	manifest := ""
	for i, m := range members {
		manifest += fmt.Sprintf("DATA %s %d SHA512 %x BLAKE2B %x\n", m[0], len(m[1]),
			sha512.Sum512([]byte(m[1])), blake2b.Sum512([]byte(m[1])))
		members[i][0] = prefix + "/" + m[0]
	}
	return tarOf(append(members, [2]string{prefix + "/Manifest", manifest})...)
}

// no option of it can be wrong
var zstdWriter, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))

func zstdOf(data []byte) []byte { return zstdWriter.EncodeAll(data, nil) }
