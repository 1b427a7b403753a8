package binpkg

import (
	"bytes"
	"strconv"
	"strings"

	"pkgsneak/sync/digest"
)

// maxManifest bounds the Manifest of a GPKG, in bytes.
const maxManifest = 1 << 20

// parseManifest reads the Manifest of a GPKG (GLEP 78): lines of
//
//	DATA NAME SIZE SHA512 HEX BLAKE2B HEX
//
// with the hashes in any order and further ones ignored. Portage needs both.
func parseManifest(b []byte) (map[string]record, error) {
	all := make(map[string]record)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		name, r, err := parseRecord(line)
		if err != nil {
			return nil, err
		}
		if _, ok := all[name]; ok {
			return nil, faultf("the Manifest lists %q twice", name)
		}
		if len(all) == MaxMembers {
			return nil, faultf("more than %d lines in the Manifest", MaxMembers)
		}
		all[name] = r
	}
	return all, nil
}

func parseRecord(line string) (name string, r record, err error) {
	for i := 0; i < len(line); i++ {
		if c := line[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return "", r, faultf("a Manifest line with foreign characters: %.100q", line)
		}
	}
	f := strings.Fields(line)
	if len(f) < 3 || len(f)%2 == 0 || f[0] != "DATA" {
		return "", r, faultf("not a Manifest line: %.100q", line)
	}
	size, err := strconv.ParseUint(f[2], 10, 63)
	if err != nil {
		return "", r, faultf("the Manifest has no size for %q", f[1])
	}
	r.size = int64(size)
	var haveB, haveS bool
	for i := 3; i < len(f); i += 2 {
		ok := true
		switch f[i] {
		case "BLAKE2B":
			ok = !haveB && digest.Parse(r.blake2b[:], f[i+1])
			haveB = true
		case "SHA512":
			ok = !haveS && digest.Parse(r.sha512[:], f[i+1])
			haveS = true
		}
		if !ok {
			return "", r, faultf("the Manifest has a bad %s for %q", f[i], f[1])
		}
	}
	if !haveB || !haveS {
		return "", r,
			faultf("the Manifest lacks BLAKE2B or SHA512 for %q: Portage would index nothing at all", f[1])
	}
	return f[1], r, nil
}

// Marks of a clear-signed text (RFC 9580, section 7).
const (
	beginMessage   = "-----BEGIN PGP SIGNED MESSAGE-----"
	beginSignature = "-----BEGIN PGP SIGNATURE-----"
	endSignature   = "-----END PGP SIGNATURE-----"
)

// unarmor returns the text inside a clear signature, or all of b if there is
// no signature. Only the whole may be signed: text around it would be seen by
// some readers and not by others.
func unarmor(b []byte) (inside []byte, signed bool, err error) {
	if !bytes.Contains(b, []byte("-----BEGIN PGP ")) {
		return b, false, nil
	}
	const broken = fault("the Manifest is not signed as a whole")
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \t\r")
	}
	if lines[0] != beginMessage || lines[len(lines)-1] != endSignature {
		return nil, false, broken
	}
	i := 1
	for i < len(lines) && strings.HasPrefix(lines[i], "Hash: ") {
		i++
	}
	if i == len(lines) || lines[i] != "" {
		return nil, false, broken
	}
	var text bytes.Buffer
	for i++; i < len(lines) && lines[i] != beginSignature; i++ {
		l, dashed := strings.CutPrefix(lines[i], "- ")
		if !dashed && strings.HasPrefix(l, "-") {
			return nil, false, broken
		}
		text.WriteString(l)
		text.WriteByte('\n')
	}
	if i == len(lines) {
		return nil, false, broken
	}
	for _, l := range lines[i+1 : len(lines)-1] {
		if strings.HasPrefix(l, "-----") {
			return nil, false, broken
		}
	}
	return text.Bytes(), true, nil
}

// record is a line of a Manifest.
type record struct {
	size    int64
	blake2b [64]byte
	sha512  [64]byte
}

func wrongSums(name string) error {
	return faultf("member %q does not have the sums that the Manifest says", name)
}
