package payload

import "regexp"

// particular is the part of a reason that is about one file: a quoted name, or a number that stands
// alone. A number in a word is part of a name, which tells more than it separates.
var particular = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|(^|[ (])([0-9]+)([ ,;:)]|$)`)

// Alike is a reason without what is about one file in it: files with the same one are told
// together.
func Alike(reason string) string { return particular.ReplaceAllString(reason, "$1...$3") }
