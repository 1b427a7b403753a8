package request

import (
	"errors"
	"strings"
	"testing"
)

// Each two wrong symbols of a code are found, whatever they are typed as; so is each single one,
// and each two neighbours that changed places.
func TestEachWrongPairIsFound(t *testing.T) {
	code := Code{Result: Partly, Client: ClientTag("attic"),
		Manifest: [4]byte{0xde, 0xad, 0xbe, 0xef}}.String()
	plain := strings.ReplaceAll(code, "-", "")
	if len(code) != 19 || len(plain) != codeSymbols {
		t.Fatalf("code %q", code)
	}
	word := []byte(plain)
	for i := range word {
		for j := i + 1; j < len(word); j++ {
			for _, a := range []byte(crockford) {
				for _, b := range []byte(crockford) {
					wrong := []byte(plain)
					wrong[i], wrong[j] = a, b
					if _,
						err := ParseCode(string(wrong)); (err == nil) != (string(wrong) == plain) {
						t.Fatalf("%s for %s: %v", wrong, plain, err)
					}
				}
			}
		}
	}
}

// The generator has its four roots: each word of the code does.
func TestCodeHasItsRoots(t *testing.T) {
	for client := range uint32(500) {
		word := strings.ReplaceAll(Code{Client: client * 2097, Manifest: [4]byte{byte(client), 1, 2,
			3}}.String(), "-", "")
		for _, root := range []byte{2, 4, 8, 16} {
			var value byte
			for _, c := range []byte(word) {
				value = times(value, root) ^ byte(strings.IndexByte(crockford, c))
			}
			if value != 0 {
				t.Fatalf("%s has %d at %d", word, value, root)
			}
		}
	}
}

func TestCodeAsPeopleType(t *testing.T) {
	want := Code{Client: ClientTag("cellar"), Manifest: [4]byte{0, 1, 16, 255}}
	text := want.String()
	for _, typed := range []string{text, strings.ToLower(text), strings.ReplaceAll(text, "-", ""),
		strings.ReplaceAll(text, "-", " "),
		strings.ReplaceAll(text, "0", "o"), strings.ReplaceAll(text, "1",
			"l"), strings.ReplaceAll(text, "1", "I")} {
		if got, err := ParseCode(typed); err != nil || got != want {
			t.Errorf("%q: %v, %v", typed, got, err)
		}
	}
	for _, typed := range []string{"", text + "0", text[1:],
		strings.Replace(text, text[:1], "U", 1), "é" + text[1:]} {
		if _, err := ParseCode(typed); !errors.Is(err, ErrCode) {
			t.Errorf("%q: %v", typed, err)
		}
	}
}

func FuzzCode(f *testing.F) {
	f.Add(Code{Client: 77, Manifest: [4]byte{1, 2, 3, 4}}.String())
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCode(text)
		if err != nil {
			return
		}
		if again, err := ParseCode(c.String()); err != nil || again != c {
			t.Fatalf("%q: %v, then %v, %v", text, c, again, err)
		}
	})
}
