package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/payload"
)

const undoKey = manifest.Fingerprint("D5F61741E9304B2121B75F24C7B9416423956074")

func anUndo() *Undo {
	sum := func(b byte) (s [64]byte) { s[0], s[63] = b, b; return s }
	origin := OriginID{Key: undoKey, Name: "big\thost"}
	return &Undo{
		Change: &Changed{
			ID: "0123456789abcdef", State: Importing, When: time.Unix(1772366400,
				0).UTC(), PKGDIR: "/var/cache/binpkgs", DISTDIR: "/d",
			Drives: []string{"/mnt/usb"}, Lists: []string{"exclude-1772366400"},
			Dirs:    []string{"app-misc", "app-misc/foo"},
			Origins: []ChangedOrigin{{origin, 1772366400}, {OriginID{undoKey, "b"}, 2}},
			Files: []ChangedFile{
				{Kind: payload.Distfile, Local: "a.tgz", Kept: 2, Was: Contents{Size: 4},
					MTime: 1772366400123456789, Placed: []Incoming{{Contents{5, sum(9)},
						1772366400}}},
				{Kind: payload.Distfile, Local: "link.tgz", Link: "/ro/link.tgz",
					Placed: []Incoming{{Contents: Contents{5, sum(9)}}}},
				{Kind: payload.Package, Local: "app-misc/foo-1.tbz2", Kept: 1,
					Was: Contents{3, sum(1)}, Placed: []Incoming{{Contents{4, sum(2)}, 7},
						{Contents{5, sum(3)}, 8}},
					Owners: []ChangedOwner{{0, "app-misc/foo-1.tbz2", &Import{"app-misc/foo-1.tbz2",
						3, sum(1)}}, {1, "app-misc/foo-1.tbz2", nil}}},
			},
		},
		Undone: []Undone{{origin, 7, time.Unix(1772366401, 0).UTC()}},
	}
}

func TestUndoRoundTrip(t *testing.T) {
	st, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if u, err := ReadUndo(st); err != nil || u.Change != nil || u.Undone != nil {
		t.Fatalf("nothing is %+v, %v", u, err)
	}
	want := anUndo()
	if err := SaveUndo(st, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadUndo(st)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v\n%+v\n%v", got, want, err)
	}
	if files, size := got.Change.Keeps(); files != 2 || size != 7 {
		t.Errorf("keeps %d files, %d bytes", files, size)
	}
	want.Change.Files, want.head = nil, true
	head, err := ReadUndoHead(st)
	if err != nil || !reflect.DeepEqual(head, want) || head.Whole() || !got.Whole() {
		t.Fatalf("the head: %+v\n%+v\n%v", head, want, err)
	}
	if err := SaveUndo(st, head); err == nil {
		t.Error("the files are lost with the head")
	}
	if err := ForgetUndo(st); err != nil {
		t.Fatal(err)
	}
	if u, err := ReadUndo(st); err != nil || u.Change != nil {
		t.Errorf("forgotten: %+v, %v", u, err)
	}
}

// Names are bytes. A note with one that is not UTF-8 has a version of its own, by which an older
// program tells that it is not damaged.
func TestUndoOfAnyBytes(t *testing.T) {
	written := func(u *Undo) string {
		var b bytes.Buffer
		if err := errors.Join(u.check(), u.write(&b)); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const plain, other = `"version":1}`, `"version":2}`
	if text := written(anUndo()); !strings.Contains(text, plain) {
		t.Errorf("%.80s", text)
	}
	for name, change := range map[string]func(*Changed, string){
		"PKGDIR":          func(c *Changed, s string) { c.PKGDIR = s },
		"DISTDIR":         func(c *Changed, s string) { c.DISTDIR = s },
		"a drive":         func(c *Changed, s string) { c.Drives[0] = s },
		"a directory":     func(c *Changed, s string) { c.Dirs[1] = s },
		"a file":          func(c *Changed, s string) { c.Files[0].Local = s },
		"a link":          func(c *Changed, s string) { c.Files[1].Link = s },
		"an origin's":     func(c *Changed, s string) { c.Files[2].Owners[0].Path = s },
		"what was before": func(c *Changed, s string) { c.Files[2].Owners[0].Before.Local = s },
	} {
		want := anUndo()
		change(want.Change, "a\xe9/<\xff")
		text := written(want)
		got, _, err := parseUndo([]byte(text), false)
		if err != nil || !reflect.DeepEqual(got, want) || !strings.Contains(text, other) {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		head, _, err := parseUndo([]byte(text), true)
		if want.Change.Files, want.head = nil, true; err != nil || !reflect.DeepEqual(head, want) {
			t.Errorf("%s, the head: %v", name, err)
		}
	}
	odd := strings.Replace(written(anUndo()), `"/var/cache/binpkgs"`, `{"hex":"2f61"}`, 1)
	if _, _, err := parseUndo([]byte(odd), false); err == nil {
		t.Error("a name has two spellings")
	}
	newer := strings.Replace(written(anUndo()), plain, `"version":3}`, 1)
	var late *fault.NewerError
	if _, _, err := parseUndo([]byte(newer), false); !errors.As(err, &late) {
		t.Errorf("of a newer program: %v", err)
	}
}

// A head has the files counted, and the lines between them read.
func TestUndoHeadRefuses(t *testing.T) {
	var b bytes.Buffer
	if err := anUndo().write(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	file := text[strings.Index(text, undoFile):]
	file = file[:strings.Index(file, "\n")+1]
	blank := strings.ReplaceAll(text, undoFile, `{ "file" : `)
	if u, _, err := parseUndo([]byte(blank), true); err != nil || u.Change.Files != nil {
		t.Errorf("spelled otherwise: %+v, %v", u, err)
	}
	for name, odd := range map[string]string{
		"a file less":              strings.Replace(text, file, "", 1),
		"no format":                file + text,
		"no end":                   text[:strings.Index(text, `{"end"`)],
		"an import without a name": strings.Replace(text, `"id":"0`, `"id":"x`, 1),
	} {
		if _, _, err := parseUndo([]byte(odd), true); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}

func TestUndoRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Undo){
		"a path out of PKGDIR": func(u *Undo) {
			u.Change.Files[2].Local = "../../etc/passwd"
		},
		"an absolute path":          func(u *Undo) { u.Change.Files[2].Local = "/etc/passwd" },
		"a directory out of PKGDIR": func(u *Undo) { u.Change.Dirs[0] = "../x" },
		"a list out of the state":   func(u *Undo) { u.Change.Lists[0] = "../memory" },
		"a name of kept files":      func(u *Undo) { u.Change.ID = "../0" },
		"no name of kept files":     func(u *Undo) { u.Change.ID = "" },
		"a state of its own":        func(u *Undo) { u.Change.State = "gone" },
		"files without order":       func(u *Undo) { slices.Reverse(u.Change.Files) },
		"one name twice": func(u *Undo) {
			u.Change.Files = append(u.Change.Files, u.Change.Files[2])
		},
		"an origin that is not told": func(u *Undo) { u.Change.Files[2].Owners[0].Origin = 2 },
		"a size that makes no sense": func(u *Undo) { u.Change.Files[0].Was.Size = -1 },
		"placed without a sum": func(u *Undo) {
			u.Change.Files[0].Placed[0].Sum = [64]byte{}
		},
		"placed too often": func(u *Undo) {
			u.Change.Files[0].Placed = make([]Incoming, maxUndoPlaced+1)
		},
		"no fingerprint": func(u *Undo) { u.Undone[0].Key = "x" },
	} {
		u := anUndo()
		spoil(u)
		st, err := Open(t.Context(), t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := SaveUndo(st, u); err == nil {
			t.Errorf("%s is written", name)
		}
		var b bytes.Buffer
		if err := u.write(&b); err != nil {
			t.Fatal(err)
		}
		if _, _, err := parseUndo(b.Bytes(), false); err == nil {
			t.Errorf("%s is read", name)
		}
		st.Close()
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, undoName), []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	st, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var odd *FileError
	if _, err := ReadUndo(st); !errors.As(err, &odd) || odd.Line != 1 ||
		!strings.Contains(odd.Hints("")[0], "rm ") {
		t.Errorf("%v", err)
	}
}

func TestMarksOfWhatWasUndone(t *testing.T) {
	u := anUndo()
	id := u.Change.Origins[0].OriginID
	u.Mark(time.Unix(5, 0))
	if len(u.Undone) != 2 {
		t.Errorf("%+v", u.Undone)
	}
	for serial, want := range map[int64]bool{7: true, 1772366400: true, 1772366401: false} {
		if _, got := u.WasUndone(id, serial); got != want {
			t.Errorf("%d was undone: %v", serial, got)
		}
	}
	if !u.Unmark(id) || u.Unmark(id) {
		t.Errorf("%+v", u.Undone)
	}
}

// A note is what was written, or an error: never something else, and never more than the limits.
func FuzzUndo(f *testing.F) {
	var b bytes.Buffer
	if err := anUndo().write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"format":{"name":"pkgsneak undo","version":1}}` + "\n" + `{"end":1}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, _, err := parseUndo(data, false)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := u.write(&b); err != nil {
			t.Fatal(err)
		}
		again, _, err := parseUndo(b.Bytes(), false)
		if err != nil {
			t.Fatalf("%v\n%s", err, b.Bytes())
		}
		if !reflect.DeepEqual(u, again) {
			t.Errorf("%+v\n%+v", u, again)
		}
	})
}
