package main

import "pkgsneak/sync/forecast"

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
