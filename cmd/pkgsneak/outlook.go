package main

import (
	"path/filepath"
	"strings"

	"pkgsneak/sync/fault"
	"pkgsneak/sync/forecast"
)

// excludeFile is the absolute path of the file for the names to exclude: the line that reads it is
// typed anywhere. Nothing is written to the drive.
func excludeFile(file string, drives ...string) (string, error) {
	if file == "" {
		return "", nil
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", usageErrorf("--exclude-file: %w", err)
	}
	real, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return "", usageErrorf("--exclude-file %q: the directory %q: %w", filepath.Base(file),
			filepath.Dir(file), fault.Bare(err))
	}
	for _, drive := range drives {
		if drive == "" {
			continue
		}
		mount, err := filepath.EvalSymlinks(drive)
		if err == nil {
			mount, err = filepath.Abs(mount)
		}
		if err == nil && (real == mount ||
			strings.HasPrefix(real, strings.TrimSuffix(mount, "/")+"/")) {
			return "", usageErrorf("--exclude-file %q is on the drive, to which nothing is written",
				file)
		}
	}
	return file, nil
}

// outlookLimit is how many packages that cannot be installed are named without --verbose.
const outlookLimit = 20

// tellOutlook prints what emerge can do now, and what it cannot.
func tellOutlook(p *printer, f *forecast.Forecast, o forecast.TextOptions) {
	o.Size = size
	if !p.verbose {
		o.Most = outlookLimit
	}
	for _, line := range f.Lines(o) {
		p.say("%s", line)
	}
	for _, problem := range f.Problem {
		p.notice("%s %s", bold("note:"), problem)
	}
}
