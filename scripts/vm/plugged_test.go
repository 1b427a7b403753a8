package vm_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// autoCommand serves a device as udev would have it served.
func autoCommand(role, device string) wire.Command {
	dirs := []string{"--state-dir", hostState, "--pkgdir", hostPkgdir, "--distdir", hostDistdir,
		"--name", "host"}
	if role == "import" {
		dirs = []string{"--state-dir", clientDir + "/state", "--pkgdir", clientDir + "/pkgdir",
			"--distdir", clientDir + "/distdir"}
	}
	return wire.Command{Argv: append([]string{program, "auto", filepath.Base(device), "--json",
		"--auto", role, "--on-done", "cat >/t/hook.json"}, dirs...), Unnamed: true}
}

// autoResult is the result of auto.
type autoResult struct {
	Exit   int
	Report struct {
		Outcome    string
		Message    string
		Error      string
		SafeToPull bool `json:"safe_to_pull"`
		FS         struct{ Type, Label string }
	} `json:"result"`
}

func auto(t testing.TB, m *vm.Machine, role, device string) autoResult {
	t.Helper()
	r := must[wire.Result](t)(m.Run(t.Context(), autoCommand(role, device)))
	return parseAuto(t, r)
}

func parseAuto(t testing.TB, r wire.Result) autoResult {
	t.Helper()
	var a autoResult
	lines := strings.Split(strings.TrimSpace(string(r.Stdout)), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &a); err != nil {
		t.Fatalf("%v: it ended with %d and printed %.300q, %.300q", err, r.Code, r.Stdout, r.Stderr)
	}
	return a
}

// Drives of a shop: their file systems, with a table of partitions and without.
var autoDrives = []struct {
	name, kind  string
	partitioned bool
	mkfs        []string
}{
	{"vfat", "vfat", false, []string{"mkfs.vfat", "-F32", "-n"}},
	{"vfat in a partition", "vfat", true, []string{"mkfs.vfat", "-F32", "-n"}},
	{"exfat", "exfat", false, []string{"mkfs.exfat", "-L"}},
	{"exfat in a partition", "exfat", true, []string{"mkfs.exfat", "-L"}},
	{"ext4", "ext4", false, []string{"mkfs.ext4", "-q", "-L"}},
}

// some leaves a short run the drives that it has time for.
func some(t testing.TB, name string) {
	t.Helper()
	if !long() && name != "vfat in a partition" && name != "exfat" {
		t.Skipf("NO TIME: %s=long has it", modeVariable)
	}
}

// autoImage makes a drive. A partition begins at 1 MiB.
func autoImage(t testing.TB, mkfs []string, label string, partitioned bool) string {
	t.Helper()
	if _, err := exec.LookPath(mkfs[0]); err != nil {
		t.Skipf("THE MACHINE LAB DID NOT RUN: %v", err)
	}
	file := blank(t, 100)
	run(t, mkfs[0], append(append([]string{}, mkfs[1:]...), label, file)...)
	if !partitioned {
		return file
	}
	const start, sectors = 2048, 100 * 2048
	whole := blank(t, 102)
	data := must[[]byte](t)(os.ReadFile(file))
	f := must[*os.File](t)(os.OpenFile(whole, os.O_RDWR, 0))
	defer f.Close()
	table := make([]byte, 512)
	copy(table[446:], []byte{0, 0, 0, 0, 0x0c, 0, 0, 0, start & 0xff, start >> 8, 0, 0,
		sectors & 0xff, sectors >> 8 & 0xff, sectors >> 16, 0})
	copy(table[510:], []byte{0x55, 0xaa})
	for at, b := range map[int64][]byte{0: table, start * 512: data} {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	return whole
}

// A drive is plugged in on the host, pulled when it is safe, and plugged in on
// the client, without a hand on the keyboard: it is filled, and it is emptied.
func TestAuto(t *testing.T) {
	for _, d := range autoDrives {
		t.Run(d.name, func(t *testing.T) {
			some(t, d.name)
			t.Parallel()
			m := borrow(t)
			want := furnish(t, m, sequence()[0])
			resetClient(t, m)
			image := autoImage(t, d.mkfs, "PKGSNEAK", d.partitioned)
			for _, step := range []struct{ role, outcome string }{{"export", "done"},
				{"export", "unchanged"}, {"import", "done"}, {"import", "unchanged"}} {
				p := must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: image}))
				device := p.Device
				if d.partitioned {
					if r := auto(t, m, step.role, device); r.Report.Outcome != "ignored" {
						t.Errorf("the table of partitions: %+v", r)
					}
					device += "1"
				}
				r := auto(t, m, step.role, device)
				if r.Exit != 0 || r.Report.Outcome != step.outcome || !r.Report.SafeToPull ||
					r.Report.FS.Type != d.kind || r.Report.FS.Label != "PKGSNEAK" {
					t.Errorf("%s: %+v", step.role, r)
				}
				if mounts := must[string](t)(m.Sh(t.Context(),
					"cat /proc/mounts")); strings.Contains(mounts, device) {
					t.Errorf("%s: still mounted: %s", step.role, mounts)
				}
				if hook := must[string](t)(m.Sh(t.Context(),
					"cat /t/hook.json; rm /t/hook.json")); !strings.Contains(hook,
					`"outcome":"`+step.outcome+`"`) {
					t.Errorf("%s: the hook got %q", step.role, hook)
				}
				ok(t, p.Pull(t.Context()))
			}
			if got := clientTrees(t, m); !maps.Equal(got, want) {
				t.Errorf("the client: %s", difference(got, want))
			}
		})
	}
}

// Pulled in the middle, again and again, and at last left alone: each run ends
// by itself, nothing stays mounted, and the last one carries everything.
func TestAutoPulls(t *testing.T) {
	for _, d := range autoDrives {
		if d.partitioned {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			some(t, d.name)
			t.Parallel()
			m := borrow(t)
			want := furnish(t, m, sequence()[3])
			image := autoImage(t, d.mkfs, "PKGSNEAK", false)
			pulls := 3
			if long() {
				pulls = 10
			}
			for n := range pulls {
				p := must[*vm.Plugged](t)(m.Plug(t.Context(),
					vm.Stick{Image: image, WriteBytes: 200_000}))
				process := begin(t, m, autoCommand("export", p.Device))
				ok(t, p.Pull(t.Context()))
				_, r := ends(t, process)
				a := parseAuto(t, r)
				if a.Exit != 14 || a.Report.Outcome != "pulled" || a.Report.SafeToPull {
					t.Errorf("pull %d: %+v", n, a)
				}
				if mounts := must[string](t)(m.Sh(t.Context(),
					"cat /proc/mounts; ls /run/pkgsneak")); strings.Contains(mounts, p.Device) ||
					strings.Contains(mounts, "sd") {
					t.Errorf("pull %d: left behind: %s", n, mounts)
				}
			}
			p := must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: image}))
			if a := auto(t, m, "export", p.Device); a.Exit != 0 || !a.Report.SafeToPull {
				t.Errorf("the last export: %+v", a)
			}
			resetClient(t, m)
			if a := auto(t, m, "import", p.Device); a.Exit != 0 {
				t.Errorf("import: %+v", a)
			}
			ok(t, p.Pull(t.Context()))
			if got := clientTrees(t, m); !maps.Equal(got, want) {
				t.Errorf("the client: %s", difference(got, want))
			}
		})
	}
}

// A foreign stick is untouched, byte for byte; so is a write-protected one,
// from which an import works.
func TestAutoLeavesAlone(t *testing.T) {
	for _, d := range autoDrives {
		if d.partitioned {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			some(t, d.name)
			t.Parallel()
			m := borrow(t)
			furnish(t, m, sequence()[0])
			image := autoImage(t, d.mkfs, "HOLIDAY", false)
			before := sum(must[[]byte](t)(os.ReadFile(image)))
			p := must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: image}))
			for _, role := range []string{"export", "import", "both"} {
				if a := auto(t, m, role, p.Device); a.Exit != 0 || a.Report.Outcome != "ignored" ||
					!a.Report.SafeToPull {
					t.Errorf("%s: %+v", role, a)
				}
			}
			ok(t, p.Pull(t.Context()))
			if sum(must[[]byte](t)(os.ReadFile(image))) != before {
				t.Error("the foreign stick was written to")
			}

			ours := autoImage(t, d.mkfs, "PKGSNEAK", false)
			p = must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: ours}))
			auto(t, m, "export", p.Device)
			ok(t, p.Pull(t.Context()))
			p = must[*vm.Plugged](t)(m.Plug(t.Context(), vm.Stick{Image: ours, ReadOnly: true}))
			if a := auto(t, m, "export", p.Device); a.Exit == 0 ||
				!strings.Contains(a.Report.Error, "write-protect") || !a.Report.SafeToPull {
				t.Errorf("export to a write-protected drive: %+v", a)
			}
			resetClient(t, m)
			if a := auto(t, m, "import", p.Device); a.Exit != 0 || a.Report.Outcome != "done" {
				t.Errorf("import from a write-protected drive: %+v", a)
			}
			ok(t, p.Pull(t.Context()))
		})
	}
}
