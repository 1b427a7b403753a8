// Package scripts holds the files that make a system work with pkgsneak, so that the one static
// program carries them along.
package scripts

import _ "embed"

// The files of auto, watch and serve, as they lie in this directory. The program is
// /usr/bin/pkgsneak in all of them.
var (
	//go:embed 90-pkgsneak.rules
	UdevRules string
	//go:embed pkgsneak@.service
	AutoUnit string
	//go:embed pkgsneak-watch.service
	WatchUnit string
	//go:embed pkgsneak-watch.initd
	WatchInit string
	//go:embed pkgsneak.confd
	Conf string
	//go:embed pkgsneak-serve.service
	ServeUnit string
	//go:embed pkgsneak-serve.socket
	ServeSocket string
	//go:embed pkgsneak-serve.initd
	ServeInit string
	//go:embed pkgsneak-serve.confd
	ServeConf string
)
