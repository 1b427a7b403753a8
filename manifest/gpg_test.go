package manifest

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

// gpg itself signs, told to do it oddly: our reading must never be the looser one, and a text that
// is accepted must be the one that gpg takes for signed.
func TestGPGSignsOddly(t *testing.T) {
	t.Parallel()
	g := newGPG(t)
	text := readTestdata(t, "Manifest.gemato")
	now := signTime.AddDate(0, 0, 1)
	var ring Ring
	for _, name := range []string{"ed25519", "ed25519-subkey", "rsa2048", "ed25519-default"} {
		g.must(now, readTestdata(t, "keys/"+name+".secret.asc"), "--import")
		if key, err := ReadPublicKey(readTestdata(t, "keys/"+name+".asc")); err == nil {
			ring = append(ring, key)
		}
	}
	signer := string(mustRead(t, readTestdata(t, "keys/ed25519.asc")).Fingerprint())
	subkey := g.signingSubkey(now,
		string(mustRead(t, readTestdata(t, "keys/ed25519-subkey.asc")).Fingerprint()))
	rsa := g.fingerprint(now, readTestdata(t, "keys/rsa2048.secret.asc"))
	tests := []struct {
		name string
		text []byte
		args []string
		want kind // "": whatever, as long as gpg agrees
	}{
		{"plainly", text, []string{"-u", signer, "--clear-sign"}, accepted},
		{"SHA-256", text, []string{"-u", signer, "--digest-algo", "SHA256",
			"--clear-sign"}, accepted},
		{"SHA-384", text, []string{"-u", signer, "--digest-algo", "SHA384",
			"--clear-sign"}, accepted},
		{"with a notation", text, []string{"-u", signer, "-N", "a@example.org=b",
			"--clear-sign"}, accepted},
		{"with a critical notation", text, []string{"-u", signer, "-N", "!a@example.org=b",
			"--clear-sign"}, badSig},
		{"with a policy", text, []string{"-u", signer, "--sig-policy-url", "https://example.org",
			"--clear-sign"}, ""},
		{"with a critical policy", text, []string{"-u", signer, "--sig-policy-url",
			"!https://example.org", "--clear-sign"}, ""},
		{"with a key server", text, []string{"-u", signer, "--sig-keyserver-url",
			"https://example.org", "--clear-sign"}, ""},
		{"with a critical key server", text, []string{"-u", signer, "--sig-keyserver-url",
			"!https://example.org", "--clear-sign"}, ""},
		{"with the key in the signature", text, []string{"-u", signer, "--include-key-block",
			"--clear-sign"}, ""},
		{"with the sender's name", text, []string{"-u", signer, "--sender", "origin@example.org",
			"--clear-sign"}, ""},
		{"with an expiry to come", text, []string{"-u", signer, "--default-sig-expire", "30d",
			"--clear-sign"}, accepted},
		{"with an expiry that is over", text, []string{"-u", signer, "--default-sig-expire",
			"seconds=10", "--clear-sign"}, badSig},
		{"with a comment", text, []string{"-u", signer, "--comment", "x", "--clear-sign"}, badSig},
		{"with a version", text, []string{"-u", signer, "--emit-version", "--clear-sign"}, badSig},
		{"RIPEMD160", text, []string{"-u", rsa, "--digest-algo", "RIPEMD160",
			"--clear-sign"}, badSig},
		{"SHA-1", text, []string{"-u", rsa, "--digest-algo", "SHA1", "--clear-sign"}, badSig},
		{"SHA-224", text, []string{"-u", rsa, "--digest-algo", "SHA224", "--clear-sign"}, badSig},
		{"MD5", text, []string{"-u", rsa, "--allow-weak-digest-algos", "--digest-algo", "MD5",
			"--clear-sign"}, badSig},
		{"RSA", text, []string{"-u", rsa, "--clear-sign"}, badSig},
		{"with a subkey", text, []string{"-u", subkey + "!", "--clear-sign"}, unknownKey},
		{"with two keys", text, []string{"-u", signer, "-u", rsa, "--clear-sign"}, badSig},
		{"without escaped dashes", append([]byte("-x\n"), text...),
			[]string{"-u", signer, "--not-dash-escaped", "--clear-sign"}, badSig},
		{"a line that begins with a dash", append([]byte("-x\n"), text...),
			[]string{"-u", signer, "--clear-sign"}, badSig},
		{"lines that end in blanks", bytes.ReplaceAll(text, []byte("\n"), []byte(" \t\n")),
			[]string{"-u", signer, "--clear-sign"}, badSig},
		{"lines of DOS", bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
			[]string{"-u", signer, "--clear-sign"}, badSig},
		{"no newline at the end", bytes.TrimSuffix(text, []byte("\n")),
			[]string{"-u", signer, "--clear-sign"}, ""},
		{"no text", nil, []string{"-u", signer, "--clear-sign"}, ""},
		{"a NUL", append(slices.Clone(text), 0, '\n'), []string{"-u", signer, "--clear-sign"}, ""},
		{"a form feed", append(slices.Clone(text), "\f\n"...),
			[]string{"-u", signer, "--clear-sign"}, ""},
		{"a message instead", text, []string{"-u", signer, "--armor", "--sign"}, notSigned},
		{"a message that is not armored", text, []string{"-u", signer, "--sign"}, notSigned},
		{"beside the text", text, []string{"-u", signer, "--armor", "--detach-sign"}, notSigned},
		{"as in RFC 2440", text, []string{"-u", signer, "--rfc2440", "--clear-sign"}, ""},
		{"as in RFC 4880", text, []string{"-u", signer, "--rfc4880", "--clear-sign"}, ""},
	}
	made, good := 0, 0
	for _, test := range tests {
		data, errs, err := g.run(signTime, test.text,
			append([]string{"--output", "-"}, test.args...)...)
		if err != nil {
			t.Logf("%s: gpg does not: %v %s", test.name, err, clip(errs))
			continue
		}
		made++
		for _, at := range []time.Time{now, signTime.Add(time.Second), time.Unix(0, 0)} {
			signed, err := Open([]byte(data), ring, at)
			late := latestOf(at, signTime)
			gpgText, gpgGood := g.verify(late, []byte(data))
			switch {
			case err == nil && !gpgGood:
				t.Errorf("%s: accepted here, refused by gpg", test.name)
			case err == nil:
				good++
				if ours, err := signed.MarshalText(); err != nil || string(ours) != gpgText {
					t.Errorf("%s: %v: another text\n%s\nthan gpg's\n%s", test.name, err,
						ours, gpgText)
				}
			}
			if test.want != "" && at.Equal(now) && kindOf(err) != test.want {
				t.Errorf("%s: %v, want %s\n%s", test.name, err, test.want, clip(data))
			}
		}
	}
	t.Logf("%d odd ways to sign, of which gpg knows %d; accepted %d times", len(tests), made, good)
	if made < 25 {
		t.Errorf("gpg made only %d of %d signatures", made, len(tests))
	}
}

func latestOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fingerprint is that of the primary key in a file.
func (g *gpgHome) fingerprint(at time.Time, key []byte) string {
	g.t.Helper()
	out, _ := g.must(at, key, "--with-colons", "--show-keys")
	return colons(g.t, out, "fpr")[0]
}

// signingSubkey is the fingerprint of the first subkey of a key that is for signing.
func (g *gpgHome) signingSubkey(at time.Time, primary string) string {
	g.t.Helper()
	out, _ := g.must(at, nil, "--with-colons", "--with-subkey-fingerprint", "--list-keys", primary)
	wanted := false
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), ":")
		switch {
		case f[0] == "sub":
			wanted = strings.Contains(f[11], "s")
		case f[0] == "fpr" && wanted:
			return f[9]
		}
	}
	g.t.Fatalf("no subkey for signing:\n%s", out)
	return ""
}

// colons gives the tenth field of the lines of a kind.
func colons(t testing.TB, out, kind string) (values []string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if f := strings.Split(line, ":"); f[0] == kind && len(f) > 9 {
			values = append(values, f[9])
		}
	}
	if len(values) == 0 {
		t.Fatalf("no line %q in\n%s", kind, out)
	}
	return values
}
