package roundtrip

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/binpkg"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/reindex"
	"pkgsneak/sync/state"
)

// keyAttacks: who signed, with what, and when.
func keyAttacks() []attack {
	const day = 24 * time.Hour
	stranger := newForger("a stranger", epoch)
	signed := func(h how) func(*arena) {
		return func(a *arena) { a.writeCopies(a.key.clearSigned(a.text(), h)) }
	}
	return []attack{
		{"unsigned", func(a *arena) { a.writeCopies([]byte(a.text())) }, refused,
			"no signed message"},
		{"signature cut off", func(a *arena) {
			a.edit(func(s string) string {
				s, _, _ = strings.Cut(s, "-----BEGIN PGP SIGNATURE")
				return s
			})
		}, refused, "the message has no signature"},
		{"signed by an unknown key", func(a *arena) {
			a.resignWith(stranger, func(s *statement) {
				s.record.Fingerprint = stranger.key(a.t, 0).Fingerprint()
			})
		}, refused, "not trusted here"},
		{"signed by an unknown key that lies on the drive", func(a *arena) {
			a.resignWith(stranger, func(*statement) {})
			key := stranger.key(a.t, 0)
			write(a.t, filepath.Join(a.drive, "pkgsneak", layout.KeyFile(key.Fingerprint())),
				string(key.Armor()))
		}, refused, "not trusted here"},
		{"signed by an unknown key that says it is the trusted one", func(a *arena) {
			a.writeCopies(framed(a.text(), "Hash: SHA512\n",
				stranger.textSignature(a.text(), how{issuer: a.key})))
		}, refused, "not what was signed"},
		{"signed by a key that is trusted no longer", func(a *arena) { a.trust(nil) }, refused,
			"not trusted here"},
		{"signed by an expired key", func(a *arena) {
			a.trust(a.key.key(a.t, uint32(day.Seconds())))
			a.clock(epoch.Add(2 * day))
		}, refused, "expired on 2026-05-02"},
		{"signed by an expired key, and a clock in 1970", func(a *arena) {
			a.trust(a.key.key(a.t, uint32(day.Seconds())))
			a.clock(time.Unix(0, 0))
			a.writeCopies(a.key.clearSigned(a.text(), how{at: epoch.Add(2 * day)}))
		}, refused, "expired on 2026-05-02"},
		{"signed by a key that was revoked here", func(a *arena) {
			key, err := a.key.key(a.t, 0).WithRevocation(a.key.revocation())
			a.must(err)
			a.trust(key)
		}, refused, "revoked on 2026-05-01"},
		{"signed by a key whose revocation lies on the drive", func(a *arena) {
			a.onDrive(a.key.fingerprint(), ".rev.asc", a.key.revocation())
			// it is remembered there
			a.disposable = append(a.disposable, filepath.Join(a.client.StateDir, "trusted"))
		}, refused, "revoked on 2026-05-01"},
		{"stranger's revocation of the trusted key", func(a *arena) {
			forged := armored("PUBLIC KEY BLOCK",
				stranger.signature(a.key.prefixed(), how{kind: typeRevocation, issuer: a.key}))
			a.onDrive(a.key.fingerprint(), ".rev.asc", forged)
		}, harmless, ""},
		{"signed by a key that says the trusted one introduced it", func(a *arena) {
			a.opts.AcceptRotation = true
			forged := stranger.introduction("forger", stranger, a.key)
			a.onDrive(stranger.fingerprint(), ".asc",
				armored("PUBLIC KEY BLOCK", stranger.block("forger", 0), forged))
			a.resignWith(stranger, func(s *statement) {
				s.record.Fingerprint = stranger.key(a.t, 0).Fingerprint()
			})
		}, refused, "not trusted here"},
		{"signed by a key that the trusted one introduced, and nobody was asked", func(a *arena) {
			good := stranger.introduction("forger", a.key, a.key)
			a.onDrive(stranger.fingerprint(), ".asc",
				armored("PUBLIC KEY BLOCK", stranger.block("forger", 0), good))
			a.resignWith(stranger, func(s *statement) {
				s.record.Fingerprint = stranger.key(a.t, 0).Fingerprint()
			})
		}, refused, "introduced as its successor"},
		{"a stranger's key under the trusted one's name", func(a *arena) {
			a.onDrive(a.key.fingerprint(), ".asc", stranger.block("forger", 0))
			a.resignWith(stranger, func(s *statement) {
				s.record.Fingerprint = stranger.key(a.t, 0).Fingerprint()
			})
		}, refused, "not trusted here"},
		{"the trusted key, moved to another name, and a stranger's generation", func(a *arena) {
			a.onDrive(stranger.fingerprint(), ".asc", a.key.block("forger", 0))
			a.resignWith(stranger, func(*statement) {}) // the record names the trusted key
		}, refused, "not trusted here"},
		{"a stranger's origin in the place of one that was imported", func(a *arena) {
			a.imported()
			a.opts.AcceptRotation = true
			a.onDrive(stranger.fingerprint(), ".asc", stranger.block("forger", 0))
			a.resignWith(stranger, func(s *statement) {
				s.list.Timestamp = s.list.Timestamp.Add(day)
				s.record.Fingerprint = stranger.key(a.t, 0).Fingerprint()
			})
		}, refused, "was imported under the key"},
		{"a key that is not wanted, in another directory", func(a *arena) {
			key := stranger.key(a.t, 0)
			a.decide(state.Decision{Key: key.Fingerprint(), Verdict: state.Never,
				UserID: key.UserID(), At: epoch})
			a.onDrive(stranger.fingerprint(), ".asc", armored("PUBLIC KEY BLOCK",
				stranger.block("forger", 0), stranger.introduction("forger", a.key, a.key)))
			a.opts.AcceptRotation = true
			a.resignWith(stranger, func(s *statement) {
				s.record.Fingerprint = key.Fingerprint()
				s.record.Origin = "elsewhere"
			})
			a.must(os.Rename(a.origin, filepath.Join(a.drive, "pkgsneak/elsewhere")))
		}, harmless, ""},
		{"signature before its key", signed(how{at: epoch.Add(-time.Hour)}), refused,
			"before its key was made"},
		{"signature that has expired", func(a *arena) {
			a.clock(epoch.Add(2 * time.Hour))
			a.writeCopies(a.key.clearSigned(a.text(), how{extra: seconds(3, 3600)}))
		}, refused, "expired on"},
		{"weak hash", func(a *arena) {
			a.writeCopies(framed(a.text(), "Hash: SHA1\n",
				a.key.textSignature(a.text(), how{hash: hashSHA1})))
		}, refused, "Hash line"},
		{"weaker hash still", func(a *arena) {
			a.writeCopies(framed(a.text(), "Hash: MD5\n",
				a.key.textSignature(a.text(), how{hash: hashMD5})))
		}, refused, "Hash line"},
		{"weak hash behind the name of a strong one", signed(how{hash: hashSHA1}),
			refused, "SHA-1"},
		{"weaker hash behind the name of a strong one", signed(how{hash: hashMD5}),
			refused, "hash"},
		{"header of another hash", signed(how{hash: hashSHA256}), refused,
			"the header says SHA512"},
		{"algorithm that is not used", signed(how{algorithm: algorithmRSA}), refused, "RSA"},
		{"signature of another type", signed(how{kind: typeSelf}), refused, "type 0x13"},
		{"signature of a binary file", func(a *arena) {
			a.writeCopies(framed(a.text(), "Hash: SHA512\n",
				a.key.signature([]byte(a.text()), how{kind: typeBinary})))
		}, refused, "type 0x00"},
		{"critical notation",
			signed(how{extra: append([]byte{17, 0x80 | 20, 0, 0, 0, 0, 0, 4, 0, 4},
				"a@b.true"...)}), refused, "notation"},
		{"critical subpacket that nobody knows", signed(how{extra: subpacket(0x80|99, 1)}),
			refused, "signature"},
	}
}

// frameAttacks: a good signature around something else.
func frameAttacks() []attack {
	const begin, end = "-----BEGIN PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n"
	const line = "DATA distfiles/00/evil 4 BLAKE2B 00\n"
	edit := func(change func(string) string) func(*arena) {
		return func(a *arena) { a.edit(change) }
	}
	replace := func(from, to string) func(*arena) {
		return edit(func(s string) string { return strings.Replace(s, from, to, 1) })
	}
	return []attack{
		{"text before", edit(func(s string) string { return line + s }), refused,
			"does not begin with the signed message"},
		{"blank lines before", edit(func(s string) string { return "\n\n" + s }), refused,
			"does not begin"},
		{"text after", edit(func(s string) string { return s + line }), refused,
			"after the signature"},
		{"blanks after", edit(func(s string) string { return s + " \n" }), refused,
			"after the signature"},
		{"text between", replace(begin, line+begin), refused, "not what was signed"},
		{"text between armor lines", replace(begin, begin+line), refused, "armor"},
		{"line more at the end of the text", replace("IGNORE", line+"IGNORE"), refused,
			"not what was signed"},
		{"line less", edit(func(s string) string {
			from := strings.Index(s, "DATA ")
			return s[:from] + s[from+strings.Index(s[from:], "\n")+1:]
		}), refused, "not what was signed"},
		{"one digit", edit(func(s string) string {
			at := strings.Index(s, "BLAKE2B ") + 20
			return s[:at] +
				string("0123456789abcdef"[(strings.IndexByte("0123456789abcdef", s[at])+1)%16]) +
				s[at+1:]
		}), refused, "not what was signed"},
		{"dash-escaped line", replace("\nDATA ", "\n- DATA "), refused, "begins with a dash"},
		{"line with a dash", replace("\nDATA ", "\n-DATA "), refused, "begins with a dash"},
		{"line ends of DOS", edit(func(s string) string {
			head, rest, _ := strings.Cut(s, "\n\n")
			text, sig, _ := strings.Cut(rest, begin)
			return head + "\n\n" + strings.ReplaceAll(text, "\n", "\r\n") + begin + sig
		}), refused, "carriage return"},
		{"carriage return within a line", replace(" BLAKE2B", "\r BLAKE2B"), refused,
			"carriage return"},
		{"blank at the end of a line", replace("\nDATA ", " \nDATA "), refused,
			"ends with a blank"},
		{"tab at the end of a line", replace("\nDATA ", "\t\nDATA "), refused, "ends with a blank"},
		{"two signatures in one armor", func(a *arena) {
			sig := a.key.textSignature(a.text(), how{})
			a.writeCopies(framed(a.text(), "Hash: SHA512\n", sig, sig))
		}, refused, "2 packets"},
		{"stranger's signature before the good one", func(a *arena) {
			a.writeCopies(framed(a.text(), "Hash: SHA512\n", newForger("a stranger",
				epoch).textSignature(a.text(), how{}), a.key.textSignature(a.text(), how{})))
		}, refused, "2 packets"},
		{"two signatures in two armors", edit(func(s string) string {
			_, sig, _ := strings.Cut(s, begin)
			return s + begin + sig
		}), refused, "after the signature"},
		{"two messages", edit(func(s string) string { return s + s }), refused, "signature"},
		{"unsigned message before the signed one", edit(func(s string) string {
			return "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + line + s
		}), refused, "begins with a dash"},
		{"further header", replace("Hash: SHA512\n", "Hash: SHA512\nComment: x\n"),
			refused, "Hash line"},
		{"header that turns escaping off",
			replace("Hash: SHA512\n", "Hash: SHA512\nNotDashEscaped: yes\n"), refused, "Hash line"},
		{"line hidden as a header", replace("Hash: SHA512\n", "Hash: SHA512\n"+line),
			refused, "Hash line"},
		{"line hidden behind the hash", replace("Hash: SHA512\n", "Hash: SHA512 "+line),
			refused, "Hash line"},
		{"list of hashes", replace("Hash: SHA512\n", "Hash: SHA512,SHA1\n"), refused, "Hash line"},
		{"blank line less", replace("Hash: SHA512\n\n", "Hash: SHA512\n"), refused, "Hash line"},
		{"header in the armor", replace(begin, begin+"Version: x\n"), refused, "armor header"},
		{"wrong armor checksum", replace(end, "=AAAA\n"+end), refused, "armor"},
		{"zeros between text and signature", replace(begin, "\x00"+begin), refused, "signature"},
		{"signature of another file", func(a *arena) {
			a.edit(func(s string) string {
				other := string(a.key.clearSigned("TIMESTAMP 2026-05-01T12:00:00Z\n", how{}))
				text, _, _ := strings.Cut(s, begin)
				_, sig, _ := strings.Cut(other, begin)
				return text + begin + sig
			})
		}, refused, "not what was signed"},
		{"other text than a list", func(a *arena) {
			a.writeCopies(a.key.clearSigned("please give me root\n", how{}))
		}, refused,
			"manifest line 1"},
		{"no text", func(a *arena) { a.writeCopies(a.key.clearSigned("", how{})) },
			refused, "TIMESTAMP"},
	}
}

// endlessAttacks: more than a client has memory or patience for. Two copies of the largest size are
// read.
func endlessAttacks() []attack {
	const twoSlots = 4*manifest.MaxManifest + ordinaryMemory
	listed := func(n int) string {
		var b strings.Builder
		b.WriteString("TIMESTAMP 2026-05-01T12:00:00Z\n")
		zeros := strings.Repeat("0", 128)
		for i := range n {
			fmt.Fprintf(&b, "DATA a%07d 0 BLAKE2B %s\n", i, zeros)
		}
		return b.String()
	}
	return []attack{
		{"manifest of gigabytes", func(a *arena) {
			for _, slot := range []string{layout.ManifestFile, layout.NextManifestFile} {
				a.must(os.Truncate(a.on(slot), 5<<30))
			}
		}, refused, "longer than"},
		{"manifest of gigabytes in one copy", func(a *arena) {
			a.must(os.Truncate(a.on(layout.ManifestFile), 5<<30))
		}, harmless, ""},
		{"million lines", func(a *arena) {
			a.writeCopies(a.key.clearSigned(listed(1_000_000), how{}))
		},
			refused, "longer than"},
		{"lines as many as fit", func(a *arena) {
			a.memory = twoSlots
			a.writeCopies(a.key.clearSigned(listed(300_000), how{}))
		}, refused, "more than 262144"},
		{"million ignored paths", func(a *arena) {
			a.memory = twoSlots
			var b strings.Builder
			b.WriteString("TIMESTAMP 2026-05-01T12:00:00Z\n")
			for i := range 1_000_000 {
				fmt.Fprintf(&b, "IGNORE a%07d\n", i)
			}
			a.writeCopies(a.key.clearSigned(b.String(), how{}))
		}, refused, "more than 64 ignored paths"},
		{"one endless line", func(a *arena) {
			a.memory = twoSlots
			a.writeCopies(a.key.clearSigned("TIMESTAMP 2026-05-01T12:00:00Z\nDATA "+strings.Repeat("a",
				50<<20)+"\n", how{}))
		}, refused, "manifest line 2"},
		{"one endless line, unsigned", func(a *arena) {
			a.memory = twoSlots
			a.writeCopies(bytes.Repeat([]byte("a"), manifest.MaxManifest-1))
		}, refused, "no signed message"},
		{"endless signature", func(a *arena) {
			a.memory = twoSlots
			a.edit(func(s string) string {
				return strings.Replace(s, "-----END PGP",
					strings.Repeat(strings.Repeat("A", 64)+"\n", 500_000)+"-----END PGP", 1)
			})
		}, refused, "the signature has more than"},
		{"signature of a thousand packets", func(a *arena) {
			a.writeCopies(framed(a.text(), "Hash: SHA512\n", bytes.Repeat([]byte{0x88, 0}, 5000)))
		}, refused, "packets"},
		{"million keys", func(a *arena) {
			for i := range 2000 {
				write(a.t, filepath.Join(a.drive, "pkgsneak/keys",
					fmt.Sprintf("%040X.asc", i)), "no key\n")
			}
		}, harmless, ""},
		{"endless key", func(a *arena) {
			name := filepath.Join(a.drive,
				"pkgsneak/keys/0000000000000000000000000000000000000000.asc")
			write(a.t, name, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
			a.must(os.Truncate(name, 5<<30))
		}, harmless, ""},
		{"hundreds of origins", func(a *arena) {
			for i := range 900 {
				write(a.t, filepath.Join(a.drive, "pkgsneak", fmt.Sprintf("a%04d", i),
					"Manifest"), "")
			}
		}, harmless, ""},
	}
}

// pathAttacks: where a listed file claims to belong.
func pathAttacks() []attack {
	line := func(p string) string {
		return "DATA " + p + " 1 BLAKE2B " + hex.EncodeToString(sumOf("x"))
	}
	// listing puts a line into the signed text, where it belongs by its order.
	listing := func(paths ...string) func(*arena) {
		return func(a *arena) {
			a.resign(func(s *statement) {
				s.editText = func(text string) string {
					lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
					for _, p := range paths {
						lines = append(lines, line(p))
					}
					slices.SortFunc(lines[1:], func(x, y string) int {
						if c := strings.Compare(x[:1], y[:1]); c != 0 {
							return c
						}
						return strings.Compare(strings.Fields(x)[1], strings.Fields(y)[1])
					})
					return strings.Join(lines, "\n") + "\n"
				}
			})
		}
	}
	// named lists a distfile as such a host would, whose name only the record can hold.
	named := func(name string) func(*arena) {
		return func(a *arena) {
			a.resign(func(s *statement) {
				const stored = layout.DistfilesDir + "/00/renamed.1.pkgsneak"
				s.put(a, stored, []byte("evil\n"))
				s.record.Renamed = append(s.record.Renamed, layout.Renamed{Kind: payload.Distfile,
					Path: layout.PathText(name), Stored: stored})
				data, err := json.Marshal(s.record)
				a.must(err)
				s.json = data
			})
		}
	}
	// moved gives a package another path.
	moved := func(to string) func(*arena) {
		return func(a *arena) { a.resign(func(s *statement) { s.rename(a, otherVictim, to) }) }
	}
	return []attack{
		{"absolute", listing("/etc/passwd"), refused, "is absolute"},
		{"dot dot", listing("packages/../../../etc/passwd"), refused, "component .."},
		{"dot dot alone", listing(".."), refused, "component .."},
		{"dot", listing("packages/./a"), refused, "component ."},
		{"empty component", listing("packages//a"), refused, "empty component"},
		{"slash at the end", listing("packages/a/"), refused, "empty component"},
		{"empty path", func(a *arena) {
			a.resign(func(s *statement) {
				s.editText = func(text string) string {
					return strings.Replace(text, "\nDATA ", "\n"+line("")+"\nDATA ", 1)
				}
			})
		}, refused, "manifest line 2"},
		{"NUL", listing("packages/a\x00b"), refused, "control character"},
		{"escaped NUL", listing(`packages/a\x00b`), refused, "escape"},
		{"backslash", listing(`packages\evil`), refused, "escape"},
		{"escaped backslash", listing(`packages/a\x5Cb`), refused, "escape"},
		{"escaped slash", listing(`..\x2F..\x2Fetc`), refused, "escape"},
		{"needless escape", listing(`packages/\x2E\x2E/a`), refused, "escape"},
		{"terminal escape", listing("packages/a\x1b[2Jb"), refused, "control character"},
		{"no UTF-8", listing("packages/a\xff"), refused, "UTF-8"},
		{"300 bytes", listing("packages/" + strings.Repeat("a", 300)), refused,
			"more than 255 bytes"},
		{"5000 bytes", listing("packages/" + strings.Repeat("a/", 2500) + "a"), refused,
			"more than 4095 bytes"},
		{"one path twice", listing(layout.LayoutFile), refused, "listed twice"},
		{"case collision", listing("packages/APP-misc/a", "packages/app-misc/A"), refused,
			"differ in case only"},
		{"Unicode collision", listing("packages/app-misc/\u212a", "packages/app-misc/k"), refused,
			"differ in case only"},
		{"file that is a directory of another", listing("packages/app-misc"), leftOut,
			"the catalogue has no entry"},
		{"composed and decomposed", listing("packages/app-misc/\u00e9-1.tbz2",
			"packages/app-misc/e\u0301-1.tbz2"), leftOut, "the catalogue has no entry"},
		{"reserved name", moved("app-misc/nul-1.tbz2"), leftOut, "the name says"},
		{"package at the index", listing("packages/Packages.gz"), leftOut,
			"the catalogue has no entry"},
		{"package in the staging directory", moved(".pkgsneak/labvirt-0-r1.tbz2"), leftOut, "not"},
		{"package in another category", moved("app-misc/labvirt-0-r1.tbz2"), leftOut,
			"the directory says category"},
		{"package under another name", moved("virtual/labvirt-1.tbz2"), leftOut, "the name says"},
		{"package below no category", moved("labvirt-0-r1.tbz2"), leftOut, "not"},
		{"package deep down", moved("virtual/a/b/c/d/labvirt-0-r1.tbz2"), leftOut, ""},
		{"package with a long name", moved("virtual/" + strings.Repeat("a", 250) +
			".tbz2"), leftOut, ""},
		{"distfile that is absolute", named("/etc/passwd"), refused, "plain relative path"},
		{"distfile with dot dot", named("../evil"), refused, "plain relative path"},
		{"distfile in a directory", named("a/evil"), refused, "has no directory"},
		{"distfile with a NUL", named("a\x00b"), refused, "zero byte"},
		{"distfile that is hidden", named(".pkgsneak"), leftOut, "no name of a distfile"},
		{"distfile that is a lock", named("source.portage_lockfile"), leftOut,
			"no name of a distfile"},
		{"distfile with a terminal escape", named("a\x1b[2Jb"), leftOut, "no name of a distfile"},
		{"distfile with 300 bytes", named(strings.Repeat("a", 300)), leftOut, ""},
		{"record that lists another record", listing("generation/1.json"), refused,
			"beside that of its own time"},
	}
}

func sumOf(text string) []byte {
	sum := digest.Bytes([]byte(text))
	return sum[:]
}

// sizeAttacks: a list's idea of the size of a file.
func sizeAttacks() []attack {
	size := func(to string) func(*arena) {
		return func(a *arena) {
			a.resign(func(s *statement) {
				s.editText = func(text string) string {
					head, tail, _ := strings.Cut(text, victim+" ")
					_, tail, _ = strings.Cut(tail, " ")
					return head + victim + " " + to + " " + tail
				}
			})
		}
	}
	return []attack{
		{"negative", size("-1"), refused, "size"},
		{"negative zero", size("-0"), refused, "size"},
		{"plus", size("+20480"), refused, "size"},
		{"hexadecimal", size("0x5000"), refused, "size"},
		{"leading zero", size("020480"), refused, "size"},
		{"larger than 2^53", size("9007199254740993"), refused, "size"},
		{"larger than 2^64", size("18446744073709551617"), refused, "size"},
		{"thousand digits", size(strings.Repeat("9", 1000)), refused, "size"},
		{"no number", size("many"), refused, "size"},
		{"larger than the drive", size("9007199254740992"), leftOut, "another size"},
		{"larger than the file", size("20481"), leftOut, "another size"},
		{"smaller than the file", size("20479"), leftOut, "another size"},
		{"zero", size("0"), leftOut, "another size"},
		{"larger than the file, catalogue too", func(a *arena) {
			a.resign(func(s *statement) { s.entry(a, victim, "SIZE", "20481"); a.sized(s, 20481) })
		}, leftOut, "shorter than signed"},
		{"smaller than the file, catalogue too", func(a *arena) {
			a.resign(func(s *statement) { s.entry(a, victim, "SIZE", "20479"); a.sized(s, 20479) })
		}, leftOut, "longer than signed"},
		{"larger than the client's disk, catalogue too", func(a *arena) {
			a.resign(func(s *statement) {
				s.entry(a, victim, "SIZE",
					"9007199254740992")
				a.sized(s, 1<<53)
			})
		}, refused, "has room for"},
		{"sum beyond 2^63", func(a *arena) {
			a.resign(func(s *statement) {
				for i := range 2000 {
					name := fmt.Sprintf("distfiles/00/huge%04d", i)
					s.list.Files = append(s.list.Files, manifest.File{Path: name, Size: 1 << 53,
						Sum: digest.Bytes([]byte(name))})
				}
			})
		}, refused, "has room for"},
	}
}

func (a *arena) sized(s *statement, size int64) {
	for i, f := range s.list.Files {
		if f.Path == layout.PackagesDir+"/"+victim {
			s.list.Files[i].Size = size
		}
	}
}

// fileAttacks: what lies where a listed file should, and what lies there unlisted.
func fileAttacks() []attack {
	at := layout.PackagesDir + "/" + victim
	instead := func(make func(a *arena, name string) error) func(*arena) {
		return func(a *arena) {
			a.must(os.Remove(a.on(at)))
			a.must(make(a, a.on(at)))
		}
	}
	link := func(to func(*arena) string) func(*arena) {
		return instead(func(a *arena, name string) error { return os.Symlink(to(a), name) })
	}
	return []attack{
		{"missing", instead(func(*arena, string) error { return nil }), leftOut, "missing"},
		{"one bit", func(a *arena) { a.flip(at) }, leftOut, "not those that were signed"},
		{"cut off", func(a *arena) { a.must(os.Truncate(a.on(at), 100)) }, leftOut,
			"shorter than signed"},
		{"endless", func(a *arena) { a.must(os.Truncate(a.on(at), 1<<40)) }, leftOut,
			"longer than signed"},
		{"zeros", func(a *arena) {
			a.must(os.Truncate(a.on(at), 0))
			a.must(os.Truncate(a.on(at), 20480))
		}, leftOut, "not those that were signed"},
		{"link to a file of the system", link(func(*arena) string { return "/etc/passwd" }),
			leftOut, "not a regular file"},
		{"link to a file beside", link(func(a *arena) string {
			return filepath.Join(a.beside, "precious")
		}), leftOut, "not a regular file"},
		{"link to the right file", link(func(a *arena) string {
			return filepath.Join(a.host.PKGDIR, victim)
		}), leftOut, "not a regular file"},
		{"link to itself", link(func(*arena) string { return filepath.Base(victim) }), leftOut,
			"not a regular file"},
		{"endless device", link(func(*arena) string { return "/dev/zero" }), leftOut,
			"not a regular file"},
		{"hard link to another file", instead(func(a *arena, name string) error {
			write(a.t, a.on("packages/secret"), strings.Repeat("s", 20480))
			return os.Link(a.on("packages/secret"), name)
		}), leftOut, "not those that were signed"},
		{"FIFO", instead(func(_ *arena, name string) error { return mkfifo(name) }), leftOut,
			"not a regular file"},
		{"directory", instead(func(_ *arena, name string) error { return os.Mkdir(name, 0o755) }),
			leftOut, "not a regular file"},
		{"socket", instead(func(a *arena, name string) error {
			dir, err := os.MkdirTemp("", "s") // the path of a socket is short
			if err != nil {
				return err
			}
			a.t.Cleanup(func() { os.RemoveAll(dir) })
			l, err := net.Listen("unix", filepath.Join(dir, "s"))
			if err != nil {
				return err
			}
			a.t.Cleanup(func() { l.Close() })
			return os.Rename(filepath.Join(dir, "s"), name)
		}), leftOut, "not a regular file"},
		{"device", instead(func(a *arena, name string) error {
			const null = 1<<8 | 3
			err := unix.Mknod(name, unix.S_IFCHR|0o666, null)
			if err != nil {
				a.t.Skipf("making a device: %v", err)
			}
			return nil
		}), leftOut, "not a regular file"},
		{"directory of packages is a link", func(a *arena) {
			a.must(os.Rename(a.on("packages"), filepath.Join(a.beside, "packages")))
			a.must(os.Symlink(filepath.Join(a.beside, "packages"), a.on("packages")))
		}, leftOut, ""},
		{"directory of packages is a file", func(a *arena) {
			a.must(os.RemoveAll(a.on("packages")))
			write(a.t, a.on("packages"), "x")
		}, leftOut, ""},
		{"directory of packages is a FIFO", func(a *arena) {
			a.must(os.RemoveAll(a.on("packages")))
			a.must(mkfifo(a.on("packages")))
		}, leftOut, ""},
		{"origin is a link", func(a *arena) {
			a.must(os.Rename(a.origin, filepath.Join(a.drive, "moved")))
			a.must(os.Symlink(filepath.Join(a.drive, "moved"), a.origin))
		}, refused, "nothing was exported"},
		{"tree is a link", func(a *arena) {
			tree := filepath.Join(a.drive, "pkgsneak")
			a.must(os.Rename(tree, filepath.Join(a.beside, "tree")))
			a.must(os.Symlink(filepath.Join(a.beside, "tree"), tree))
		}, refused, "no pkgsneak tree"},
		{"keys are a link", func(a *arena) {
			a.must(os.RemoveAll(filepath.Join(a.drive, "pkgsneak/keys")))
			a.must(os.Symlink(a.beside, filepath.Join(a.drive, "pkgsneak/keys")))
		}, harmless, ""},
		{"keys are a FIFO", func(a *arena) {
			a.must(os.RemoveAll(filepath.Join(a.drive, "pkgsneak/keys")))
			a.must(mkfifo(filepath.Join(a.drive, "pkgsneak/keys")))
		}, harmless, ""},
		{"manifest copies are FIFOs", func(a *arena) {
			for _, slot := range []string{layout.ManifestFile, layout.NextManifestFile} {
				a.must(os.Remove(a.on(slot)))
				a.must(mkfifo(a.on(slot)))
			}
		}, refused, "not a regular file"},
		{"manifest copies are links", func(a *arena) {
			for _, slot := range []string{layout.ManifestFile, layout.NextManifestFile} {
				a.must(os.Rename(a.on(slot), filepath.Join(a.beside, slot)))
				a.must(os.Symlink(filepath.Join(a.beside, slot), a.on(slot)))
			}
		}, refused, "not a regular file"},
		{"undeclared files", func(a *arena) {
			write(a.t, a.on("packages/app-misc/evil-1.tbz2"), "evil")
			write(a.t, a.on("distfiles/00/evil.tar"), "evil")
			write(a.t, a.on("packages/Packages.gz"), "evil")
			write(a.t, a.on("generation/99999999999.json"), "evil")
			write(a.t, a.on("evil"), "evil")
		}, harmless, ""},
		{"index for Portage that lies", func(a *arena) {
			write(a.t, a.on(layout.PackagesFile), "evil")
		}, harmless, ""},
		{"file that changes while it is copied", func(a *arena) {
			a.large(8 << 20)
			a.watch = once(func(e progress.Event) bool {
				return e.Path == "large.tar" &&
					e.Done > 0
			}, func() {
				f, err := os.OpenFile(a.on(a.stored("large.tar")), os.O_WRONLY, 0)
				a.must(err)
				_, err = f.WriteAt([]byte("evil"), 8<<20-4)
				a.must(err)
				a.must(f.Close())
			})
		}, leftOut, "large.tar: damaged on the drive"},
		{"file that is cut while it is copied", func(a *arena) {
			a.large(8 << 20)
			a.watch = once(func(e progress.Event) bool {
				return e.Path == "large.tar" &&
					e.Done > 0
			}, func() { a.must(os.Truncate(a.on(a.stored("large.tar")), 5<<20)) })
		}, leftOut, "large.tar: damaged on the drive"},
		{"file that grows while it is copied", func(a *arena) {
			a.large(8 << 20)
			a.watch = once(func(e progress.Event) bool {
				return e.Path == "large.tar" &&
					e.Done > 0
			}, func() { a.must(os.Truncate(a.on(a.stored("large.tar")), 1<<40)) })
		}, harmless, ""},
		{"file that changes between plan and copy", func(a *arena) {
			a.opts.Confirm = func([]*importer.ImportPlan) (bool, error) {
				a.flip(at)
				return true, nil
			}
		}, leftOut, "not those that were signed"},
		{"file that becomes a link between plan and copy", func(a *arena) {
			a.opts.Confirm = func([]*importer.ImportPlan) (bool, error) {
				return true, joinErrors(os.Remove(a.on(at)), os.Symlink("/etc/passwd", a.on(at)))
			}
		}, leftOut, "not a regular file"},
		{"manifest copies that change between plan and copy", func(a *arena) {
			a.opts.Confirm = func([]*importer.ImportPlan) (bool, error) {
				a.writeCopies([]byte("evil"))
				return true, nil
			}
		}, harmless, ""},
		{"drive swapped between plan and copy", func(a *arena) {
			a.opts.Confirm = func([]*importer.ImportPlan) (bool, error) {
				a.must(os.Rename(filepath.Join(a.drive, "pkgsneak"),
					filepath.Join(a.drive, "gone")))
				write(a.t, a.on(at), strings.Repeat("e", 20480))
				return true, nil
			}
		}, harmless, ""},
		{"contents swapped between plan and copy", func(a *arena) {
			a.opts.Confirm = func([]*importer.ImportPlan) (bool, error) {
				other := a.on(layout.PackagesDir + "/virtual/labvirt/labvirt-0-r1-1.gpkg.tar")
				return true, joinErrors(os.Rename(a.on(at), a.on("x")), os.Rename(other, a.on(at)),
					os.Rename(a.on("x"), other))
			}
		}, leftOut, "signed"},
	}
}

func joinErrors(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// once does something at the first event that is the one.
func once(is func(progress.Event) bool, do func()) progress.Watcher {
	done := false
	return progress.OfEvents(func(e progress.Event) {
		if !done && e.Phase == progress.PhaseCopy && is(e) {
			done = true
			do()
		}
	})
}

func (a *arena) flip(name string) {
	data, err := os.ReadFile(a.on(name))
	a.must(err)
	data[len(data)/2] ^= 1
	a.must(os.WriteFile(a.on(name), data, 0o644))
}

// large has the origin export a large distfile.
func (a *arena) large(size int) {
	data := make([]byte, size)
	rand.Read(data)
	write(a.t, filepath.Join(a.host.DISTDIR, "large.tar"), string(data))
	mustExport(a.t, a.host, exporter.ExportOptions{Drive: a.drive, NoReadBack: true})
	a.good[string(data)] = true
}

// stored is where a distfile lies below the origin.
func (a *arena) stored(name string) string {
	return join(layout.DistfilesDir, layout.Bucket(name), name)
}

// trust makes a key the only one that the client trusts.
func (a *arena) trust(k *manifest.PublicKey) {
	a.t.Helper()
	st, err := state.Open(a.t.Context(), a.client.StateDir, state.Options{})
	a.must(err)
	defer st.Close()
	a.must(st.Distrust(a.key.key(a.t, 0).Fingerprint()))
	if k != nil {
		a.must(st.Trust(k))
	}
}

// decide lets the administrator of the client decide about a key.
func (a *arena) decide(d state.Decision) {
	a.t.Helper()
	st, err := state.Open(a.t.Context(), a.client.StateDir, state.Options{})
	a.must(err)
	defer st.Close()
	a.must(state.Decide(st, d))
}

// onDrive puts a file among the keys on the drive.
func (a *arena) onDrive(fingerprint []byte, suffix string, data []byte) {
	write(a.t, filepath.Join(a.drive, "pkgsneak/keys", fmt.Sprintf("%X", fingerprint)+suffix),
		string(data))
}

func (a *arena) clock(now time.Time) { a.client.Now = func() time.Time { return now } }

// again lets the host build something new and export it a day later.
func (a *arena) again() {
	write(a.t, filepath.Join(a.host.DISTDIR, "new.tar"), "new\n")
	a.good["new\n"] = true
	a.host.Now = func() time.Time { return epoch.Add(24 * time.Hour) }
	mustExport(a.t, a.host, exporter.ExportOptions{Drive: a.drive, NoReadBack: true})
}

// keep copies the drive as it is now.
func (a *arena) keep() string {
	dir := a.t.TempDir()
	a.must(os.CopyFS(dir, os.DirFS(a.drive)))
	return dir
}

// imported lets the client import what is there.
func (a *arena) imported() {
	mustImport(a.t, a.client, importer.ImportOptions{Drive: a.drive})
}

// generationAttacks: good signatures at the wrong time.
func generationAttacks() []attack {
	shifted := func(by time.Duration) func(*arena) {
		return func(a *arena) {
			a.resign(func(s *statement) { s.list.Timestamp = s.list.Timestamp.Add(by) })
		}
	}
	const year = 366 * 24 * time.Hour
	return []attack{
		{"rollback", func(a *arena) {
			old := a.keep()
			a.again()
			a.imported()
			// so that the old one would change something
			a.must(os.Remove(filepath.Join(a.client.DISTDIR, tarball)))
			forgetLists(a.t, a.client)
			a.opts.Drive = old
		}, refused, "is older than the one of"},
		{"rollback in one copy", func(a *arena) {
			old := a.copy()
			a.again()
			a.imported()
			a.must(os.WriteFile(a.on(layout.NextManifestFile), []byte(old), 0o644))
		}, harmless, ""},
		{"fork", func(a *arena) {
			a.imported()
			a.resign(func(s *statement) { s.put(a, a.stored("fork.tar"), []byte("evil\n")) })
		}, refused, "seen here before with other contents"},
		{"fast-forward to the end of time", func(a *arena) {
			a.resign(func(s *statement) {
				s.list.Timestamp = time.Date(9999, 12, 31, 23, 59, 59,
					0, time.UTC)
			})
		}, refused, "in the future"},
		{"fast-forward by two years", shifted(2 * year), refused, "in the future"},
		{"fast-forward by two years, clock in 1970", func(a *arena) {
			a.clock(time.Unix(0, 0))
			shifted(2 * year)(a)
		}, refused, "in the future"},
		{"fast-forward within the bound", shifted(year / 2), harmless, ""},
		{"fast-forward that was allowed", func(a *arena) {
			a.opts.AcceptFuture = true
			shifted(2 * year)(a)
		}, harmless, ""},
		{"signature of the far future", func(a *arena) {
			a.resign(func(s *statement) { s.at = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) })
		}, refused, "in the future"},
		{"timestamp of the far past", func(a *arena) {
			a.resign(func(s *statement) { s.list.Timestamp = time.Unix(86400, 0) })
		}, harmless, ""},
		{"timestamp zero", func(a *arena) {
			a.resign(func(s *statement) {
				s.list.Timestamp = time.Unix(0, 0)
				s.json = fmt.Appendf(nil,
					`{"format":1,"origin":"host","serial":0,"fingerprint":%q}`,
					s.record.Fingerprint)
			})
		}, refused, "serial 0"},
		{"freeze", func(a *arena) {
			a.clock(epoch.Add(31 * 24 * time.Hour))
			a.opts.MaxAge = 30 * 24 * time.Hour
		}, refused, "31 days old"},
		{"freeze, and a clock in 1970", func(a *arena) {
			a.remembers(epoch.Add(31 * 24 * time.Hour))
			a.clock(time.Unix(0, 0))
			a.opts.MaxAge = 30 * 24 * time.Hour
		}, refused, "31 days old"},
		{"mixed: new list, old files", func(a *arena) {
			old := a.keep()
			a.again()
			for _, dir := range []string{"packages", "distfiles"} {
				a.must(os.RemoveAll(a.on(dir)))
				a.must(os.CopyFS(a.on(dir), os.DirFS(filepath.Join(old, "pkgsneak/host", dir))))
			}
		}, leftOut, "new.tar: missing on the drive"},
		{"mixed: old list, new files", func(a *arena) {
			old := a.copy()
			a.again()
			a.writeCopies([]byte(old))
		}, refused, "missing"},
		{"mixed: new list, old record", func(a *arena) {
			old, err := os.ReadFile(a.on(layout.RecordFile(epoch.Unix())))
			a.must(err)
			a.again()
			a.must(os.WriteFile(a.on(layout.RecordFile(epoch.Add(24*time.Hour).Unix())), old,
				0o644))
		}, refused, "signed"},
		{"mixed: new list, old catalogue", func(a *arena) {
			old, err := os.ReadFile(a.on(layout.CatalogueFile(epoch.Unix())))
			a.must(err)
			a.again()
			a.must(os.WriteFile(a.on(layout.CatalogueFile(epoch.Add(24*time.Hour).Unix())), old,
				0o644))
		}, refused, "signed"},
		{"another origin's directory under this name", func(a *arena) {
			a.must(os.Rename(a.origin, filepath.Join(a.drive, "pkgsneak/other")))
		}, harmless, ""},
		{"generation copied to a second name", func(a *arena) {
			a.must(os.CopyFS(filepath.Join(a.drive, "pkgsneak/other"), os.DirFS(a.origin)))
		}, harmless, ""},
	}
}

// remembers makes the client remember that it is at least as late as that.
func (a *arena) remembers(t time.Time) {
	st, err := state.Open(a.t.Context(), a.client.StateDir, state.Options{})
	a.must(err)
	defer st.Close()
	a.must(st.RaiseTime(t))
}

// recordAttacks: a record with what it should not have.
func recordAttacks() []attack {
	raw := func(change func(map[string]any)) func(*arena) {
		return func(a *arena) {
			a.resign(func(s *statement) {
				data, err := s.record.Marshal()
				a.must(err)
				var m map[string]any
				a.must(json.Unmarshal(data, &m))
				change(m)
				s.zst = packed([]byte(s.index))
				m["counts"].(map[string]any)["catalogue_bytes"] = len(s.index)
				s.json, err = json.Marshal(m)
				a.must(err)
			})
		}
	}
	origin := func(name string) func(*arena) {
		return raw(func(m map[string]any) { m["origin"] = name })
	}
	split := func(parts ...string) func(*arena) {
		return raw(func(m map[string]any) {
			m["split"] = []map[string]any{{"kind": "distfile", "path": "joined", "size": 11,
				"blake2b": strings.Repeat("0", 128), "parts": parts}}
		})
	}
	return []attack{
		{"origin is a path", origin("../../etc"), refused, "origin name"},
		{"origin is absolute", origin("/etc"), refused, "origin name"},
		{"origin is empty", origin(""), refused, "origin name"},
		{"origin is hidden", origin(".git"), refused, "origin name"},
		{"origin is keys", origin("KEYS"), refused, "origin name"},
		{"origin is a terminal escape", origin("a\x1b]0;evil\x07"), refused, "origin name"},
		{"origin is long", origin(strings.Repeat("a", 1000)), refused, "origin name"},
		{"profile is a terminal escape", raw(func(m map[string]any) { m["profile"] = "\x1b[2J" }),
			refused, "control characters"},
		{"profile is endless", raw(func(m map[string]any) {
			m["profile"] = strings.Repeat("a", 1<<20)
		}), refused, "longer than"},
		{"record of another key", raw(func(m map[string]any) {
			m["fingerprint"] = strings.Repeat("A", 40)
		}), refused, "names the key"},
		{"record of another serial", raw(func(m map[string]any) { m["serial"] = 5 }),
			refused, "the record is of 1970-01-01"},
		{"format of the future", raw(func(m map[string]any) { m["format"] = 99 }), refused,
			"newer pkgsneak"},
		{"counts below zero", raw(func(m map[string]any) {
			m["counts"] = map[string]any{"packages": -1}
		}), refused, "negative"},
		{"file in two exceptions", split("distfiles/"+layout.Bucket(tarball)+"/"+tarball,
			"distfiles/"+layout.Bucket(tarball)+"/"+tarball), refused, "two exceptions"},
		{"part outside", split("../../../etc/passwd"), refused, "stored as"},
		{"part that is not listed", split("distfiles/00/none"), refused, "not in the list"},
		{"parts that lie about the whole", split("distfiles/" + layout.Bucket(tarball) + "/" +
			tarball), leftOut, "joined: damaged on the drive: its contents"},
		{"no JSON", func(a *arena) { a.resign(func(s *statement) { s.json = []byte("evil") }) },
			refused, "generation/"},
		{"JSON twice", func(a *arena) {
			a.resign(func(s *statement) {
				data, err := s.record.Marshal()
				a.must(err)
				s.json = append(data, data...)
			})
		}, refused, "follows the JSON"},
		{"JSON that is deep", func(a *arena) {
			a.resign(func(s *statement) { s.json = []byte(strings.Repeat("[", 5<<20)) })
		}, refused, "generation/"},
		{"JSON that is endless", func(a *arena) {
			a.memory = 2 * ordinaryMemory
			a.resign(func(s *statement) { s.json = bytes.Repeat([]byte(" "), layout.MaxRecord+1) })
		}, refused, "longer than"},
	}
}

// catalogueAttacks: an index with what it should not have.
func catalogueAttacks() []attack {
	index := func(text func(string) string) func(*arena) {
		return func(a *arena) { a.resign(func(s *statement) { s.index = text(s.index) }) }
	}
	entry := func(key, value string) func(*arena) {
		return func(a *arena) { a.resign(func(s *statement) { s.entry(a, victim, key, value) }) }
	}
	// The catalogue contradicts the package: an import that takes the exporting side's word does
	// not look.
	inside := func(key, value string) func(*arena) {
		return func(a *arena) {
			a.opts.Check = true
			entry(key, value)(a)
		}
	}
	bomb := func(line string, size int) func(*arena) {
		return func(a *arena) {
			a.memory = 256 << 20
			a.resign(func(s *statement) {
				s.zst = repeated(zstdWriter, line, size)
				s.record.Counts.CatalogueBytes = int64(size / len(line) * len(line))
			})
		}
	}
	return []attack{
		{"bomb of zeros", bomb("\x00", 600<<20), refused, "generation/"},
		{"bomb of one line", bomb("a", 600<<20), refused, "generation/"},
		{"bomb of blank lines", bomb("\n", 600<<20), refused, "generation/"},
		{"bomb of entries", bomb("CPV: a/b-1\n\n", 300<<20), refused, "generation/"},
		{"bomb of headers", bomb("a: b\n", 300<<20), refused, "generation/"},
		{"bomb that the record is silent about", func(a *arena) {
			a.resign(func(s *statement) {
				s.zst = repeated(zstdWriter, "A: b\n", 100<<20)
				s.record.Counts.CatalogueBytes = 10
			})
		}, refused, "longer than the record says"},
		{"window that eats memory", func(a *arena) {
			a.resign(func(s *statement) {
				// A frame with a window of 512 MiB, and the index in one raw block, which is the
				// last.
				block := len(s.index)<<3 | 1
				s.zst = append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 19 << 3, byte(block),
					byte(block >> 8), byte(block >> 16)}, s.index...)
				s.record.Counts.CatalogueBytes = int64(len(s.index))
			})
		}, refused, "generation/"},
		{"no zstd", func(a *arena) { a.resign(func(s *statement) { s.zst = []byte("evil") }) },
			refused, "generation/"},
		{"text behind", func(a *arena) {
			a.resign(func(s *statement) {
				s.zst = append(packed([]byte(s.index)), packed([]byte("\nCPV: a/b-1\n"))...)
				s.record.Counts.CatalogueBytes = int64(len(s.index))
			})
		}, refused, "longer than the record says"},
		{"empty", index(func(string) string { return "" }), leftOut, "the catalogue has no entry"},
		{"entry that leaves PKGDIR", index(func(s string) string {
			return strings.Replace(s, "PATH: "+victim, "PATH: ../../evil.tbz2", 1)
		}), leftOut,
			"the catalogue has no entry"},
		{"another version of the format",
			index(func(s string) string {
				return strings.Replace(s, "VERSION: 0", "VERSION: 9",
					1)
			}), harmless, ""},
		{"another package's name", entry("CPV", "app-misc/evil-9"), leftOut,
			"its index entry is that of"},
		{"another slot", inside("SLOT", "evil"), leftOut, "SLOT"},
		{"another build", inside("BUILD_ID", "7"), leftOut, "BUILD_ID"},
		{"wrong MD5", inside("MD5", strings.Repeat("0", 32)), leftOut, "MD5"},
		{"wrong SHA1", inside("SHA1", strings.Repeat("0", 40)), leftOut, "SHA1"},
		{"no digests", func(a *arena) {
			a.resign(func(s *statement) {
				s.entry(a, victim, "MD5", "")
				s.entry(a, victim,
					"SHA1", "")
			})
		}, harmless, ""},
		{"digests that are none", entry("MD5", "evil"), leftOut, ""},
		{"wrong size", entry("SIZE", "1"), leftOut, "another size"},
		{"size below zero", entry("SIZE", "-20480"), leftOut, "another size"},
		{"no size", entry("SIZE", ""), leftOut, "another size"},
		{"mtime before time", entry("MTIME", "-99999999999999"), leftOut, "MTIME"},
		{"mtime beyond time", entry("MTIME", "9223372036854775807"), leftOut, "MTIME"},
		{"no mtime", entry("MTIME", ""), harmless, ""},
		{"terminal escape in a value", entry("DESC", "\x1b[2J"), leftOut,
			"the catalogue has no entry"},
		{"header that sends Portage to a network", func(a *arena) {
			a.must(os.RemoveAll(a.client.PKGDIR))
			a.must(os.Mkdir(a.client.PKGDIR, 0o755))
			a.resign(func(s *statement) {
				s.index = "URI: https://evil.example\nTTL: 99999999\n" + s.index
			})
			a.opts.Confirm = func([]*importer.ImportPlan) (bool, error) {
				a.t.Cleanup(func() {
					text, err := os.ReadFile(filepath.Join(a.client.PKGDIR, "Packages"))
					if err != nil || bytes.Contains(text, []byte("evil")) ||
						bytes.Contains(text, []byte("TTL")) {
						a.t.Errorf("the header came through: %v", err)
					}
				})
				return true, nil
			}
		}, harmless, ""},
	}
}

// A badPackage is one that real Portage trips over.
type badPackage struct {
	name string
	at   string // its place below PKGDIR
	data func(*arena) []byte
	want string // what the reason speaks of
}

const classic = "app-misc/labhello-1.0-r2.tbz2"

// badPackages are those of testdata/golden/corrupt that Portage does not take without harm, and
// some that unpack to more than anybody has.
func badPackages(t *testing.T) []badPackage {
	const corrupt = "../../testdata/golden/corrupt/"
	harmless := []string{"g00-good", "g01-truncated-half", "x07-datasize-wrong", "x00-good",
		"g13-manifest-first", "g14d-metadata-lz4",
		"g14f-metadata-gz-but-named-zst", "g18b-prefix-other-than-filename",
		"g19d-manifest-uppercase-hex-crlf", "g22-pax-format",
		"g26-BUILD_ID-2-in-file-1", "x10-duplicate-key"}
	dirs, err := os.ReadDir(corrupt)
	if err != nil {
		t.Fatal(err)
	}
	var all []badPackage
	for _, dir := range dirs {
		if !dir.IsDir() || slices.Contains(harmless, dir.Name()) {
			continue
		}
		at := victim
		if _, err := os.Stat(filepath.Join(corrupt, dir.Name(), at)); err != nil {
			at = classic
		}
		all = append(all, badPackage{dir.Name(), at, func(a *arena) []byte {
			data, err := os.ReadFile(filepath.Join(corrupt, dir.Name(), at))
			a.must(err)
			return data
		}, ""})
	}
	bomb := func(name string, data func() []byte) badPackage {
		return badPackage{"bomb in " + name, victim, func(a *arena) []byte {
			a.memory = 256 << 20
			return a.withMember(name, data())
		}, "more than 67108864 bytes"}
	}
	return append(all, bomb("metadata.tar.gz", gzipBomb), bomb("metadata.tar.zst", zstdBomb),
		bomb("metadata.tar.xz", xzBomb))
}

// The bombs take a while to make.
var (
	gzipBomb = sync.OnceValue(func() []byte { return repeated(gzipWriter, "\x00", 256<<20) })
	zstdBomb = sync.OnceValue(func() []byte { return repeated(zstdWriter, "\x00", 256<<20) })
	// streams, one behind the other
	xzBomb = sync.OnceValue(func() []byte {
		return bytes.Repeat(repeated(xzWriter, "\x00", 1<<20), 65)
	})
)

// packageAttacks: bad packages signed by a host that vouches for them, met by an import that looks.
func packageAttacks(t *testing.T) []attack {
	var all []attack
	for _, bad := range badPackages(t) {
		all = append(all, attack{bad.name, func(a *arena) {
			a.opts.Check = true
			a.makeRoom(bad.at)
			data := bad.data(a)
			a.resign(func(s *statement) { s.pretend(a, bad.at, data) })
		}, leftOut, bad.want})
	}
	return all
}

// makeRoom removes a package of the client's own that has a name of the origin's.
func (a *arena) makeRoom(at string) {
	if os.Remove(filepath.Join(a.client.PKGDIR, at)) == nil {
		_, err := reindex.Index(a.t.Context(), a.client, reindex.IndexOptions{}, nil)
		a.must(err)
	}
}

// Bad packages do not leave the host. An import takes the exporting side's word for what is inside,
// so this is where they are found.
func TestBadPackagesStayOnTheHost(t *testing.T) {
	p := newTemplate(t)
	for _, bad := range badPackages(t) {
		t.Run(strings.ReplaceAll(bad.name, " ", "-"), func(t *testing.T) {
			a := p.arena(t)
			data := bad.data(a)
			// some are its bytes under another name
			a.must(os.Remove(filepath.Join(a.host.PKGDIR, victim)))
			a.must(os.WriteFile(filepath.Join(a.host.PKGDIR, bad.at), data, 0o644))
			report := mustExport(t, a.host, exporter.ExportOptions{Drive: a.drive,
				NoReadBack: true})
			if !slices.ContainsFunc(report.LeftOut, func(it payload.Item) bool {
				return it.Path == bad.at && strings.Contains(it.Reason, bad.want) && it.Hint != ""
			}) {
				t.Errorf("left out %v", report.LeftOut)
			}
		})
	}
}

// The signed facts state by which rules the exporting side looked through a package. An import
// looks itself where those are not its own, and where it is told to.
func TestVouchedPackages(t *testing.T) {
	p := newTemplate(t)
	const bad = "../../testdata/golden/corrupt/g25-no-image/" + victim
	data, err := os.ReadFile(bad)
	if err != nil {
		t.Fatal(err)
	}
	rules := func(n int) func(*statement) {
		return func(s *statement) {
			i := slices.IndexFunc(s.facts.Packages, func(f layout.PackageFacts) bool {
				return f.Path == victim
			})
			s.facts.Packages[i].Rules = n
		}
	}
	for _, c := range []struct {
		name   string
		check  bool
		change func(*statement)
		looks  bool
	}{
		{"by today's rules", false, rules(binpkg.Rules), false},
		{"by today's rules, and told to look", true, rules(binpkg.Rules), true},
		{"by none", false, rules(0), true},
		{"by older rules", false, rules(binpkg.Rules - 1), true},
		{"by newer rules", false, rules(binpkg.Rules + 1), true},
		{"facts without the package", false, func(s *statement) {
			s.facts.Packages = slices.DeleteFunc(s.facts.Packages,
				func(f layout.PackageFacts) bool { return f.Path == victim })
		}, true},
		{"without facts", false, func(s *statement) { s.facts = nil }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := p.arena(t)
			a.opts.Check = c.check
			a.resign(func(s *statement) { s.pretend(a, victim, data); c.change(s) })
			report, err := importer.Import(t.Context(), a.client, a.opts, nil)
			a.must(err)
			if looked := len(reasons(report)) > 0; looked != c.looks {
				t.Errorf("left out %q", reasons(report))
			}
			for _, it := range report.Origins[0].LeftOut {
				if !strings.Contains(it.Hint, "pkgsneak export "+fault.Quote(a.drive)) {
					t.Errorf("%s has the hint %q", it.Path, it.Hint)
				}
			}
			for _, problem := range indexFaults(t, a.client.PKGDIR) {
				t.Error(problem)
			}
		})
	}
}

// withMember is the victim with another archive of metadata.
func (a *arena) withMember(name string, data []byte) []byte {
	f, err := os.Open(filepath.Join(a.host.PKGDIR, victim))
	a.must(err)
	defer f.Close()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	var list strings.Builder
	add := func(dir, base string, data []byte) {
		a.must(w.WriteHeader(&tar.Header{Name: dir + base, Size: int64(len(data)), Mode: 0o644,
			Format: tar.FormatUSTAR}))
		_, err := w.Write(data)
		a.must(err)
		fmt.Fprintf(&list, "DATA %s %d SHA512 %x BLAKE2B %x\n", base, len(data),
			sha512.Sum512(data), digest.Bytes(data))
	}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		a.must(err)
		was, err := io.ReadAll(r)
		a.must(err)
		switch dir, base := filepath.Split(h.Name); {
		case strings.HasPrefix(base, "metadata."):
			add(dir, name, data)
		case base == "Manifest":
			add(dir, base, []byte(list.String()))
		default:
			add(dir, base, was)
		}
	}
	a.must(w.Close())
	return out.Bytes()
}

func zstdWriter(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
}

func gzipWriter(w io.Writer) (io.WriteCloser, error) {
	return gzip.NewWriterLevel(w, gzip.BestSpeed)
}

func xzWriter(w io.Writer) (io.WriteCloser, error) {
	return xz.WriterConfig{DictCap: 1 << 20}.NewWriter(w)
}

// repeated packs a text that is repeated to about a size in bytes, which is not in memory at any
// time.
func repeated(compressor func(io.Writer) (io.WriteCloser, error), text string, size int) []byte {
	var out bytes.Buffer
	w, err := compressor(&out)
	if err != nil {
		panic(err)
	}
	unit := max(1, len(text))
	piece := []byte(strings.Repeat(text, max(1, min(1<<20, size)/unit)))
	for left := size / unit * unit; left > 0; {
		n, err := w.Write(piece[:min(left, len(piece))])
		if err != nil {
			panic(err)
		}
		left -= n
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// clientAttacks: what lies on the client already, put there by whoever may write to PKGDIR.
func clientAttacks() []attack {
	pkg := func(a *arena, name string) string { return filepath.Join(a.client.PKGDIR, name) }
	dist := func(a *arena, name string) string { return filepath.Join(a.client.DISTDIR, name) }
	return []attack{
		{"category is a link that leads out", func(a *arena) {
			a.must(os.Symlink(a.beside, pkg(a, "app-misc/labhello")))
		}, leftOut, victim},
		{"category is a link that leads nowhere", func(a *arena) {
			a.must(os.Symlink("/nowhere/at/all", pkg(a, "app-misc/labhello")))
		}, leftOut, victim},
		{"category is a link that leads in", func(a *arena) {
			a.must(os.Symlink("../virtual", pkg(a, "app-misc/labhello")))
		}, leftOut, victim},
		{"category is a file", func(a *arena) {
			write(a.t, pkg(a, "app-misc/labhello"), "local\n")
		}, leftOut, victim},
		{"category is a FIFO", func(a *arena) { a.must(mkfifo(pkg(a, "app-misc/labhello"))) },
			leftOut, victim},
		{"package is a link that leads out", func(a *arena) {
			a.must(os.Mkdir(pkg(a, "app-misc/labhello"), 0o755))
			a.must(os.Symlink(filepath.Join(a.beside, "precious"), pkg(a, victim)))
		}, harmless, ""},
		{"package is a link to what does not exist", func(a *arena) {
			a.must(os.Mkdir(pkg(a, "app-misc/labhello"), 0o755))
			a.must(os.Symlink(filepath.Join(a.beside, "new"), pkg(a, victim)))
		}, harmless, ""},
		{"package is a directory", func(a *arena) { a.must(os.MkdirAll(pkg(a, victim), 0o755)) },
			harmless, ""},
		{"package is a FIFO", func(a *arena) {
			a.must(os.Mkdir(pkg(a, "app-misc/labhello"), 0o755))
			a.must(mkfifo(pkg(a, victim)))
		}, harmless, ""},
		{"staging is a link", func(a *arena) { a.must(os.Symlink(a.beside, pkg(a, ".pkgsneak"))) },
			refused, ".pkgsneak"},
		{"staging is a file", func(a *arena) { write(a.t, pkg(a, ".pkgsneak"), "x") },
			refused, ".pkgsneak"},
		{"staging has links", func(a *arena) {
			a.must(os.Mkdir(pkg(a, ".pkgsneak"), 0o755))
			data, err := os.ReadFile(filepath.Join(a.host.PKGDIR, victim))
			a.must(err)
			sum := digest.Bytes(data)
			for _, suffix := range []string{"", ".part"} {
				a.must(os.Symlink(filepath.Join(a.beside, "precious"),
					pkg(a, ".pkgsneak/"+hex.EncodeToString(sum[:16])+suffix)))
			}
			a.forgetStaging()
		}, harmless, ""},
		{"staged file is another one", func(a *arena) {
			data, err := os.ReadFile(filepath.Join(a.host.PKGDIR, victim))
			a.must(err)
			sum := digest.Bytes(data)
			write(a.t, pkg(a, ".pkgsneak/"+hex.EncodeToString(sum[:16])),
				strings.Repeat("e", len(data)))
			a.forgetStaging()
		}, harmless, ""},
		{"lock is a link", func(a *arena) {
			a.forgetStaging()
			a.must(os.Symlink(filepath.Join(a.beside, "lock"),
				pkg(a, ".Packages.portage_lockfile")))
		}, refused, "lock"},
		{"index is a link that leads out", func(a *arena) {
			a.forgetStaging()
			a.must(os.Rename(pkg(a, "Packages"), filepath.Join(a.beside, "Packages")))
			a.must(os.Symlink(filepath.Join(a.beside, "Packages"), pkg(a, "Packages")))
		}, refused, "leads out of PKGDIR"},
		{"distfile is a link that leads out", func(a *arena) {
			a.must(os.Symlink(filepath.Join(a.beside, "precious"), dist(a, tarball)))
		},
			leftOut, tarball},
		{"distfile is a link that leads out, and may be replaced", func(a *arena) {
			a.opts.Replace = true // replaces the link, and not what it leads to
			a.must(os.Symlink(filepath.Join(a.beside, "precious"), dist(a, tarball)))
			a.disposable = append(a.disposable, dist(a, tarball))
		}, harmless, ""},
		{"distfile is a directory", func(a *arena) { a.must(os.Mkdir(dist(a, tarball), 0o755)) },
			leftOut, tarball},
		{"distfile is a FIFO", func(a *arena) { a.must(mkfifo(dist(a, tarball))) },
			leftOut, tarball},
		{"distfile's staging is a link", func(a *arena) {
			a.forgetStaging()
			a.must(os.Symlink(a.beside, dist(a, ".pkgsneak")))
		}, refused, ".pkgsneak"},
		{"local files are pruned", func(a *arena) {
			a.imported()
			a.opts.Prune = true
			a.resign(func(s *statement) {
				s.list.Timestamp = s.list.Timestamp.Add(time.Hour)
				s.drop(slices.Collect(func(yield func(string) bool) {
					for _, f := range s.list.Files {
						if strings.HasPrefix(f.Path, "packages/") &&
							f.Path != layout.PackagesFile && !yield(f.Path) {
							return
						}
					}
				})...)
				s.index, _, _ = strings.Cut(s.index, "\n\n")
				s.index += "\n\n"
			})
			a.pruned()
		}, harmless, ""},
	}
}

// forgetStaging takes leftovers of staging out of what has to stay.
func (a *arena) forgetStaging() {
	for _, dir := range []string{a.client.PKGDIR, a.client.DISTDIR} {
		a.disposable = append(a.disposable, filepath.Join(dir, ".pkgsneak"))
	}
}

// pruned takes what came from the origin out of what has to stay.
func (a *arena) pruned() {
	a.t.Helper()
	st, err := state.Open(a.t.Context(), a.client.StateDir, state.Options{ReadOnly: true})
	a.must(err)
	defer st.Close()
	brought, err := st.Imports(state.OriginID{Key: a.key.key(a.t, 0).Fingerprint(), Name: "host"},
		payload.Package)
	a.must(err)
	for _, i := range brought {
		a.disposable = append(a.disposable, filepath.Join(a.client.PKGDIR, i.Local))
	}
}
