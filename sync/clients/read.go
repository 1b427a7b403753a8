package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/digest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/request"
)

// Read reads the requests that lie on a drive: one Found for each directory of a client, by name,
// is passed to each, which has to drop what it has no use for: a thousand may be there. Nothing is
// remembered: Take does that. more tells that there are too many, and that the rest was not looked
// at. The error is the drive's, the state directory's, or each's.
func (s *Store) Read(d *drive.Drive, now time.Time, each func(*Found) error) (more bool,
	err error) {
	names, more, err := d.ClientNames()
	if err != nil || len(names) == 0 {
		return more, err
	}
	if _, err := s.names(clientsDir); err != nil {
		return more, err
	}
	all, _ := s.Clients() // what is wrong with one is told of its request
	ring, _ := s.keys()
	byKey := make(map[manifest.Fingerprint]*Client, len(all))
	for _, c := range all {
		if c.Key != "" {
			byKey[c.Key] = c
		}
	}
	for _, name := range names {
		f := &Found{Dir: name, State: Damaged}
		if err := f.read(d, ring, now); err != nil {
			if drive.Unanswered(err) {
				return more, err
			}
			f.Err = err
			if e := unfinished(d, name); e != nil {
				f.State, f.Err = Unfinished, e
			}
		}
		if f.State == Unknown {
			if err := damaged(s, f.Signer); err != nil {
				f.State, f.Err = Damaged, err
			} else if x := forgottenKey(s, f.Signer); x != nil && !f.made.After(x.When) {
				f.State, f.Forgotten = Before, x.When
			}
		}
		if f.Client = byKey[f.Signer]; f.Client != nil && f.Record != nil {
			f.State = f.Client.standing(f.Record.Serial, f.Sum)
		}
		if err := each(f); err != nil {
			return more, err
		}
	}
	return more, nil
}

// damaged is why nothing can be read that a client of the store has signed, nil where that is not
// so or there is no such client.
func damaged(s *Store, fpr manifest.Fingerprint) error {
	c, err := s.client(string(fpr))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		_, err = keyOf(s, c)
	}
	return err
}

// read reads one request. Where its key is not accepted it only finds out who signed.
func (f *Found) read(d *drive.Drive, ring manifest.Ring, now time.Time) error {
	key, keyErr := d.ClientKey(f.Dir)
	if keyErr == nil {
		f.Key = key
	}
	best, _, err := d.ClientCopies(f.Dir, ring, now)
	var unknown *manifest.UnknownKeyError
	if errors.As(err, &unknown) {
		if keyErr != nil {
			return &drive.RequestError{Dir: f.Dir, Err: keyErr}
		}
		if best, _, err = d.ClientCopies(f.Dir, manifest.Ring{key}, now); err != nil {
			return &drive.RequestError{Dir: f.Dir, Err: err}
		}
		f.State, f.Signer, f.made = Unknown, best.Signed.Signer, best.Signed.Timestamp
		return nil
	}
	if err != nil {
		return &drive.RequestError{Dir: f.Dir, Err: err}
	}
	f.Signer, f.Sum = best.Signed.Signer, digest.Bytes(best.Text)
	if err := f.contents(d, best.Signed); err != nil {
		f.Record, f.List = nil, nil
		return &drive.RequestError{Dir: f.Dir, Err: err}
	}
	return nil
}

// contents reads what a list names that an accepted client signed.
func (f *Found) contents(d *drive.Drive, signed *manifest.Signed) error {
	n, _ := layout.PairOf(signed)
	recordName, listName := layout.RequestFiles(n)
	recordFile, _ := signed.Find(recordName)
	listFile, _ := signed.Find(listName)
	data, err := d.ReadClientFile(f.Dir, recordFile, request.MaxRecordFile)
	if err != nil {
		return err
	}
	r, err := request.Parse(bytes.TrimRight(data, "\n"))
	if err != nil {
		return err
	}
	switch {
	case r.Fingerprint != signed.Signer:
		return fmt.Errorf("it names the key %s, and is signed by %s", r.Fingerprint, signed.Signer)
	case r.Serial != signed.Timestamp.Unix():
		return fmt.Errorf("it is of %s, and its list of %s", fault.Serial(r.Serial),
			fault.Time(signed.Timestamp))
	case !layout.MayBeIn(f.Dir, r.Client, r.Fingerprint):
		return fmt.Errorf("it is the client %q's, and lies in another one's directory", r.Client)
	}
	f.Record = r
	list, err := d.ReadClientFile(f.Dir, listFile, request.MaxListStored)
	if request.IsTaken(list) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := request.UnpackList(list, r.Installed); err != nil {
		return err
	}
	f.List = list
	return nil
}
