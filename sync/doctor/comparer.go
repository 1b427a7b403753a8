package doctor

import (
	"pkgsneak/sync/cpv"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/forecast"
	"pkgsneak/sync/payload"
	"pkgsneak/sync/pkgindex"
)

// comparer is one comparison.
type comparer struct {
	*facts
	*findings
	judge  *judge
	c      *Comparison
	gen    *drive.Generation
	header pkgindex.Header
	// of the packages that the drive carries; CHOST and REPO stand in each
	entries []pkgindex.Entry
	offered []forecast.Candidate // the same with what the origin states of each
	masked  []forecast.Mismatch  // what import and status tell of them
}

// carried picks the entries of what is on the drive.
func (x *comparer) carried(catalogue *pkgindex.Index) {
	for _, entry := range catalogue.Entries {
		_, carried := x.gen.Find(payload.Package, entry.Path())
		// names stand in lines that a person will paste
		if _, err := cpv.Parse(entry.CPV()); carried && err == nil {
			x.entries = append(x.entries, pkgindex.Rebase(entry, catalogue.Header,
				pkgindex.Header{}))
		}
	}
}

// differ adds a line to the table and the finding to it.
func (x *comparer) differ(d Difference, f Finding) {
	d.Topic = f.Topic
	x.c.Differences = append(x.c.Differences, d)
	x.tell(f)
}

// mostLines is how many packages get a line of their own in a fix.
const mostLines = 20
