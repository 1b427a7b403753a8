package state

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// text is a name in a file of JSON: a string, or {"hex":"…"} with its bytes where they are not
// UTF-8, for which JSON has no string.
type text string

type hexText struct {
	Hex string `json:"hex"`
}

// MarshalJSON writes the name.
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(hexText{hex.EncodeToString([]byte(t))})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *text) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '{' {
		return json.Unmarshal(data, (*string)(t))
	}
	var h hexText
	if err := json.Unmarshal(data, &h); err != nil {
		return err
	}
	b, err := hex.DecodeString(h.Hex)
	if err == nil && utf8.Valid(b) {
		err = fmt.Errorf("%.80q is UTF-8, and written in hex", b)
	}
	*t = text(b)
	return err
}

func textsOf(list []string) (texts []text) {
	for _, s := range list {
		texts = append(texts, text(s))
	}
	return texts
}

func stringsOf(texts []text) (list []string) {
	for _, t := range texts {
		list = append(list, string(t))
	}
	return list
}

// validPath is fs.ValidPath for names of any bytes.
func validPath(name string) bool { return fs.ValidPath(strings.ToValidUTF8(name, "?")) }
