package exporter

import (
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
)

// Asked is a request that lies on the drive.
type Asked struct {
	Client string `json:"client"`
	Dir    string `json:"dir"` // below pkgsneak/clients
	// new, known, older, cloned, unknown, damaged, unfinished, forgotten
	State       clients.Standing     `json:"state"`
	Fingerprint manifest.Fingerprint `json:"fingerprint,omitempty"`
	Serial      int64                `json:"serial,omitempty"`
	Wants       int                  `json:"wants"`
	// this request and another one, of another machine with the same key
	Forked    *clients.Fork `json:"forked,omitempty"`
	Forgotten time.Time     `json:"forgotten,omitzero"` // when its key was, since this request
	// its list of installed packages was blanked on the drive
	Taken   bool   `json:"taken"`
	Problem string `json:"problem,omitempty"`
	Err     error  `json:"-"` // the same, for the hints
}
