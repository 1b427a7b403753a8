package request

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"

	"pkgsneak/manifest"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/pkgindex"
)

// Receipt tells which packages of an origin the client has as files. See the package comment.
type Receipt struct {
	Origin string               `json:"origin"`
	Key    manifest.Fingerprint `json:"key"`
	// of the newest generation that was imported, or of the catalogue that lacks is about
	Serial int64 `json:"serial"`
	// Entries is how many the catalogue has that Lacks is about; 0: Has is what is here.
	Entries int    `json:"entries,omitempty"`
	Lacks   Bitmap `json:"lacks,omitempty"` // empty: nothing is lacking
	Has     Sums   `json:"has,omitempty"`
}

// Bitmap has one bit for each entry of a catalogue: bit i%8 of byte i/8.
type Bitmap []byte

// NewBitmap returns one for n entries, with no bit set.
func NewBitmap(n int) Bitmap { return make(Bitmap, (n+7)/8) }

// Set sets bit i.
func (b Bitmap) Set(i int) { b[i/8] |= 1 << (i % 8) }

// Has reports whether bit i is set. A bit behind the end is not.
func (b Bitmap) Has(i int) bool { return i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

// MarshalText writes base64.
func (b Bitmap) MarshalText() ([]byte, error) { return appendBase64(b), nil }

// UnmarshalText reads base64.
func (b *Bitmap) UnmarshalText(text []byte) (err error) {
	*b, err = parseBase64(text)
	return err
}

// Sum names a package file in a few bytes: the first 16 of its SHA1, its MD5 where the index has no
// SHA1. It finds files again among those that an origin's own catalogue lists; it proves nothing.
type Sum [16]byte

// SumOf returns the sum of an entry; false if it has neither.
func SumOf(e pkgindex.Entry) (Sum, bool) {
	if full, ok := e.SHA1(); ok {
		return Sum(full[:16]), true
	}
	sum, ok := e.MD5()
	return Sum(sum), ok
}

// Sums are sorted, each once.
type Sums []Sum

// SortSums puts sums in order and takes out what is there twice.
func SortSums(s []Sum) Sums {
	slices.SortFunc(s, compareSums)
	return slices.Compact(s)
}

func compareSums(a, b Sum) int { return bytes.Compare(a[:], b[:]) }

// Has reports whether a sum is among them.
func (s Sums) Has(sum Sum) bool {
	_, found := slices.BinarySearchFunc(s, sum, compareSums)
	return found
}

// MarshalText writes the sums behind one another in base64.
func (s Sums) MarshalText() ([]byte, error) {
	all := make([]byte, 0, len(s)*len(Sum{}))
	for i := range s {
		all = append(all, s[i][:]...)
	}
	return appendBase64(all), nil
}

// UnmarshalText reads what MarshalText writes.
func (s *Sums) UnmarshalText(text []byte) error {
	all, err := parseBase64(text)
	if err != nil {
		return err
	}
	const n = len(Sum{})
	if len(all)%n != 0 {
		return fmt.Errorf("%d bytes are no sums of %d", len(all), n)
	}
	out := make(Sums, 0, len(all)/n)
	for ; len(all) > 0; all = all[n:] {
		out = append(out, Sum(all[:n]))
	}
	*s = out
	return nil
}

func appendBase64(data []byte) []byte {
	return base64.StdEncoding.AppendEncode(nil, data)
}

func parseBase64(text []byte) ([]byte, error) {
	data, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil || bytes.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("%.40q is no base64", text)
	}
	return data, nil
}

func (r *Receipt) check() error {
	if err := layout.CheckOriginName(r.Origin); err != nil {
		return refuse("a receipt for the origin %.80q: it cannot have that name", r.Origin)
	}
	if _, err := manifest.ParseFingerprint(string(r.Key)); err != nil {
		return refuse("%v", err)
	}
	switch {
	case r.Serial <= 0 || r.Serial > maxSerial:
		return refuse("a receipt for the serial %d", r.Serial)
	case r.Entries < 0 || r.Entries > MaxEntries:
		return refuse("a receipt for a catalogue of %d entries", r.Entries)
	case r.Entries > 0 && len(r.Has) > 0 || r.Entries == 0 && len(r.Lacks) > 0:
		return refuse("the receipt for %q is both about a catalogue and without one", r.Origin)
	case len(r.Lacks) > 0 && len(r.Lacks) != len(NewBitmap(r.Entries)):
		return refuse("the receipt for %q has %d bytes for %d entries", r.Origin,
			len(r.Lacks), r.Entries)
	case len(r.Lacks) > 0 && r.Entries%8 != 0 && r.Lacks[len(r.Lacks)-1]>>(r.Entries%8) != 0:
		return refuse("the receipt for %q has bits behind its end", r.Origin)
	case !slices.IsSortedFunc(r.Has, compareSums) ||
		len(slices.CompactFunc(slices.Clone(r.Has), func(a, b Sum) bool {
			return a == b
		})) != len(r.Has):
		return refuse("the receipt for %q is not sorted", r.Origin)
	}
	return nil
}

// NewReceipt makes the receipt against a catalogue: here tells whether the client has the package
// of an entry.
func NewReceipt(origin string, key manifest.Fingerprint, serial int64, catalogue []pkgindex.Entry,
	here func(pkgindex.Entry) bool) Receipt {
	r := Receipt{Origin: origin, Key: key, Serial: serial, Entries: len(catalogue)}
	lacks, any := NewBitmap(len(catalogue)), false
	for i, e := range catalogue {
		if !here(e) {
			lacks.Set(i)
			any = true
		}
	}
	if any {
		r.Lacks = lacks
	}
	return r
}

// NeedsCatalogue reports whether the catalogue of generation Serial is needed to read the receipt.
func (r *Receipt) NeedsCatalogue() bool { return r.Entries > 0 }

// Read returns the sums of the packages that the client has. catalogue is, in its own order, that
// of generation Serial; nil will do where it is not needed. An error reports that it is another
// one.
func (r *Receipt) Read(catalogue []Sum) (Sums, error) {
	if !r.NeedsCatalogue() {
		return r.Has, nil
	}
	if len(catalogue) != r.Entries {
		return nil,
			refuse("the receipt for %q is about a catalogue of %d entries, that of generation %d has %d", r.Origin, r.Entries, r.Serial, len(catalogue))
	}
	var has []Sum
	for i, sum := range catalogue {
		if !r.Lacks.Has(i) && sum != (Sum{}) {
			has = append(has, sum)
		}
	}
	return SortSums(has), nil
}

// CatalogueSums returns the sums of a catalogue's entries in its order; the zero Sum for an entry
// without one.
func CatalogueSums(catalogue []pkgindex.Entry) []Sum {
	sums := make([]Sum, len(catalogue))
	for i, e := range catalogue {
		sums[i], _ = SumOf(e)
	}
	return sums
}
