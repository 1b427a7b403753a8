package main

import (
	"strings"
	"testing"

	"pkgsneak/sync/doctor"
)

// emerge's words reach a terminal quoted, and long lists are cut without --verbose.
func TestConfirmationIsQuoted(t *testing.T) {
	e, out, _ := testEnv(t, nil)
	c := doctorText{&invocation{commandLine: &commandLine{env: e, out: newPrinter(e)}}}
	names := make([]string, listLimit+3)
	for i := range names {
		names[i] = "a/b-1"
	}
	c.confirmed(&doctor.Confirmation{Exit: 1, Merges: 1, Cut: true, OnlyHere: names,
		Said: []string{"!!! \x1b[2Jcleared\r", "!!! \u202eturned"}})
	text := out.String()
	if strings.ContainsAny(text, "\x1b\r\u202e") || !strings.Contains(text, "cleared") {
		t.Errorf("printed %q", text)
	}
	for _, want := range []string{"emerge ends with 1", "longer than what is read",
		"... and 3 others (-v lists all)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	out.Reset()
	c.confirmed(&doctor.Confirmation{Same: 2, Merges: 2})
	if !strings.Contains(out.String(), "emerge says the same of this line: 2 packages") {
		t.Errorf("printed %q", out)
	}
}
