package fault

import (
	"errors"
	"testing"
)

// A higher format is found in whatever a newer program may have written, whole or not; and in
// nothing else.
func TestCheckNewer(t *testing.T) {
	for text, newer := range map[string]bool{
		`{"format":2}`:                       true,
		`{"format": 2, "name": 7}`:           true,
		`{"name":{"format":1},"format":2}`:   true,
		`{"format":2,"name":"at`:             true,
		`{"format":1}`:                       false,
		`{"name":{"format":2},"format":1}`:   false,
		`{"name":"format","x":["format",2]}`: false,
		`{"format":"2"}`:                     false,
		`{"format":20000000000000000000000}`: false,
		`["format",2]`:                       false,
		`{"format"`:                          false,
		`{"name":"at`:                        false,
		``:                                   false,
		"\x00\x00":                           false,
	} {
		err := CheckNewer([]byte(text), 1)
		if is := errors.As(err, new(*NewerError)); is != newer || err != nil && !is {
			t.Errorf("%q: %v", text, err)
		}
	}
}
