package importer

import (
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/state"
	"pkgsneak/sync/trust"
)

// Of two keys under one name the one that came later takes the place of the other. Where that is
// not certain both ways are told.
func TestContest(t *testing.T) {
	day := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	type side struct {
		made time.Time
		dir  string // "": not at hand
		at   string
		name string
		had  string
	}
	for name, tc := range map[string]struct {
		old, next side
		want      string // of "next", "old", both in the order in which they are told
		reason    string
	}{
		"by the keys": {side{made: day}, side{made: day.Add(time.Hour)}, "next",
			"if box lost its key"},
		"by the directories, and the keys agree": {side{made: day, dir: "box", at: "usb"},
			side{made: day.Add(time.Hour), dir: "box-00000000", at: "usb"}, "next", ""},
		"a machine without a clock made the new one": {side{made: day, dir: "box", at: "usb"},
			side{made: time.Unix(3600, 0), dir: "box-00000000", at: "usb"}, "next", ""},
		"and the directories are on two drives": {side{made: day, dir: "box", at: "usb"},
			side{made: time.Unix(3600, 0), dir: "box-00000000", at: "other"}, "next old", ""},
		"the old one was made by a clock that was ahead": {
			side{made: day.AddDate(3, 0, 0), dir: "box", at: "usb"},
			side{made: day, dir: "box-00000000", at: "usb"}, "next old", ""},
		"two other names": {side{made: day, name: "a"}, side{made: day.Add(time.Hour), name: "b"},
			"", ""},
		"the one says that it was the other": {side{made: day.AddDate(3, 0, 0), name: "a"},
			side{made: day, dir: "b", at: "usb", name: "b", had: "a"}, "next", "if a goes on as b"},
	} {
		t.Run(name, func(t *testing.T) {
			im := &importer{operation: &operation{}, trusted: trust.View{}}
			add := func(s side) state.OriginID {
				key, err := manifest.GenerateKey("k", s.made)
				if err != nil {
					t.Fatal(err)
				}
				im.trusted.Ring = append(im.trusted.Ring, key.Public())
				id := state.OriginID{Key: key.Public().Fingerprint(), Name: "box"}
				if s.name != "" {
					id.Name = s.name
				}
				if s.dir != "" {
					record := &layout.Record{Origin: id.Name}
					if s.had != "" {
						record.Formerly = []string{s.had}
					}
					im.origins = append(im.origins, &incoming{id: id, at: s.at,
						gen:          &drive.Generation{Record: record},
						OriginImport: &OriginImport{Plan: &ImportPlan{Dir: s.dir}}})
				}
				return id
			}
			old, next := add(tc.old), add(tc.next)
			ways := map[string]string{
				"next": "--fingerprint " + string(next.Key) + " --replaces " + string(old.Key),
				"old":  "--fingerprint " + string(old.Key) + " --replaces " + string(next.Key),
			}
			for turn, c := range []contest{{im, next, old}, {im, old, next}} {
				hint := c.hint("usb")
				for who, way := range ways {
					if told := strings.Contains(hint, way); told != strings.Contains(tc.want, who) {
						t.Errorf("turn %d: %q has the way of %s: %v, want %q", turn,
							hint, who, told,
							tc.want)
					}
				}
				if !strings.HasPrefix(hint, tc.reason) {
					t.Errorf("turn %d: %q, want %q first", turn, hint, tc.reason)
				}
			}
		})
	}
}
