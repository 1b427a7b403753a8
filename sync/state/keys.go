package state

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pkgsneak/manifest"
)

// SigningKey returns the key this machine signs with; fs.ErrNotExist if it has none.
func (st *Dir) SigningKey() (*manifest.PrivateKey, error) { return privateKey(st, signingName) }

// ClientKey returns the key with which this machine signs its requests; fs.ErrNotExist if it has
// none.
func ClientKey(st *Dir) (*manifest.PrivateKey, error) { return privateKey(st, clientKeyName) }

func privateKey(st *Dir, name string) (*manifest.PrivateKey, error) {
	return readKey(st, name, manifest.ReadPrivateKey)
}

// readKey reads a key out of a state file.
func readKey[Key any](st *Dir, name string, parse func([]byte) (Key, error)) (k Key, err error) {
	data, err := st.read(name, manifest.MaxKey)
	if err != nil {
		return k, err
	}
	if k, err = parse(data); err != nil {
		return k, st.odd(name, 0, err)
	}
	return k, nil
}

// keyFiles lists the files with keys in a directory, sorted.
func keyFiles(st *Dir, dir string) ([]string, error) {
	names, err := st.names(dir)
	return slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(path.Base(name), ".") || !strings.HasSuffix(name, keySuffix)
	}), err
}

// SaveSigningKey stores the first key. It returns fs.ErrExist if there is one: a machine that signs
// with another key is another origin to every client, so that step is the administrator's.
func (st *Dir) SaveSigningKey(k *manifest.PrivateKey) error {
	if err := k.Public().CheckOrigin(); err != nil {
		return fmt.Errorf("saving the signing key %s: %w", k.Public().Fingerprint(), err)
	}
	return saveFirst(st, "the signing key", signingName, k)
}

// SaveClientKey stores the key of the first request. It returns fs.ErrExist if there is one: with
// another key this machine is another client to every host.
func SaveClientKey(st *Dir, k *manifest.PrivateKey) error {
	return saveFirst(st, "the client's key", clientKeyName, k)
}

// saveFirst stores a key where there is none.
func saveFirst(st *Dir, what, name string, k *manifest.PrivateKey) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	_, err := st.root.Lstat(name)
	if err == nil {
		err = fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("saving %s %q: %w", what, path.Join(st.dir, name), err)
	}
	return st.writeBytes(name, 0o600, k.Armor())
}

// ReplaceSigningKey makes next the key that this machine signs with, and keeps the one it had. A
// machine that has none gets fs.ErrNotExist.
func (st *Dir) ReplaceSigningKey(next *manifest.PrivateKey) error {
	if err := next.Public().CheckOrigin(); err != nil {
		return fmt.Errorf("saving the signing key %s: %w", next.Public().Fingerprint(), err)
	}
	old, err := st.SigningKey()
	if err != nil {
		return err
	}
	if err := st.SaveRetired(old); err != nil {
		return err
	}
	return st.writeBytes(signingName, 0o600, next.Armor())
}

// RenewSigningKey stores the key that is there again, with what was changed about it: its expiry,
// or another certification. A key with another fingerprint is fs.ErrExist.
func (st *Dir) RenewSigningKey(k *manifest.PrivateKey) error {
	old, err := st.SigningKey()
	if err != nil {
		return err
	}
	if old.Public().Fingerprint() != k.Public().Fingerprint() {
		return fmt.Errorf("saving the signing key %q: %w",
			path.Join(st.dir, signingName), fs.ErrExist)
	}
	return st.writeBytes(signingName, 0o600, k.Armor())
}

// RestoreSigningKey makes a key that this machine had, and lost, the one that it signs with again,
// and keeps the one that was made without it. A key that cannot sign at that time is refused.
func RestoreSigningKey(st *Dir, key *manifest.PrivateKey, now time.Time) error {
	public := key.Public()
	if made := public.Created(); now.Before(made) {
		now = made
	}
	if err := public.Check(now); err != nil {
		return fmt.Errorf("restoring a signing key: %w", err)
	}
	retired, err := st.Retired()
	if err != nil {
		return err
	}
	for _, k := range retired {
		if k.Public().Fingerprint() == public.Fingerprint() && k.Public().Revoked() {
			return fmt.Errorf("restoring a signing key: %w", k.Public().Check(now))
		}
	}
	if err := st.ReplaceSigningKey(key); err != nil {
		return err
	}
	err = st.root.Remove(path.Join(retiredDir, string(public.Fingerprint())+keySuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, st.root.SyncDir(retiredDir))
}

// SaveRetired stores a key that signs no longer, or renews the one with the same fingerprint: with
// its revocation.
func (st *Dir) SaveRetired(k *manifest.PrivateKey) error {
	return st.writeBytes(path.Join(retiredDir, string(k.Public().Fingerprint())+keySuffix),
		0o600, k.Armor())
}

// Retired returns the keys that this machine signed with before, in the order of their
// fingerprints.
func (st *Dir) Retired() ([]*manifest.PrivateKey, error) {
	names, err := keyFiles(st, retiredDir)
	if err != nil {
		return nil, err
	}
	var keys []*manifest.PrivateKey
	for _, name := range names {
		k, err := privateKey(st, name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// Trusted returns the keys in trusted/, in the order of their file names; first the one that is
// about to take the place of another (Replace), without that other.
func (st *Dir) Trusted() (manifest.Ring, error) {
	pending, err := replacing(st)
	if err != nil {
		return nil, err
	}
	var ring manifest.Ring
	if pending != nil {
		ring = manifest.Ring{pending.next}
	}
	err = st.eachTrusted(func(_ string, k *manifest.PublicKey) error {
		if pending != nil && k.Fingerprint() == pending.old && !k.Revoked() {
			return nil
		}
		if _, have := ring.Find(k.Fingerprint()); !have {
			ring = append(ring, k)
		}
		return nil
	})
	return ring, err
}

func (st *Dir) eachTrusted(f func(name string, k *manifest.PublicKey) error) error {
	names, err := keyFiles(st, trustedDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		k, err := readKey(st, name, manifest.ReadPublicKey)
		if err != nil {
			return err
		}
		if err := f(name, k); err != nil {
			return err
		}
	}
	return nil
}

// Trust adds a key, or renews the one with the same fingerprint.
func (st *Dir) Trust(k *manifest.PublicKey) error {
	if err := k.CheckOrigin(); err != nil {
		return fmt.Errorf("trusting the key %s: %w", k.Fingerprint(), err)
	}
	return st.writeBytes(path.Join(trustedDir, string(k.Fingerprint())+keySuffix), 0o644, k.Armor())
}

// Distrust removes a key under whatever name it lies in trusted/; fs.ErrNotExist if it is not
// there.
func (st *Dir) Distrust(fpr manifest.Fingerprint) error {
	if st.lock == nil {
		return ErrReadOnly
	}
	found := false
	err := st.eachTrusted(func(name string, k *manifest.PublicKey) error {
		if k.Fingerprint() != fpr {
			return nil
		}
		found = true
		return st.root.Remove(name)
	})
	if err != nil {
		return fmt.Errorf("removing the key %s: %w", fpr, err)
	}
	if !found {
		return fmt.Errorf("removing the key %s: %w", fpr, fs.ErrNotExist)
	}
	return st.root.SyncDir(trustedDir)
}
