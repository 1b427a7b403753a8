package clients

import (
	"errors"
	"fmt"
	"path"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/layout"
)

// UnfinishedError reports that a directory of a client is what a first request left whose drive was
// pulled.
type UnfinishedError struct {
	Dir string // below clients/ on the drive
}

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("the request in %q was never finished, and is nobody's",
		path.Join(layout.ClientsDir, e.Dir))
}

// Hints tell how it goes.
func (e *UnfinishedError) Hints(string) []string {
	return []string{"it may stay: the next export or request that needs space on the drive removes it first"}
}

// unfinished is the error of a directory, nil if it is another one's.
func unfinished(d *drive.Drive, dir string) error {
	if !d.ClientUnfinished(dir) {
		return nil
	}
	return &UnfinishedError{Dir: dir}
}

// Lying is a request as it lies on a drive, whoever its client is.
type Lying struct {
	Dir string `json:"dir"` // below clients/; "" where clients/ itself cannot be read
	// according to the request, and to the key that lies beside it
	Client      string               `json:"client,omitempty"`
	Fingerprint manifest.Fingerprint `json:"fingerprint,omitempty"`
	Serial      int64                `json:"serial,omitempty"`
	Created     time.Time            `json:"created,omitzero"`
	// whole; taken, when a host has read it and blanked the list of installed packages; unfinished;
	// damaged
	State   string `json:"state"`
	Problem string `json:"problem,omitempty"`
	Err     error  `json:"-"`
}

// The states of Lying.
const (
	Whole        = "whole"
	Taken        = "taken"
	NeverWritten = "unfinished"
	Broken       = "damaged"
)

// LookAt reads the requests that lie on a drive against the keys that lie beside them. more tells
// that there are too many, and that the rest was not looked at. The error is the drive's.
func LookAt(d *drive.Drive, now time.Time) (list []Lying, more bool, err error) {
	names, more, err := d.ClientNames()
	var pulled *drive.PullDamageError
	if errors.As(err, &pulled) { // the origins beside it are whole all the same
		return []Lying{{State: Broken, Problem: fault.Text(err), Err: err}}, false, nil
	}
	if err != nil {
		return nil, more, err
	}
	for _, name := range names {
		f := &Found{Dir: name}
		var ring manifest.Ring
		if key, err := d.ClientKey(name); err == nil {
			ring = manifest.Ring{key}
		}
		l := Lying{Dir: name, State: Whole}
		if l.Err = f.read(d, ring, now); drive.Unanswered(l.Err) {
			return nil, more, l.Err
		}
		l.Fingerprint = f.Signer
		if r := f.Record; r != nil {
			l.Client, l.Serial, l.Created = r.Client, r.Serial, r.Created
			if f.List == nil {
				l.State = Taken
			}
		}
		if l.Err != nil {
			l.State = Broken
			if e := unfinished(d, name); e != nil {
				l.State, l.Err = NeverWritten, e
			}
			l.Problem = fault.Text(l.Err)
		}
		list = append(list, l)
	}
	return list, more, nil
}
