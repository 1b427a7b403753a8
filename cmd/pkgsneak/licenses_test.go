package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// licenseMarks are words, in small letters, of a license, by the name that Gentoo has for it.
var licenseMarks = map[string]string{
	"Apache-2.0": "apache license version 2.0",
	"MIT":        "permission is hereby granted, free of charge",
	"BSD":        "to endorse or promote products",
	"GPL-2":      "gnu general public license",
	"MPL":        "mozilla public license",
}

// licensesIn names the licenses that a text contains. BSD-2 is BSD without its third clause; the
// text of a choice between BSD and another one counts as BSD.
func licensesIn(text string) (found []string) {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	for name, mark := range licenseMarks {
		if strings.Contains(text, mark) {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0 && strings.Contains(text, "redistribution and use in source"):
		return []string{"BSD-2"}
	case slices.Contains(found, "BSD"):
		found = slices.DeleteFunc(found, func(name string) bool { return name == "GPL-2" })
	}
	return found
}

// The ebuild names the licenses of the program and of all modules that are linked into it.
func TestEbuildNamesLicenses(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Dir}}{{end}}", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	out, err := list.Output()
	if err != nil {
		t.Skipf("SKIPPED, THE LICENSES OF MODULES WERE NOT LOOKED AT: go list: %v", err)
	}
	linked := map[string]bool{}
	modules := slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out)))))
	for _, dir := range modules {
		var text bytes.Buffer
		for _, pattern := range []string{"LICEN[CS]E*", "License*", "COPYING*"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				data, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				text.Write(data)
			}
		}
		found := licensesIn(text.String())
		if len(found) == 0 {
			t.Errorf("%s: no license that is known here", dir)
		}
		for _, name := range found {
			linked[name] = true
		}
	}
	if len(modules) < 10 {
		t.Errorf("%d modules: %q", len(modules), modules)
	}
	ebuild, err := os.ReadFile("../../scripts/gentoo/app-portage/pkgsneak/pkgsneak-9999.ebuild")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, line := range regexp.MustCompile(`(?m)^LICENSE\+?="(.*)"$`).FindAllSubmatch(ebuild, -1) {
		named = append(named, strings.Fields(string(line[1]))...)
	}
	slices.Sort(named)
	if want := slices.Sorted(maps.Keys(linked)); !slices.Equal(named, want) {
		t.Errorf("the ebuild names %q, linked are %q", named, want)
	}
}
