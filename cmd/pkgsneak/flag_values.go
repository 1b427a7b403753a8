package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
)

// The kinds of values. Each sets all of its fields to the same, and checks what it is given: the
// errors name no flag.

// toggle is a switch.
type toggle []*bool

// String implements flag.Value.
func (t toggle) String() string {
	return strconv.FormatBool(len(t) > 0 && *t[0])
}

// Set implements flag.Value.
func (t toggle) Set(s string) error {
	on, err := parseBool(s)
	if err != nil {
		return err
	}
	for _, field := range t {
		*field = on
	}
	return nil
}

// IsBoolFlag makes package flag take it without a value.
func (t toggle) IsBoolFlag() bool { return true }

// Get implements flag.Getter.
func (t toggle) Get() any { return t }

// loudness is a switch that may be given twice.
type loudness struct{ times *int }

// String implements flag.Value.
func (l loudness) String() string {
	if l.times == nil {
		return "0"
	}
	return strconv.Itoa(*l.times)
}

// Set implements flag.Value: a digit is how many times, which is how cli copies a value to the
// flag's other name; a yes is one time more.
func (l loudness) Set(s string) error {
	if len(s) == 1 && s >= "0" && s <= "2" {
		*l.times = int(s[0] - '0')
		return nil
	}
	switch on, err := parseBool(s); {
	case err != nil:
		return err
	case on:
		*l.times = min(*l.times+1, 2)
	default:
		*l.times = 0
	}
	return nil
}

// IsBoolFlag makes package flag take it without a value.
func (l loudness) IsBoolFlag() bool { return true }

// Get implements flag.Getter.
func (l loudness) Get() any { return l }

// text is a word of any kind, but not none: an empty one is mostly a variable of a script that is
// not set, and what holds without the flag is not meant.
type text []*string

// String implements flag.Value.
func (t text) String() string {
	if len(t) == 0 {
		return ""
	}
	return *t[0]
}

// Set implements flag.Value.
func (t text) Set(s string) error {
	if strings.TrimSpace(s) == "" {
		return errEmpty
	}
	return emptyable(t).Set(s)
}

// Get implements flag.Getter.
func (t text) Get() any { return t }

func (t text) isSet() bool { return emptyable(t).isSet() }
func (t text) unset()      { emptyable(t).unset() }

// undoable is a value with a word for what holds without the flag, which help shows as its default.
// Given, it undoes what a variable sets.
type undoable struct {
	word string
	unsettable
}

// unsettable is a value that can be put back to what it is where nobody gives one.
type unsettable interface {
	flag.Value
	isSet() bool
	unset()
}

// String implements flag.Value.
func (u undoable) String() string {
	if u.unsettable == nil || !u.isSet() {
		return u.word
	}
	return u.unsettable.String()
}

// Set implements flag.Value.
func (u undoable) Set(s string) error {
	if strings.TrimSpace(s) != u.word {
		return u.unsettable.Set(s)
	}
	u.unset()
	return nil
}

// Get implements flag.Getter.
func (u undoable) Get() any { return u }

// allNames is the word that undoes a choice among names: an origin and a client cannot have it.
const allNames = "all"

// repoNames is a list of repositories; none of them is called as the words that stand for a list.
type repoNames []*string

// String implements flag.Value.
func (r repoNames) String() string { return text(r).String() }

// Set implements flag.Value.
func (r repoNames) Set(s string) error {
	if list := listWords(s); len(list) > 1 {
		for _, word := range []string{allNames, importer.NoRepos} {
			if slices.Contains(list, word) {
				return fmt.Errorf("%q stands alone, and not in a list", word)
			}
		}
	}
	return text(r).Set(s)
}

// Get implements flag.Getter.
func (r repoNames) Get() any { return r }

func (r repoNames) isSet() bool { return emptyable(r).isSet() }
func (r repoNames) unset()      { emptyable(r).unset() }

func (r repoNames) suits() string {
	return "names of ebuild repositories with commas between, or none"
}

// listWords are the words of a list with commas or blanks between.
func listWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

var errEmpty = errors.New("it is empty: a variable that is not set?")

// emptyable is a text for which none is an answer: it undoes what the settings file sets.
type emptyable []*string

// String implements flag.Value.
func (e emptyable) String() string { return text(e).String() }

// Set implements flag.Value.
func (e emptyable) Set(s string) error {
	for _, field := range e {
		*field = s
	}
	return nil
}

// Get implements flag.Getter.
func (e emptyable) Get() any { return e }

func (e emptyable) isSet() bool { return len(e) > 0 && *e[0] != "" }

func (e emptyable) unset() {
	for _, field := range e {
		*field = ""
	}
}

// fingerprint is that of a key, as it was written.
type fingerprint struct{ text *string }

// String implements flag.Value.
func (f fingerprint) String() string {
	if f.text == nil {
		return ""
	}
	return *f.text
}

// Set implements flag.Value.
func (f fingerprint) Set(s string) error {
	if _, err := manifest.ParseFingerprint(s); err != nil {
		return err
	}
	*f.text = s
	return nil
}

// Get implements flag.Getter.
func (f fingerprint) Get() any { return f }

func (f fingerprint) suits() string {
	return "40 hex digits, which \"pkgsneak key\" shows on the build host"
}

// originName is a name that an origin can have as it is.
type originName struct{ name *string }

// String implements flag.Value.
func (n originName) String() string {
	if n.name == nil {
		return ""
	}
	return *n.name
}

// Set implements flag.Value.
func (n originName) Set(s string) error {
	if s == allNames {
		return fmt.Errorf("%q stands for each of them", s)
	}
	if err := layout.CheckNewOrigin(s); err != nil {
		return err
	}
	*n.name = s
	return nil
}

// Get implements flag.Getter.
func (n originName) Get() any { return n }

func (n originName) suits() string {
	return "a name that a directory can have on every drive, bighost or desk-2 for instance"
}

// whole is a whole number between two bounds; 0 where nobody gave one.
type whole struct {
	least, most int
	fields      []*int
}

// String implements flag.Value.
func (w whole) String() string {
	if len(w.fields) == 0 {
		return ""
	}
	return strconv.Itoa(*w.fields[0])
}

// Set implements flag.Value.
func (w whole) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < w.least || n > w.most {
		return fmt.Errorf("%q is no whole number from %d to %d", s, w.least,
			w.most)
	}
	for _, field := range w.fields {
		*field = n
	}
	return nil
}

// Get implements flag.Getter.
func (w whole) Get() any { return w }

func (w whole) isSet() bool { return len(w.fields) > 0 && *w.fields[0] != 0 }

func (w whole) unset() {
	for _, field := range w.fields {
		*field = 0
	}
}

func (w whole) suits() string {
	return fmt.Sprintf("a whole number from %d to %d", w.least, w.most)
}

// span is a length of time.
type span []*time.Duration

// String implements flag.Value: 10m0s is 10m, 30s stays.
func (d span) String() string {
	if len(d) == 0 {
		return ""
	}
	s := d[0].String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// Set implements flag.Value.
func (d span) Set(s string) error {
	n, err := time.ParseDuration(s)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no length of time", s)
	}
	for _, field := range d {
		*field = n
	}
	return nil
}

// Get implements flag.Getter.
func (d span) Get() any { return d }

func (d span) suits() string { return "a length of time, 30s, 10m or 1h30m for instance" }

// age is a length of time that may be given in days.
type age span

// String implements flag.Value.
func (a age) String() string { return span(a).String() }

// Set implements flag.Value.
func (a age) Set(s string) error {
	n, err := parseAge(s)
	if err != nil {
		return err
	}
	for _, field := range a {
		*field = n
	}
	return nil
}

// Get implements flag.Getter.
func (a age) Get() any { return a }

func (a age) isSet() bool { return len(a) > 0 && *a[0] != 0 }

func (a age) unset() {
	for _, field := range a {
		*field = 0
	}
}

func (a age) suits() string { return "an age, 30d or 12h for instance" }

// parseAge reads an age: days as people write them, else hours, minutes and seconds.
func parseAge(s string) (time.Duration, error) {
	const day, longest = 24 * time.Hour, 36500
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= longest {
			return time.Duration(n) * day, nil
		}
	} else if n, err := time.ParseDuration(s); err == nil && n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%q is no age", s)
}

// parseBool reads a switch the way people write it in conf.d.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "y", "yes", "true", "on":
		return true, nil
	case "0", "n", "no", "false", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}
