package main

import (
	"fmt"
	"strings"
	"testing"

	"pkgsneak/sync/exporter"
	"pkgsneak/sync/payload"
)

// Files with reasons of one kind are one line, with what is particular to each left out of it.
func TestReasonsOfOneKind(t *testing.T) {
	var items []payload.Item
	for i := range 4 {
		items = append(items, payload.Item{Kind: payload.Package, Path: fmt.Sprint(i),
			Reason: fmt.Sprintf("not %q, of %d bytes", fmt.Sprint("cat-", i), i)})
	}
	items = append(items, payload.Item{Kind: payload.Package, Path: "x", Reason: "an empty file"})
	lines := byReason(items, false)
	if len(lines) != 2 || len(lines[0]) != 4 || len(lines[1]) != 1 {
		t.Fatalf("%v", lines)
	}
	if got := shared(lines[0]); got != "not ..., of ... bytes" {
		t.Errorf("%q", got)
	}
	if lines := byReason(items, true); len(lines) != len(items) {
		t.Errorf("-v gives %d lines", len(lines))
	}
}

// However many packages on a drive are refused, the summary names them and the way out in a few
// lines.
func TestManyRefusedPackages(t *testing.T) {
	e, _, stderr := testEnv(t, nil)
	c := exportText{&invocation{commandLine: &commandLine{env: e, out: newPrinter(e)},
		opt: newOptions()}}
	r := &exporter.ExportReport{Unchanged: true, Serial: 1}
	for i := range 500 {
		r.Refused = append(r.Refused, payload.Item{Kind: payload.Package, Size: 1 << 20,
			Path: fmt.Sprintf("a/b-%d.xpak", i), Reason: "no image",
			Hint: "built again: emerge PACKAGE"})
	}
	r.Refused[499].Reason = "not a tar"
	c.exportSummary(r)
	text := stderr.String()
	for _, want := range []string{"refused by the rules of this version", "500 packages",
		"499 packages: no image", "a/b-499.xpak: not a tar", "emerge PACKAGE", "-v lists all"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is not there once: %q", want, text)
		}
	}
	if lines := strings.Count(text, "\n"); lines != 4 {
		t.Errorf("%d lines: %q", lines, text)
	}
	stderr.Reset()
	if c.watchExported("usb", r, nil); stderr.String() != text {
		t.Errorf("a watch says %q", stderr.String())
	}
	c.out.verbose = true
	stderr.Reset()
	if c.exportSummary(r); strings.Count(stderr.String(), ".xpak") != 500 {
		t.Errorf("-v: %q", stderr.String())
	}
}
