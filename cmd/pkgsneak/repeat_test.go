package main

import "testing"

// The flags that name this machine's places go to the commands of this machine, and to no other
// one's.
func TestHintsForOtherMachinesRepeatNoFlags(t *testing.T) {
	r := repeats{verb: "import", given: []givenFlag{{"state-dir", "--state-dir S"},
		{"prune", "--prune"}}, takes: make(map[string][]string)}
	for _, verb := range []string{"export", "import", "trust", "key", "request", "clients",
		"forget", "verify", "status", "index"} {
		r.takes[verb] = []string{"state-dir"}
	}
	r.takes["import"] = append(r.takes["import"], "prune")
	for hint, want := range map[string]string{
		"pkgsneak import usb":                "pkgsneak import --state-dir S --prune usb",
		"on the client: pkgsneak import usb": "",
		"on the build host, what is refused has to be built again: emerge PACKAGE, and exported: pkgsneak export usb":       "",
		"on that client, which writes it anew: pkgsneak request usb":                                                        "",
		"on the host: pkgsneak clients attic":                                                                               "",
		"no client has asked; on a client: pkgsneak request usb":                                                            "",
		"on the host, compare the fingerprint: pkgsneak clients accept a":                                                   "",
		"on the host that exports to the client: pkgsneak clients accept a":                                                 "",
		"on the build host: pkgsneak index, and pkgsneak export usb":                                                        "",
		"on the host whose origin it is: pkgsneak export usb":                                                               "",
		"compare the fingerprint with \"pkgsneak key\" on the build host, then: pkgsneak trust usb":                         "compare the fingerprint with \"pkgsneak key\" on the build host, then: pkgsneak trust --state-dir S usb",
		"on the build host: pkgsneak export usb writes it again; pkgsneak verify usb names it":                              "on the build host: pkgsneak export usb writes it again; pkgsneak verify --state-dir S usb names it",
		"on the client: pkgsneak request usb; then here: pkgsneak export usb, and pkgsneak clients":                         "on the client: pkgsneak request usb; then here: pkgsneak export --state-dir S usb, and pkgsneak clients --state-dir S",
		"on the build host: pkgsneak export usb, and before it pkgsneak key rotate --revoke; then here: pkgsneak trust usb": "on the build host: pkgsneak export usb, and before it pkgsneak key rotate --revoke; then here: pkgsneak trust --state-dir S usb",
		"or each client types pkgsneak trust usb --replaces F, and then, here: pkgsneak forget host usb":                    "or each client types pkgsneak trust usb --replaces F, and then, here: pkgsneak forget --state-dir S host usb",
		"on the build host: pkgsneak key rotate, and export again; or, if it was renewed: pkgsneak trust usb":               "on the build host: pkgsneak key rotate, and export again; or, if it was renewed: pkgsneak trust --state-dir S usb",
	} {
		if want == "" {
			want = hint
		}
		if got := r.line(hint); got != want {
			t.Errorf("%s\nis   %s\nwant %s", hint, got, want)
		}
	}
}
