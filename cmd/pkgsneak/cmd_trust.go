package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"pkgsneak/manifest"
	"pkgsneak/sync"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/ledger"
)

func trustCommand(f *face) *cli.Command {
	return &cli.Command{
		Name:      "trust",
		Category:  "keys",
		Usage:     "whose drives this machine imports",
		ArgsUsage: "DRIVE|FILE",
		UsageText: "trust DRIVE|FILE [--fingerprint FPR]\ntrust list\ntrust remove FPR",
		Description: "Shows the keys that a drive offers, or the key in a file (\"-\": standard input), and asks for each whether it\n" +
			"is trusted from now on. Compare the fingerprint with what \"pkgsneak key\" shows on the build host: a key is not\n" +
			"to be trusted for lying on the drive. Scripts give the fingerprint with --fingerprint and are not asked.\n" +
			"A drive or file that is called list or remove is ./list or ./remove.",
		Flags:  flags(common, trusting),
		Action: f.action(1, 1, trustKeys),
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "the keys that are trusted", Flags: flags(common), Action: f.action(0, 0, trustList)},
			{Name: "remove", Usage: "trust a key no longer", ArgsUsage: "FPR", Flags: flags(common), Action: f.action(1, 1, trustRemove)},
		},
	}
}

// trustReport is what trust did, in JSON.
type trustReport struct {
	Trusted []keyReport `json:"trusted"`           // from now on
	Already []keyReport `json:"already,omitempty"` // trusted before
}

func trustKeys(c *call) error {
	want, err := c.wantedKey()
	if err != nil {
		return err
	}
	offered, err := c.offeredKeys(c.args[0])
	if err != nil {
		return err
	}
	if want != "" {
		key, ok := offered.Find(want)
		if !ok {
			return withHint(fmt.Errorf("%q offers no key with the fingerprint %s: %w", c.args[0], want.Grouped(), manifest.ErrUntrusted),
				"it offers %s", fingerprints(offered))
		}
		offered = manifest.Ring{key}
	}
	l, err := c.openLedger(false)
	if err != nil {
		return err
	}
	defer l.Close()
	return c.enrol(l, offered, want != "")
}

// wantedKey is what --fingerprint says.
func (c *call) wantedKey() (manifest.Fingerprint, error) {
	s := c.opt.fingerprint
	if s == "" {
		return "", nil
	}
	f, err := manifest.ParseFingerprint(s)
	if err != nil {
		return "", &usageError{err}
	}
	return f, nil
}

func fingerprints(ring manifest.Ring) string {
	var all []string
	for _, k := range ring {
		all = append(all, k.Fingerprint().Grouped())
	}
	return strings.Join(all, ", ")
}

// enrol trusts keys, after a question unless they are confirmed.
func (c *call) enrol(l *ledger.Ledger, offered manifest.Ring, confirmed bool) error {
	ring, err := l.Trusted()
	if err != nil {
		return err
	}
	report := trustReport{Trusted: []keyReport{}}
	declined := false
	for _, key := range offered {
		have, known := ring.Find(key.Fingerprint())
		if known && key.Revoked() && !have.Revoked() {
			if err := l.Trust(key); err != nil {
				return err
			}
			have = key
		}
		if known && (have.Revoked() || !renews(key, have)) {
			c.known(have)
			report.Already = append(report.Already, newKeyReport(have))
			continue
		}
		c.introduce(key, ring)
		if known {
			c.out.say("%s it is trusted already, and its expiry was changed", bold("note:"))
		}
		if !confirmed {
			yes, err := c.confirmKey(key)
			if err != nil {
				return err
			}
			if !yes {
				declined = true
				continue
			}
		}
		if err := l.Trust(key); err != nil {
			return err
		}
		c.out.say("%s", green("trusted from now on"))
		report.Trusted = append(report.Trusted, newKeyReport(key))
	}
	if declined && len(report.Trusted) == 0 {
		return sync.ErrDeclined
	}
	c.result(exitDone, report)
	return nil
}

// renews reports whether an offered key has another expiry than the trusted copy.
func renews(offered, have *manifest.PublicKey) bool {
	was, had := have.Expires()
	is, has := offered.Expires()
	return had != has || !was.Equal(is)
}

// known says that there is nothing to do about a key.
func (c *call) known(key *manifest.PublicKey) {
	if key.Revoked() {
		c.out.warn("%s %s is revoked by its owner: nothing makes it trusted again", key.Fingerprint().Grouped(), key.UserID())
		return
	}
	c.out.say("%s %s is trusted already", key.Fingerprint().Grouped(), key.UserID())
}

// introduce shows a key that may be trusted, and what speaks for or against it.
func (c *call) introduce(key *manifest.PublicKey, ring manifest.Ring) {
	c.describeKey(key)
	now := c.env.now()
	if err := key.Check(now); err != nil && !now.Before(key.Created()) {
		c.out.warn("%v", err)
	}
	if by, ok := key.CertifiedBy(ring, now); ok {
		known, _ := ring.Find(by)
		c.out.say("%s it was certified by %s %s, which is trusted here", bold("note:"), by.Grouped(), known.UserID())
	}
}

func (c *call) confirmKey(key *manifest.PublicKey) (bool, error) {
	if !c.out.asks {
		return false, withHint(usageErrorf("trust asks before it trusts a key, and there is no terminal"),
			"pkgsneak trust %s --fingerprint %s", shellWord(c.args[0]), key.Fingerprint())
	}
	c.out.notice("Compare it with what \"pkgsneak key\" shows on the build host.")
	return c.out.ask("Trust this key?")
}

// offeredKeys reads the keys on a drive, or the one in a file.
func (c *call) offeredKeys(where string) (manifest.Ring, error) {
	if info, err := os.Stat(where); err == nil && info.IsDir() {
		return c.driveKeys(where)
	}
	data, err := c.readInput(where, manifest.MaxKey)
	if err != nil {
		return nil, err
	}
	key, err := manifest.ReadPublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", where, err)
	}
	return manifest.Ring{key}, nil
}

func (c *call) driveKeys(mount string) (manifest.Ring, error) {
	d, err := drive.Open(mount)
	if err != nil {
		return nil, fmt.Errorf("trust %q: %w", mount, err)
	}
	defer d.Close()
	offers, err := d.Keys()
	if err != nil {
		return nil, err
	}
	var ring manifest.Ring
	for _, o := range offers {
		if o.Err != nil {
			c.out.warn("%q on the drive is left out: %v", o.Path, o.Err)
			continue
		}
		ring = append(ring, o.Key)
	}
	if len(ring) == 0 {
		return nil, fmt.Errorf("%q offers no key", mount)
	}
	return ring, nil
}

func trustList(c *call) error {
	l, err := c.openLedger(true)
	if err != nil {
		return err
	}
	defer l.Close()
	ring, err := l.Trusted()
	if err != nil {
		return err
	}
	report := struct {
		Keys []keyReport `json:"keys"`
	}{Keys: []keyReport{}}
	for _, k := range ring {
		c.out.say("%s  %s  %s%s", k.Fingerprint().Grouped(), k.Created().Local().Format("2006-01-02"), k.UserID(), c.keyProblem(k))
		report.Keys = append(report.Keys, newKeyReport(k))
	}
	if len(ring) == 0 {
		c.out.notice("no key is trusted; with a drive at hand: pkgsneak trust DRIVE")
	}
	c.result(exitDone, report)
	return nil
}

// keyProblem says why a trusted key is not believed, "" if it is. A clock that is before the key says nothing.
func (c *call) keyProblem(k *manifest.PublicKey) string {
	now := c.env.now()
	if now.Before(k.Created()) {
		now = k.Created()
	}
	var problem *manifest.KeyError
	if errors.As(k.Check(now), &problem) {
		return "  (" + problem.Reason + ")"
	}
	return ""
}

func trustRemove(c *call) error {
	l, err := c.openLedger(false)
	if err != nil {
		return err
	}
	defer l.Close()
	ring, err := l.Trusted()
	if err != nil {
		return err
	}
	key, err := pickKey(ring, c.args[0])
	if err != nil {
		return err
	}
	if err := l.Distrust(key.Fingerprint()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.out.say("%s %s is trusted no longer", key.Fingerprint().Grouped(), key.UserID())
	c.result(exitDone, newKeyReport(key))
	return nil
}

// pickKey finds the trusted key that a fingerprint, or its last 16 digits, names.
func pickKey(ring manifest.Ring, name string) (*manifest.PublicKey, error) {
	digits := strings.ToUpper(strings.Join(strings.Fields(name), ""))
	digits = strings.TrimPrefix(digits, "0X")
	var found *manifest.PublicKey
	for _, k := range ring {
		if f := k.Fingerprint(); string(f) != digits && f.Short() != digits {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%q names more than one trusted key", name)
		}
		found = k
	}
	if found == nil {
		return nil, withHint(fmt.Errorf("no trusted key has the fingerprint %q", name), "pkgsneak trust list")
	}
	return found, nil
}
