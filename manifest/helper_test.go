package manifest

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

var (
	keyTime  = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	signTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func newKey(t testing.TB, name string) *PrivateKey {
	t.Helper()
	k, err := GenerateKey(name, keyTime)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sum returns a digest that depends on s.
func sum(s string) (d Digest) {
	copy(d[:], strings.Repeat(s+"|", 64))
	return d
}

func sampleList() *List {
	return &List{
		Timestamp: signTime,
		Files: []File{
			{Path: "generation/1772366400.json", Size: 2, Sum: sum("record")},
			{Path: "packages/Packages", Size: 0, Sum: sum("index")},
			{Path: "packages/app-misc/a blank.tbz2", Size: MaxFileSize, Sum: sum("package")},
		},
		Ignore: []string{"Manifest.next"},
	}
}

func mustSign(t testing.TB, l *List, k *PrivateKey, at time.Time) []byte {
	t.Helper()
	data, err := Sign(l, k, at)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// forge clear-signs any text, with a signature that edit may spoil first.
func forge(t testing.TB, k *PrivateKey, text string, edit func(*packet.Signature)) []byte {
	t.Helper()
	sig := newSignature(k.secret().key, packet.SigTypeText, signTime)
	if edit != nil {
		edit(sig)
	}
	h := sig.Hash.New()
	hashText(h, []byte(text))
	if err := sig.Sign(h, k.secret().key, signConfig()); err != nil {
		t.Fatal(err)
	}
	armored, err := armorSignaturePacket(sig)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.ReplaceAll(sig.Hash.String(), "-", "")
	return []byte(beginMessage + "Hash: " + name + "\n\n" + text + string(armored))
}

// impostor returns a key that signs with k's secret and claims to be other.
func impostor(k, other *PrivateKey) *PrivateKey {
	secret := *k.secret().key
	secret.Fingerprint, secret.KeyId = other.secret().key.Fingerprint, other.secret().key.KeyId
	return &PrivateKey{func() secretKey { return secretKey{key: &secret} }, other.public}
}

func withHash(h crypto.Hash) func(*packet.Signature) {
	return func(sig *packet.Signature) { sig.Hash = h }
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A kind names the type of an error for tables.
type kind string

const (
	accepted   kind = "accepted"
	notSigned  kind = "ErrNotSigned"
	unknownKey kind = "UnknownKeyError"
	badSig     kind = "SignatureError"
	badKey     kind = "KeyError"
	badFormat  kind = "FormatError"
)

func kindOf(err error) kind {
	var (
		unknown *UnknownKeyError
		sig     *SignatureError
		key     *KeyError
		format  *FormatError
	)
	switch {
	case err == nil:
		return accepted
	case errors.Is(err, ErrNotSigned):
		return notSigned
	case errors.As(err, &unknown):
		return unknownKey
	case errors.As(err, &sig):
		return badSig
	case errors.As(err, &key):
		return badKey
	case errors.As(err, &format):
		return badFormat
	}
	return kind(fmt.Sprintf("%T", err))
}

func mustRead(t testing.TB, data []byte) *PublicKey {
	t.Helper()
	k, err := ReadPublicKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A gpgHome is a fresh GNUPGHOME for the real gpg.
type gpgHome struct {
	t   testing.TB
	dir string
}

// newGPG skips the test, with the reason, where there is no gpg.
func newGPG(t testing.TB) *gpgHome {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("SKIPPED: gpg is not in PATH, so nothing was compared with it")
	}
	dir, err := os.MkdirTemp("", "gpg") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	g := &gpgHome{t, dir}
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--homedir", dir, "--kill", "all")
		if err := stop.Run(); err != nil {
			t.Logf("stop the agent: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	return g
}

// run runs gpg at a faked time, and returns what it wrote.
func (g *gpgHome) run(at time.Time, stdin []byte, args ...string) (stdout,
	stderr string, err error) {
	common := []string{"--homedir", g.dir, "--batch", "--no-tty", "--status-fd", "2",
		"--pinentry-mode", "loopback",
		"--passphrase", "", "--faked-system-time", at.UTC().Format("20060102T150405") + "!"}
	cmd := exec.Command("gpg", append(common, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (g *gpgHome) must(at time.Time, stdin []byte, args ...string) (stdout, stderr string) {
	g.t.Helper()
	out, errs, err := g.run(at, stdin, args...)
	if err != nil {
		g.t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, errs)
	}
	return out, errs
}

// verify returns whether gpg finds exactly one signature and that good, and the
// text that it then takes for the signed one.
func (g *gpgHome) verify(at time.Time, data []byte) (text string, good bool) {
	out, status, err := g.run(at, data, "--decrypt")
	good = err == nil &&
		strings.Count(status, "[GNUPG:] NEWSIG") == 1 &&
		strings.Count(status, "[GNUPG:] GOODSIG") == 1 &&
		strings.Count(status, "[GNUPG:] VALIDSIG") == 1
	return out, good
}

// frugal fails a test in which f allocates more than most bytes.
func frugal(t *testing.T, most uint64, f func()) {
	t.Helper()
	allocated := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before := allocated()
	f()
	if took := allocated() - before; took > most {
		t.Errorf("%d bytes were allocated, more than %d", took, most)
	}
}
