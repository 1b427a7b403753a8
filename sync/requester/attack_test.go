package requester

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
	"pkgsneak/sync/clients"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/drivewriter"
	"pkgsneak/sync/request"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(t *testing.T, userID string) *manifest.PrivateKey {
	t.Helper()
	key, err := manifest.GenerateKey(userID, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// stick is a drive with one request on it.
type stick struct {
	t     *testing.T
	mount string
	key   *manifest.PrivateKey
}

func (s *stick) write(key *manifest.PrivateKey, name string, serial int64, record, list []byte) {
	s.t.Helper()
	d, err := drive.Create(s.mount)
	if err != nil {
		s.t.Fatal(err)
	}
	defer d.Close()
	if _, err := drivewriter.WriteClient(context.Background(), d,
		drivewriter.ClientOptions{Name: name, Key: key, Serial: serial, Record: record, List: list,
			Now: epoch}); err != nil {
		s.t.Fatal(err)
	}
}

// honest is the request of a client, and its list.
func (s *stick) honest(change func(*request.Record)) (record, list []byte) {
	s.t.Helper()
	list, counts, err := request.PackList(nil, epoch.Unix())
	if err != nil {
		s.t.Fatal(err)
	}
	r := &request.Record{Format: request.Format, Role: request.Role, Client: "attic",
		Fingerprint: s.key.Public().Fingerprint(), Serial: epoch.Unix(), Created: epoch,
		Installed: counts, Machine: &request.Machine{}, Roots: &request.Roots{},
		Wants: []request.Want{{Atom: "app-misc/foo", Why: request.Wished}}}
	if change != nil {
		change(r)
	}
	if record, err = r.Marshal(); err != nil {
		s.t.Fatal(err)
	}
	return bytes.TrimRight(record, "\n"), list
}

// Whatever an attacker can write in the place of a request is not taken, and costs nothing else.
func TestAttacks(t *testing.T) {
	at := func(s *stick, p string) string { return filepath.Join(s.mount, "pkgsneak", p) }
	move := func(s *stick, from, to string) {
		if err := os.Rename(at(s, from), at(s, to)); err != nil {
			s.t.Fatal(err)
		}
	}
	record := func(change func(*request.Record)) func(*stick) {
		return func(s *stick) {
			r, l := s.honest(change)
			s.write(s.key, "attic", epoch.Unix(), r, l)
		}
	}
	replaced := func(old, text string) func(*stick) {
		return func(s *stick) {
			r, l := s.honest(nil)
			if !bytes.Contains(r, []byte(old)) {
				s.t.Fatalf("no %q in %s", old, r)
			}
			s.write(s.key, "attic", epoch.Unix(), bytes.Replace(r, []byte(old), []byte(text), 1), l)
		}
	}
	rows := []struct {
		name string
		do   func(*stick)
		want clients.Standing
	}{
		{"honest", record(nil), clients.New},
		{"forged by a stranger", func(s *stick) {
			r, l := s.honest(nil)
			s.write(newKey(s.t, manifest.ClientUserID("attic")), "attic", epoch.Unix(), r, l)
		}, clients.Unknown},
		{"signed by the key of an origin", func(s *stick) {
			r, l := s.honest(nil)
			s.write(s.key, "attic", epoch.Unix(), r, l)
			if err := os.WriteFile(at(s, "clients/attic/key.asc"),
				newKey(s.t, "bighost").Public().Armor(), 0o644); err != nil {
				s.t.Fatal(err)
			}
		}, clients.New}, // the key that lies beside it decides nothing
		{"moved to another client", func(s *stick) {
			record(nil)(s)
			move(s, "clients/attic", "clients/cellar")
		}, clients.Damaged},
		{"contents flipped", func(s *stick) {
			record(nil)(s)
			name := at(s, "clients/attic/generation/1.json")
			data, err := os.ReadFile(name)
			if err != nil {
				s.t.Fatal(err)
			}
			if err := os.WriteFile(name, bytes.Replace(data, []byte("foo"), []byte("bar"), 1),
				0o644); err != nil {
				s.t.Fatal(err)
			}
		}, clients.Damaged},
		{"oversized", func(s *stick) {
			_, l := s.honest(nil)
			s.write(s.key, "attic", epoch.Unix(), bytes.Repeat([]byte(" "), request.MaxRecord+1), l)
		}, clients.Damaged},
		{"an oversized list", func(s *stick) {
			r, _ := s.honest(nil)
			s.write(s.key, "attic", epoch.Unix(), r, make([]byte, request.MaxListStored+1))
		}, clients.Damaged},
		{"a list larger than it says", func(s *stick) {
			r, _ := s.honest(nil)
			s.write(s.key, "attic", epoch.Unix(), r, []byte("\x28\xb5\x2f\xfd not zstd"))
		}, clients.Damaged},
		{"another serial inside", record(func(r *request.Record) { r.Serial++ }), clients.Damaged},
		{"another key inside", record(func(r *request.Record) {
			r.Fingerprint = newKey(t, "x").Public().Fingerprint()
		}), clients.Damaged},
		{"the record of an origin", replaced(`"role": "request"`, `"role": "origin"`),
			clients.Damaged},
		{"a name with an escape", replaced(`"client": "attic"`, `"client": "attic\u001b[2J"`),
			clients.Damaged},
		{"a want that is a path", replaced(`"atom": "app-misc/foo"`, `"file": "../../etc/shadow"`),
			clients.Damaged},
		{"a want that is a command", replaced(`"app-misc/foo"`, `"app-misc/foo;reboot"`),
			clients.Damaged},
		{"a directory with an escape", func(s *stick) {
			record(nil)(s)
			move(s, "clients/attic", "clients/a\x1b[2J")
		}, 0},
		{"a link in the place of the request", func(s *stick) {
			record(nil)(s)
			name := at(s, "clients/attic/generation/1.json")
			if err := os.Remove(name); err != nil {
				s.t.Fatal(err)
			}
			if err := os.Symlink("/etc/passwd", name); err != nil {
				s.t.Fatal(err)
			}
		}, clients.Damaged},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := &stick{t, t.TempDir(), newKey(t, manifest.ClientUserID("attic"))}
			row.do(s)
			state := t.TempDir()
			store, err := clients.Open(state, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if _, err := store.Accept(s.key.Public(), "attic", epoch); err != nil {
				t.Fatal(err)
			}
			d, err := drive.Open(s.mount)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			found, _, err := readAll(store, d)
			if err != nil {
				t.Fatal(err)
			}
			if row.want == 0 {
				if len(found) != 0 {
					t.Fatalf("found %+v", found[0])
				}
				return
			}
			if len(found) != 1 || found[0].State != row.want || found[0].Err != nil &&
				strings.ContainsAny(found[0].Err.Error(), "\x1b\n") {
				t.Fatalf("got %v: %v", found[0].State, found[0].Err)
			}
			if err := store.Take(found[0], func(clients.Origin, int64) []request.Sum { return nil },
				epoch); err != nil {
				t.Fatal(err)
			}
			c, err := store.Find("attic")
			if err != nil || (c.Serial != 0) != (row.want == clients.New) {
				t.Errorf("remembered serial %d, %v", c.Serial, err)
			}
		})
	}
}

// The claims of a client that was accepted, and what they are worth: it decides what is carried to
// itself, and nothing else.
func TestAttacksOfClients(t *testing.T) {
	const serial = 1_700_000_000
	var sums []request.Sum
	for i := range 8 {
		sums = append(sums, request.Sum{byte(i + 1)})
	}
	own := newKey(t, "bighost").Public().Fingerprint()
	ours := clients.Origin{Name: "bighost", Key: own}
	all := request.Receipt{Origin: "bighost", Key: own, Serial: serial, Entries: len(sums)}
	lacking := func(bits ...int) request.Receipt {
		r := all
		r.Lacks = request.NewBitmap(len(sums))
		for _, i := range bits {
			r.Lacks.Set(i)
		}
		return r
	}
	another := func(change func(*request.Receipt)) request.Receipt {
		r := all
		change(&r)
		return r
	}
	rows := []struct {
		name          string
		first, second request.Receipt
		age           time.Duration // of the second one, beside the first
		want          clients.Standing
		has           int // of our packages, that count as there
	}{
		{"honest", lacking(1, 2), lacking(2), time.Minute, clients.New, 7},
		{"replayed", lacking(1), lacking(1, 2, 3), -time.Minute, clients.Older, 7},
		{"read again", lacking(1), lacking(1), 0, clients.Known, 7},
		{"cloned", lacking(1), lacking(3), 0, clients.Cloned, 6},
		{"a lie: it has all", lacking(1, 2, 3), all, time.Minute, clients.New, 8},
		{"of a foreign origin", lacking(1), another(func(r *request.Receipt) {
			r.Key = newKey(t, "bighost").Public().Fingerprint()
		}), time.Minute, clients.New, 0},
		{"of a foreign name", lacking(1), another(func(r *request.Receipt) { r.Origin = "other" }),
			time.Minute, clients.New, 0},
		{"of a catalogue that nobody made", lacking(1),
			another(func(r *request.Receipt) { r.Serial++ }), time.Minute, clients.New, 0},
		{"of more entries than the catalogue has", lacking(1),
			another(func(r *request.Receipt) { r.Entries = 1000 }), time.Minute, clients.New, 0},
		{"of packages that are not ours", lacking(1), another(func(r *request.Receipt) {
			r.Entries, r.Has = 0, request.Sums{{99}, {100}}
		}), time.Minute, clients.New, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			store, err := clients.Open(t.TempDir(), false, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			key, bystander := newKey(t, manifest.ClientUserID("attic")),
				newKey(t, manifest.ClientUserID("cellar"))
			for name, k := range map[string]*manifest.PrivateKey{"attic": key,
				"cellar": bystander} {
				if _, err := store.Accept(k.Public(), name, epoch); err != nil {
					t.Fatal(err)
				}
			}
			take := func(k *manifest.PrivateKey, name string, at time.Time, r request.Receipt,
				mount string) clients.Standing {
				s := &stick{t, mount, k}
				record, list := s.honest(func(x *request.Record) {
					x.Client, x.Serial, x.Created, x.Receipts = name, at.Unix(), at,
						[]request.Receipt{r}
				})
				s.write(k, name, at.Unix(), record, list)
				d, err := drive.Open(mount)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				found, _, err := readAll(store, d)
				if err != nil || len(found) != 1 || found[0].Err != nil {
					t.Fatalf("found %+v, %v", found, err)
				}
				if err := store.Take(found[0], func(o clients.Origin, n int64) []request.Sum {
					if o == ours && n == serial {
						return sums
					}
					return nil
				}, epoch); err != nil {
					t.Fatal(err)
				}
				return found[0].State
			}
			take(bystander, "cellar", epoch, lacking(0), t.TempDir())
			if got := take(key, "attic", epoch, row.first, t.TempDir()); got != clients.New {
				t.Fatalf("the first one is %v", got)
			}
			if got := take(key, "attic", epoch.Add(row.age), row.second,
				t.TempDir()); got != row.want {
				t.Errorf("it is %v, want %v", got, row.want)
			}
			count := func(name string) (n int) {
				c, err := store.Find(name)
				if err != nil {
					t.Fatal(err)
				}
				for _, sum := range sums {
					if c.HasPackage(ours, sum, epoch) {
						n++
					}
				}
				return n
			}
			if got := count("attic"); got != row.has {
				t.Errorf("%d packages count as there, want %d", got, row.has)
			}
			if got := count("cellar"); got != len(sums)-1 {
				t.Errorf("another client has %d packages", got)
			}
		})
	}
}

// readAll keeps all that is found.
func readAll(s *clients.Store, d *drive.Drive) (found []*clients.Found, more bool, err error) {
	more, err = s.Read(d, epoch, func(f *clients.Found) error {
		found = append(found, f)
		return nil
	})
	return found, more, err
}

// More clients than a host remembers are told, and the rest is not looked at.
func TestThousandsOfClients(t *testing.T) {
	mount := t.TempDir()
	for i := range drive.MaxClients + 10 {
		if err := os.MkdirAll(filepath.Join(mount, "pkgsneak", "clients", fmt.Sprintf("c%04d", i)),
			0o755); err != nil {
			t.Fatal(err)
		}
	}
	d, err := drive.Open(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	store, err := clients.Open(t.TempDir(), false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	found, more, err := readAll(store, d)
	if err != nil || !more || len(found) != drive.MaxClients {
		t.Errorf("%d, %v, %v", len(found), more, err)
	}
}
