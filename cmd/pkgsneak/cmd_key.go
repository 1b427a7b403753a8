package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pkgsneak/manifest"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/state"
)

func keyVerb(f *commandLine) verb {
	return verb{
		Command: &cli.Command{
			Name:      "key",
			Category:  "keys",
			Usage:     "this machine's signing key",
			ArgsUsage: "[show|generate|import FILE|rotate|renew|revocation]",
			UsageText: "key [show] [--armor]\nkey generate [--name NAME]\nkey import FILE [--retire]\nkey rotate [--name NAME] [--revoke]\nkey renew [--name NAME]\nkey revocation",
			Description: "The exports of this machine are signed with one OpenPGP key (Ed25519, no\n" +
				"passphrase, mode 0600 in the state directory). export makes it when there is none;\n" +
				"import takes a private key that gpg exported (gpg --armor --export-secret-keys),\n" +
				"\"-\" from standard input. A key that is there is never replaced but by rotate, by\n" +
				"import with itself when its expiry was changed, or by import --retire: a lost key\n" +
				"that came back takes the place of the one that was made without it, which is kept\n" +
				"with the former ones.\n\n" +
				"rotate makes a new key, which the old one introduces: clients are asked once, or\n" +
				"take it with --accept-rotation. If the old key may be in wrong hands, rotate\n" +
				"--revoke withdraws it instead: clients that see the next export accept it no\n" +
				"longer, and have to trust the new one by its fingerprint.\n\n" +
				"After an export with a clock that was far ahead, set it right, and renew gives the\n" +
				"origin of PKGDIR a new name: its numbers, which are times, start anew. Clients\n" +
				"take over what came in under the old name with the next import.\n\n" +
				"revocation prints a certificate to be kept in a safe place: who has it can end the\n" +
				"key without having the key, by putting it on a drive as\n" +
				"pkgsneak/keys/FINGERPRINT.rev.asc.",
			Flags:  flags(common, noProgress, publicKey),
			Action: f.action(0, 0, keyShow),
			Subcommands: []*cli.Command{
				{Name: "show", Usage: "fingerprint of the key",
					Flags: flags(common, noProgress, publicKey), Action: f.action(0, 0, keyShow)},
				{Name: "generate", Usage: "make a key", Flags: flags(common, noProgress, newKey),
					Action: f.action(0, 0, keyGenerate)},
				{Name: "import", Usage: "take a private key from a file", ArgsUsage: "FILE",
					Flags: flags(common, noProgress, retiring), Action: f.action(1, 1, keyImport)},
				{Name: "rotate", Usage: "sign with a new key from now on", Flags: flags(common,
					noProgress, newKey, revoking), Action: f.action(0, 0, keyRotate)},
				{Name: "renew",
					Usage: "a new name for this origin, after an export with a clock far ahead",
					Flags: flags(common, noProgress, newName, dirs, lock), Action: f.action(0,
						0, keyRenew)},
				{Name: "revocation", Usage: "print a revocation certificate",
					Flags: flags(common, noProgress), Action: f.action(0, 0, keyRevocation)},
			},
		},
		examples: []example{
			{"pkgsneak key",
				"Shows the fingerprint, to be compared with what trust shows on a client."},
			{"pkgsneak key revocation > revocation.asc",
				"Keeps a certificate that ends the key, should it come into wrong hands."},
		},
		results: map[string][]any{
			"":           {keyReport{}},
			"generate":   {keyReport{}},
			"import":     {keyReport{}},
			"renew":      {exporter.Renewed{}},
			"revocation": {revocationReport{}},
			"rotate":     {rotated{}},
			"show":       {keyReport{}},
		},
	}
}

// keyReport is a public key in JSON.
type keyReport struct {
	Fingerprint manifest.Fingerprint `json:"fingerprint"`
	UserID      string               `json:"user_id"`
	Created     time.Time            `json:"created"`
	Expires     *time.Time           `json:"expires,omitempty"`
	Revoked     bool                 `json:"revoked,omitempty"`
	Armor       string               `json:"armor,omitempty"`
}

func newKeyReport(k *manifest.PublicKey) keyReport {
	r := keyReport{Fingerprint: k.Fingerprint(), UserID: k.UserID(), Created: k.Created(),
		Revoked: k.Revoked()}
	if at, ok := k.Expires(); ok {
		r.Expires = &at
	}
	return r
}

// openState opens the state directory; it is the caller's to close.
func (c *invocation) openState(readOnly bool) (*state.Dir, error) {
	return state.Open(c.ctx, c.stateDir(), state.Options{ReadOnly: readOnly, Hook: c.env.hook})
}

// signingKey returns the key that this machine signs with, which a command needs.
func signingKey(c *invocation, st *state.Dir) (*manifest.PrivateKey, error) {
	key, err := st.SigningKey()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("there is no signing key in %q", c.stateDir()),
			"export makes one, and so does: pkgsneak key generate")
	}
	return key, err
}

// keyName is whose key a new one is.
func keyName(c *invocation) string {
	return cmp.Or(c.opt.keyName, "pkgsneak on "+c.env.hostname)
}

func keyShow(c *invocation) error {
	st, err := c.openState(true)
	if err != nil {
		return err
	}
	defer st.Close()
	key, err := signingKey(c, st)
	if err != nil {
		return err
	}
	public := key.Public()
	report := newKeyReport(public)
	if c.opt.armor {
		report.Armor = string(public.Armor())
		if !c.out.json {
			c.out.put("%s", raw(strings.TrimSuffix(report.Armor, "\n")))
		}
	} else {
		c.describeKey(public)
	}
	c.result(exitDone, report)
	return nil
}

// describeKey shows a key to a person.
func (c *invocation) describeKey(k *manifest.PublicKey) {
	c.out.say("%s  %s", bold("fingerprint"), k.Fingerprint().Grouped())
	c.out.say("%s      %s", bold("user id"), k.UserID())
	c.out.say("%s         %s", bold("made"), day(k.Created()))
	if at, ok := k.Expires(); ok {
		c.out.say("%s      %s", bold("expires"), day(at))
	}
	if k.Revoked() {
		c.out.say("%s      %s", bold("revoked"), "yes")
	}
}

func keyGenerate(c *invocation) error {
	key, err := manifest.GenerateKey(keyName(c), c.env.now())
	if err != nil {
		return err
	}
	return c.saveKey(key)
}

func keyImport(c *invocation) error {
	data, err := c.readInput(c.args[0], manifest.MaxKey)
	if err != nil {
		return err
	}
	key, err := manifest.ReadPrivateKey(data)
	if err != nil {
		return withHint(fmt.Errorf("%q: %w", c.args[0], err),
			"a private key without a passphrase is wanted: gpg --armor --export-secret-keys KEY >FILE, or a copy of signing.asc")
	}
	return c.saveKey(key)
}

// rotated is what rotate did, in JSON.
type rotated struct {
	keyReport
	Old     manifest.Fingerprint `json:"old_fingerprint"`
	Revoked bool                 `json:"old_revoked,omitempty"`
	// it had expired, or was revoked, before: it introduces nobody
	Ended bool `json:"old_ended,omitempty"`
}

func keyRotate(c *invocation) error {
	st, err := c.openState(false)
	if err != nil {
		return err
	}
	defer st.Close()
	old, err := signingKey(c, st)
	if err != nil {
		return err
	}
	now := c.env.now()
	if made := old.Public().Created(); now.Before(made) {
		now = made
	}
	next, err := manifest.GenerateKey(keyName(c), now)
	if err != nil {
		return err
	}
	report := rotated{Old: old.Public().Fingerprint(), Revoked: c.opt.revoke}
	switch report.Ended = old.Public().Check(now) != nil; {
	case report.Revoked:
		err = c.replaceRevoked(st, old, next, now)
	case report.Ended:
		err = st.ReplaceSigningKey(next)
	default:
		if next, err = next.IntroducedBy(old, now); err == nil {
			err = st.ReplaceSigningKey(next)
		}
	}
	if err != nil {
		return err
	}
	c.describeKey(next.Public())
	switch {
	case report.Revoked:
		c.out.say("takes the place of %s, which is revoked: the next export tells the clients",
			report.Old.Grouped())
	case report.Ended:
		c.out.say("takes the place of %s, which has ended and introduces nobody; on each client, after the next export: pkgsneak trust DRIVE --fingerprint %s --replaces %s",
			report.Old.Grouped(), next.Public().Fingerprint(), report.Old)
	default:
		c.out.say("takes the place of %s, which introduces it to the clients with the next export",
			report.Old.Grouped())
	}
	report.keyReport = newKeyReport(next.Public())
	c.result(exitDone, report)
	return nil
}

// keyRenew gives the origin of PKGDIR a new name, and prints what that means for drives and
// clients.
func keyRenew(c *invocation) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	r, err := exporter.Renew(c.ctx, machine, c.opt.keyName)
	if err != nil {
		return err
	}
	c.out.say("%s       %s, formerly %s", bold("origin"), r.Origin, r.Former)
	c.out.say("%s      start anew; the last one was of %s", bold("numbers"),
		when(time.Unix(r.Serial, 0), c.env.now()))
	if r.Remembered != nil {
		c.out.say("%s         %s, from a signature, is given up", bold("time"),
			when(*r.Remembered, c.env.now()))
	}
	c.out.say("next, here:      pkgsneak export DRIVE, which writes all files, beside what the drive has of %s", r.Former)
	clients := "on each client:  pkgsneak import DRIVE, which takes over what came from %s; nothing is copied again"
	if r.NewKey != "" {
		c.out.say("%s          %s; the old one, %s, was made in the future, and is replaced",
			bold("key"), r.NewKey.Grouped(), r.OldKey.Grouped())
		clients = "on each client:  pkgsneak trust DRIVE --fingerprint " + string(r.NewKey) +
			" --replaces " + string(r.OldKey) +
			"; then pkgsneak import DRIVE, which takes over what came from %s"
	}
	c.out.say(clients, r.Former)
	c.out.say("                 the time of the wrong clock is forgotten there with it; if that already ended a key: pkgsneak import DRIVE --accept-clock")
	c.out.say("then, here:      pkgsneak forget %s DRIVE", shellWord(r.Former))
	c.result(exitDone, r)
	return nil
}

func (c *invocation) replaceRevoked(st *state.Dir, old, next *manifest.PrivateKey,
	now time.Time) error {
	revoked, err := old.Revoked(now)
	if err != nil {
		return err
	}
	if err := st.ReplaceSigningKey(next); err != nil {
		return err
	}
	return st.SaveRetired(revoked)
}

// revocationReport is the result of key revocation.
type revocationReport struct {
	Fingerprint manifest.Fingerprint `json:"fingerprint"`
	Armor       string               `json:"armor"` // the certificate
}

func keyRevocation(c *invocation) error {
	st, err := c.openState(true)
	if err != nil {
		return err
	}
	defer st.Close()
	key, err := signingKey(c, st)
	if err != nil {
		return err
	}
	now := c.env.now()
	if made := key.Public().Created(); now.Before(made) {
		now = made
	}
	cert, err := key.Revocation(now)
	if err != nil {
		return err
	}
	if !c.out.json {
		c.out.put("%s", raw(strings.TrimSuffix(string(cert), "\n")))
		c.out.notice("whoever has this can end the key %s", key.Public().Fingerprint().Grouped())
	}
	c.result(exitDone, revocationReport{key.Public().Fingerprint(), string(cert)})
	return nil
}

func (c *invocation) saveKey(key *manifest.PrivateKey) error {
	st, err := c.openState(false)
	if err != nil {
		return err
	}
	defer st.Close()
	err = st.SaveSigningKey(key)
	have, e := st.SigningKey()
	switch {
	case !errors.Is(err, fs.ErrExist):
	case e != nil: // there is one that cannot be read
		err = e
	case have.Public().Fingerprint() == key.Public().Fingerprint():
		err = st.RenewSigningKey(key)
	case c.opt.retire:
		err = state.RestoreSigningKey(st, key, c.env.now())
	default:
		return withHint(fmt.Errorf("there is a signing key in %q already, %s, and it is never replaced by itself", c.stateDir(), have.Public().Fingerprint().Grouped()),
			"pkgsneak key show; a lost key that came back takes its place with: pkgsneak key import FILE --retire")
	}
	if err != nil {
		return err
	}
	c.describeKey(key.Public())
	if c.opt.retire && e == nil && have.Public().Fingerprint() != key.Public().Fingerprint() {
		c.out.say("takes the place of %s, which is kept with the former keys",
			have.Public().Fingerprint().Grouped())
	}
	c.result(exitDone, newKeyReport(key.Public()))
	return nil
}

// readInput reads a small file that a person names, "-" being standard input. More than limit bytes
// are an error.
func (c *invocation) readInput(name string, limit int64) ([]byte, error) {
	var r io.Reader = c.env.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", name, fault.Bare(err))
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, fault.Bare(err))
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %q: more than %d bytes", name, limit)
	}
	return data, nil
}
