package vm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// booted is a guest with an init and udev, in which pkgsneak is installed. In
// its stories nobody types a command once a drive is plugged in.
type booted struct {
	*vm.Machine
	systemd bool
	taken   int // results that a story has seen
	plugs   int
	seeds   map[string]string // images of drives to which sequence()[0] was exported
}

// The pace of a drive that is written to for so long that something can happen
// meanwhile, and how much is written to be sure that it is payload; bytes, and
// bytes a second.
const (
	slowly  = 20_000
	halfway = 40_000
)

// told is what the hook gets.
type told struct {
	Outcome    string
	Message    string
	Error      string
	SafeToPull bool `json:"safe_to_pull"`
	Device     struct{ Name string }
	FS         struct{ Type, Label string }
	Import     *struct {
		Refused []struct{ Reason string }
	}
	Began, Ended time.Time
}

// The files with the hook's results and with the settings.
const (
	doneFile = "/var/lab/done"
	confFile = "/etc/conf.d/pkgsneak"
)

// bootSystem boots a system and installs pkgsneak in it.
func bootSystem(t *testing.T, s vm.System) *booted {
	t.Helper()
	lab(t)
	places <- struct{}{}
	t.Cleanup(func() { <-places })
	if !long() && time.Since(started) > shortRun {
		t.Skipf("NO TIME: the short run has used its %v; %s=long has it", shortRun, modeVariable)
	}
	began := time.Now()
	b := &booted{systemd: s.Name == "systemd", seeds: make(map[string]string)}
	b.Machine = boot(t, func(c *vm.Config) { c.System, c.Memory, c.CPUs = &s, 1536, 2 })
	t.Cleanup(b.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the guest:\n%s", b.log(context.Background()))
		}
	})
	settle(t, b.Machine)
	b.sh(t, "mkdir -p /var/lab")
	b.booting(t)
	t.Logf("%s has booted after %.1f s; udev %s", s.Name, time.Since(began).Seconds(),
		strings.TrimSpace(b.sh(t, "udevadm --version")))
	out := b.sh(t, "pkgsneak auto --install 2>&1")
	t.Logf("installed:\n%s", out)
	return b
}

// booting waits until the init has done all it has to do.
func (b *booted) booting(t *testing.T) {
	t.Helper()
	b.until(t, "the system is up", func() bool {
		if !b.systemd {
			_, err := b.Get(t.Context(), "/run/lab-ready")
			return err == nil
		}
		r := must[wire.Result](t)(b.Run(t.Context(),
			wire.Command{Argv: []string{"systemctl", "is-system-running", "--wait"}}))
		return strings.TrimSpace(string(r.Stdout)) == "running"
	})
}

// sh runs a script that must succeed.
func (b *booted) sh(t testing.TB, script string) string {
	t.Helper()
	return must[string](t)(b.Sh(t.Context(), script))
}

// patience is how long anything may take, emulated on a busy machine.
const patience = 5 * time.Minute

// until waits for a condition.
func (b *booted) until(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !met(); time.Sleep(300 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
	}
}

// log is what pkgsneak, and those who start it, have printed.
func (b *booted) log(ctx context.Context) string {
	script := "cat /var/log/messages"
	if b.systemd {
		script = "journalctl --no-pager -o short-monotonic -b | grep -E 'pkgsneak|udev'"
	}
	out, err := b.Sh(ctx, script)
	if err != nil {
		out += err.Error()
	}
	return out
}

// logged waits for a line in the log.
func (b *booted) logged(t *testing.T, text string) {
	t.Helper()
	b.until(t, fmt.Sprintf("the log has %q", text), func() bool {
		return strings.Contains(b.log(t.Context()), text)
	})
}

// settings are the lines of conf.d for a host or a client.
func settings(role string) []string {
	dir, more := "/t/host", []string{"PKGSNEAK_NAME=host"}
	if role != "export" {
		dir, more = clientDir, nil
	}
	return append(more, "PKGSNEAK_AUTO="+role, "PKGSNEAK_STATE_DIR="+dir+"/state",
		"PKGSNEAK_PKGDIR="+dir+"/pkgdir", "PKGSNEAK_DISTDIR="+dir+"/distdir",
		`PKGSNEAK_ON_DONE="cat >>`+doneFile+`"`)
}

// be makes the machine a host or a client.
func (b *booted) be(t testing.TB, role string, more ...string) {
	t.Helper()
	text := strings.Join(append(settings(role), more...), "\n") + "\n"
	ok(t, b.Put(t.Context(), wire.Put{Path: confFile, Data: []byte(text), Mode: 0o644}))
}

// plug plugs a drive in.
func (b *booted) plug(t testing.TB, s vm.Stick) *vm.Plugged {
	t.Helper()
	b.plugs++
	p := must[*vm.Plugged](t)(b.Plug(t.Context(), s))
	t.Cleanup(func() {
		if t.Failed() {
			_ = p.Pull(context.Background()) // it may be out
		}
	})
	return p
}

// used is a drive of that kind to which the host has exported before: what is
// left to do is little, above all not the program.
func (b *booted) used(t *testing.T, kind int) string {
	t.Helper()
	d := autoDrives[kind]
	if b.seeds[d.name] == "" {
		furnish(t, b.Machine, sequence()[0])
		b.be(t, "export")
		image := autoImage(t, d.mkfs, "PKGSNEAK", d.partitioned)
		p := b.plug(t, vm.Stick{Image: image})
		b.serves(t, "done")
		ok(t, p.Pull(t.Context()))
		b.idle(t)
		b.keep(t, d.name, image)
	}
	image := filepath.Join(t.TempDir(), "used.img")
	run(t, "cp", "--sparse=always", b.seeds[d.name], image)
	return image
}

// keep keeps an image for other stories.
func (b *booted) keep(t testing.TB, name, image string) {
	t.Helper()
	dir := must[string](t)(os.MkdirTemp(theLab().dir, "seed"))
	b.seeds[name] = filepath.Join(dir, "used.img")
	run(t, "cp", "--sparse=always", image, b.seeds[name])
}

// writing waits until a drive has got some payload.
func (b *booted) writing(t *testing.T, p *vm.Plugged) {
	t.Helper()
	b.until(t, "something was written", func() bool {
		return must[vm.Moved](t)(p.Moved(t.Context())).WrittenBytes > halfway
	})
}

// results are those that no story has taken yet.
func (b *booted) results(t testing.TB) []told {
	t.Helper()
	data, err := b.Get(t.Context(), doneFile)
	if err != nil {
		return nil // nothing was done yet
	}
	var all []told
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var r told
		if err := d.Decode(&r); err != nil {
			return all[b.taken:] // the last one is being written, perhaps
		}
		all = append(all, r)
	}
}

// next waits for the next results, one for each drive.
func (b *booted) next(t *testing.T, n int) []told {
	t.Helper()
	var got []told
	b.until(t, fmt.Sprintf("%d runs have ended", n), func() bool {
		got = b.results(t)
		return len(got) >= n
	})
	b.taken += n
	for _, r := range got[:n] {
		t.Logf("%s: %s, %.1f s: %s", r.Device.Name, r.Outcome,
			r.Ended.Sub(r.Began).Seconds(), r.Message)
	}
	return got[:n]
}

// serves waits for a result that states: done, and safe to pull.
func (b *booted) serves(t *testing.T, outcome string) told {
	t.Helper()
	r := b.next(t, 1)[0]
	if r.Outcome != outcome || !r.SafeToPull ||
		!strings.HasSuffix(r.Message, "it can be pulled now") {
		t.Errorf("it should be %q: %+v", outcome, r)
	}
	return r
}

// ended waits until nothing of pkgsneak runs.
func (b *booted) ended(t *testing.T) {
	t.Helper()
	b.until(t, "no run is left", func() bool {
		r := must[wire.Result](t)(b.Run(t.Context(),
			wire.Command{Argv: []string{"pidof", "pkgsneak"}}))
		return r.Code != 0
	})
}

// idle waits until nothing of pkgsneak runs, and looks at what is left.
func (b *booted) idle(t *testing.T) {
	t.Helper()
	b.ended(t)
	if got := b.results(t); len(got) > 0 {
		t.Errorf("more was done than was asked for: %+v", got)
		b.taken += len(got)
	}
	if mounts := b.sh(t, "cat /proc/mounts"); strings.Contains(mounts, "/dev/sd") {
		t.Errorf("still mounted: %s", mounts)
	}
	if left := b.sh(t,
		"[ ! -e /run/pkgsneak ] || find /run/pkgsneak -mindepth 1 -type d"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if !b.systemd {
		return
	}
	b.until(t, "no unit is at work", func() bool {
		return b.sh(t,
			"systemctl list-units --no-legend --plain --state=active,activating,deactivating 'pkgsneak@*'") == ""
	})
	if failed := b.sh(t, "systemctl --failed --no-legend --plain"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}
}

// part is where the partition of autoImage begins.
const part = 1 << 20

// unmounted fails unless the file system of an image was left as an unmount
// leaves it: the dirty bit is off, and fsck finds nothing.
func unmounted(t testing.TB, image, kind string, partitioned bool) {
	t.Helper()
	if partitioned {
		data := must[[]byte](t)(os.ReadFile(image))
		image = filepath.Join(t.TempDir(), "part")
		ok(t, os.WriteFile(image, data[part:], 0o600))
	}
	argv := map[string][]string{"vfat": {"fsck.vfat", "-n"}, "exfat": {"fsck.exfat", "-n"},
		"ext4": {"e2fsck", "-n"}}[kind]
	out, err := exec.Command(argv[0], append(argv[1:], image)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("irty")) {
		t.Errorf("the %s was not unmounted: %v\n%s", kind, err, out)
	}
}

func TestBootedSystemd(t *testing.T) {
	t.Parallel()
	stories(t, bootSystem(t, vm.Systemd()))
}

// OpenRC with systemd's udevd, as Gentoo has it in systemd-utils.
func TestBootedOpenRC(t *testing.T) {
	t.Parallel()
	stories(t, bootSystem(t, vm.OpenRC()))
}

// eudev is what other distributions have; Debian's stable release is not one
// of them.
func TestBootedEudev(t *testing.T) {
	lab(t)
	out, err := exec.Command("apt-cache", "policy", "eudev").Output()
	if err != nil || !bytes.Contains(out, []byte("Candidate: ")) ||
		bytes.Contains(out, []byte("Candidate: (none)")) {
		t.Skipf("THE MACHINE LAB DID NOT RUN: this Debian has no package eudev (apt-cache policy eudev: %v)", errors.Join(err, errors.New("no candidate")))
	}
	s := vm.OpenRC()
	s.Name = "eudev"
	for i, name := range s.Packages {
		if name == "udev" {
			s.Packages[i] = "eudev"
		}
	}
	s.Files["etc/init.d/udev"] = strings.Replace(s.Files["etc/init.d/udev"],
		"/lib/systemd/systemd-udevd", "/sbin/udevd", 1)
	stories(t, bootSystem(t, s))
}

// stories are what happens to a machine one after the other. A short run has
// the first one, with one drive.
func stories(t *testing.T, b *booted) {
	began := time.Now()
	for _, s := range []struct {
		name  string
		short bool
		tell  func(*testing.T, *booted)
	}{
		{"plugged in on the host and on the client", true, carried},
		{"a disk in an enclosure", false, enclosure},
		{"plugged in while the machine starts", false, early},
		{"two at once", false, twoAtOnce},
		{"ten times in a row", false, tenTimes},
		{"pulled in the middle", false, pulledInTheMiddle},
		{"swapped while the hook runs", false, swapped},
		{"a foreign stick", false, foreignStick},
		{"an untrusted key", false, untrustedKey},
		{"events that mean nothing", false, spurious},
		{"longer than udev's patience", false, longRun},
		{"watch", false, watchService},
		{"serve", false, serveService},
		{"uninstalled", false, uninstalled},
	} {
		t.Run(s.name, func(t *testing.T) {
			if !s.short && !long() {
				t.Skipf("NO TIME: %s=long has it", modeVariable)
			}
			at := time.Now()
			s.tell(t, b)
			t.Logf("took %.1f s", time.Since(at).Seconds())
		})
	}
	t.Logf("%d plugs in %.0f s", b.plugs, time.Since(began).Seconds())
}

// A drive is filled on the host, and emptied on the client.
func carried(t *testing.T, b *booted) {
	for _, d := range autoDrives {
		if !long() && d.name != "vfat in a partition" {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			want := furnish(t, b.Machine, sequence()[0])
			resetClient(t, b.Machine)
			image := autoImage(t, d.mkfs, "PKGSNEAK", d.partitioned)
			steps := []struct{ role, outcome string }{{"export", "done"}, {"import", "done"}}
			if long() {
				steps = append(steps, []struct{ role, outcome string }{{"import", "unchanged"},
					{"export", "unchanged"}}...)
			}
			for _, step := range steps {
				b.be(t, step.role)
				p := b.plug(t, vm.Stick{Image: image})
				r := b.serves(t, step.outcome)
				ok(t, p.Pull(t.Context()))
				if r.FS.Type != d.kind || r.FS.Label != "PKGSNEAK" {
					t.Errorf("%s: %+v", step.role, r)
				}
				unmounted(t, image, d.kind, d.partitioned)
				b.idle(t)
				if step.role == "export" && step.outcome == "done" {
					b.keep(t, d.name, image)
				}
			}
			if got := clientTrees(t, b.Machine); !maps.Equal(got, want) {
				t.Errorf("the client: %s", difference(got, want))
			}
		})
	}
}

// A disk that is behind a bridge from USB to ATA: udev asks the disk itself, and
// reports that its bus is ata. QEMU has none; a rule sets the same.
func enclosure(t *testing.T, b *booted) {
	image := b.used(t, 2)
	furnish(t, b.Machine, sequence()[1])
	b.be(t, "export")
	rule := `KERNEL=="sd*", ENV{ID_BUS}="ata"`
	ok(t, b.Put(t.Context(), wire.Put{Path: "/etc/udev/rules.d/61-lab.rules",
		Data: []byte(rule + "\n"), Mode: 0o644}))
	b.sh(t, "udevadm control --reload")
	p := b.plug(t, vm.Stick{Image: image})
	b.serves(t, "done")
	if info := b.sh(t, "udevadm info "+p.Device); !strings.Contains(info, "ID_BUS=ata") {
		t.Errorf("it is no disk in an enclosure: %s", info)
	}
	ok(t, p.Pull(t.Context()))
	b.sh(t, "rm /etc/udev/rules.d/61-lab.rules; udevadm control --reload")
	b.idle(t)
}

// OpenRC's udev finds drives before the machine's own file systems are mounted,
// and PKGDIR may be one of those: the run waits.
func early(t *testing.T, b *booted) {
	if b.systemd {
		t.Skip("systemd starts the unit after local-fs.target")
	}
	image := b.used(t, 1)
	furnish(t, b.Machine, sequence()[1])
	b.be(t, "export")
	b.sh(t, "rc-service localmount zap")
	p := b.plug(t, vm.Stick{Image: image})
	b.logged(t, "waiting for the machine to mount its file systems")
	if got := b.results(t); len(got) > 0 {
		t.Errorf("it did not wait: %+v", got)
	}
	b.sh(t, "rc-service localmount start")
	b.serves(t, "done")
	ok(t, p.Pull(t.Context()))
	b.idle(t)
}

// Two drives at once: one waits for the other, on the host and on the client.
func twoAtOnce(t *testing.T, b *booted) {
	images := []string{b.used(t, 1), b.used(t, 2)}
	want := furnish(t, b.Machine, sequence()[1])
	resetClient(t, b.Machine)
	for _, role := range []string{"export", "import"} {
		b.be(t, role)
		var plugged []*vm.Plugged
		for _, image := range images {
			plugged = append(plugged, b.plug(t, vm.Stick{Image: image, WriteBytes: slowly}))
		}
		seen := make(map[string]bool)
		for _, r := range b.next(t, 2) {
			seen[r.Device.Name] = true
			if r.Outcome != "done" && (r.Outcome != "unchanged" || role == "export") ||
				!r.SafeToPull {
				t.Errorf("%s: %+v", role, r)
			}
		}
		if len(seen) != 2 {
			t.Errorf("%s: of two drives, %v were served", role, seen)
		}
		for _, p := range plugged {
			ok(t, p.Pull(t.Context()))
		}
		b.idle(t)
	}
	b.logged(t, "waiting for the run on another drive to end")
	if got := clientTrees(t, b.Machine); !maps.Equal(got, want) {
		t.Errorf("the client: %s", difference(got, want))
	}
}

// The same drive again and again, as soon as it may be pulled.
func tenTimes(t *testing.T, b *booted) {
	image := b.used(t, 1)
	furnish(t, b.Machine, sequence()[2])
	b.be(t, "export")
	for n := range 10 {
		outcome := "unchanged"
		if n == 0 {
			outcome = "done"
		}
		p := b.plug(t, vm.Stick{Image: image})
		b.serves(t, outcome)
		ok(t, p.Pull(t.Context()))
	}
	b.idle(t)
	unmounted(t, image, "vfat", true)
}

// Pulled while it is written to, and plugged in again.
func pulledInTheMiddle(t *testing.T, b *booted) {
	for kind, d := range autoDrives {
		if d.name == "vfat" || d.name == "exfat in a partition" {
			continue // the others have each of the two
		}
		t.Run(d.name, func(t *testing.T) {
			image := b.used(t, kind)
			want := furnish(t, b.Machine, sequence()[3])
			resetClient(t, b.Machine)
			b.be(t, "export")
			for n := range 2 {
				p := b.plug(t, vm.Stick{Image: image, WriteBytes: slowly})
				b.writing(t, p)
				ok(t, p.Pull(t.Context()))
				if r := b.next(t, 1)[0]; r.Outcome != "pulled" || r.SafeToPull {
					t.Errorf("pull %d: %+v", n, r)
				}
				b.idle(t)
			}
			p := b.plug(t, vm.Stick{Image: image})
			b.serves(t, "done")
			ok(t, p.Pull(t.Context()))
			unmounted(t, image, d.kind, d.partitioned)
			b.be(t, "import")
			p = b.plug(t, vm.Stick{Image: image})
			b.serves(t, "done")
			ok(t, p.Pull(t.Context()))
			b.idle(t)
			if got := clientTrees(t, b.Machine); !maps.Equal(got, want) {
				t.Errorf("the client: %s", difference(got, want))
			}
		})
	}
}

// The users are told that a drive can be pulled, and then the hook is run: who
// is quick has plugged the next drive in before that has ended.
func swapped(t *testing.T, b *booted) {
	first, second := b.used(t, 1), b.used(t, 3)
	furnish(t, b.Machine, sequence()[1])
	b.be(t, "export",
		`PKGSNEAK_ON_DONE="cat >>`+doneFile+`; echo >>/var/lab/hook-began; sleep 10; echo >>/var/lab/hook-ended"`)
	b.sh(t, "rm -f /var/lab/hook-*")
	for _, image := range []string{first, second, first} {
		p := b.plug(t, vm.Stick{Image: image})
		r := b.next(t, 1)[0]
		if r.Outcome != "done" && r.Outcome != "unchanged" || !r.SafeToPull {
			t.Errorf("%+v", r)
		}
		ok(t, p.Pull(t.Context()))
	}
	b.idle(t)
	if n := b.sh(t,
		"wc -l </var/lab/hook-began; wc -l </var/lab/hook-ended"); strings.Join(strings.Fields(n),
		" ") != "3 3" {
		t.Errorf("hooks that began and ended: %q", n)
	}
}

// A stick of somebody else stays as it is, byte for byte.
func foreignStick(t *testing.T, b *booted) {
	for _, d := range autoDrives {
		t.Run(d.name, func(t *testing.T) {
			furnish(t, b.Machine, sequence()[0])
			b.be(t, "both")
			image := autoImage(t, d.mkfs, "HOLIDAY", d.partitioned)
			before := sum(must[[]byte](t)(os.ReadFile(image)))
			alone := strings.Count(b.log(t.Context()), "left alone")
			p := b.plug(t, vm.Stick{Image: image})
			b.until(t, "the log says that it was left alone", func() bool {
				return strings.Count(b.log(t.Context()), "left alone") > alone
			})
			ok(t, p.Pull(t.Context()))
			b.idle(t)
			if sum(must[[]byte](t)(os.ReadFile(image))) != before {
				t.Error("it was written to")
			}
		})
	}
}

// A drive that is signed by a key that nobody trusts is refused, and everybody
// is told.
func untrustedKey(t *testing.T, b *booted) {
	image := b.used(t, 3)
	resetClient(t, b.Machine)
	before := sum(must[[]byte](t)(os.ReadFile(image)))
	b.be(t, "import")
	b.sh(t, "rm -rf "+clientDir+"/state")
	p := b.plug(t, vm.Stick{Image: image})
	r := b.next(t, 1)[0]
	ok(t, p.Pull(t.Context()))
	if b.systemd { // which reports it too, until the next plug
		b.until(t, "the unit has failed", func() bool {
			return strings.HasPrefix(b.sh(t, "systemctl --failed --no-legend --plain"),
				"pkgsneak@"+r.Device.Name)
		})
		b.sh(t, "systemctl reset-failed")
	}
	b.idle(t)
	if !r.SafeToPull || !strings.Contains(r.Message+r.Error, "trust") {
		t.Errorf("%+v", r)
	}
	b.logged(t, "trust")
	if got := clientTrees(t, b.Machine); len(got) > 0 {
		t.Errorf("the client has got %v", got)
	}
	if sum(must[[]byte](t)(os.ReadFile(image))) != before {
		t.Error("the drive was written to")
	}
}

// Events that mean nothing new: upgrades of udev trigger all devices, fsck and
// others make the kernel send "change".
func spurious(t *testing.T, b *booted) {
	image := b.used(t, 1)
	furnish(t, b.Machine, sequence()[1])
	b.be(t, "export")
	p := b.plug(t, vm.Stick{Image: image, WriteBytes: slowly})
	b.writing(t, p)
	for _, action := range []string{"add", "change", "add"} {
		b.sh(t, "udevadm trigger --settle --subsystem-match=block --action="+action)
	}
	b.serves(t, "done")
	b.ended(t)
	for _, r := range b.results(t) { // of an "add" that came after the end
		b.serves(t, "unchanged")
		t.Logf("once more: %+v", r)
	}
	b.idle(t)
	b.sh(t,
		"udevadm trigger --settle --subsystem-match=block --action=change; udevadm control --reload; : >"+p.Device+"1")
	b.sh(t, "udevadm settle")
	b.idle(t)
	ok(t, p.Pull(t.Context()))
	unmounted(t, image, "vfat", true)
}

// A run takes as long as it needs, also when udev, which kills what takes longer
// than event_timeout, is started again meanwhile.
func longRun(t *testing.T, b *booted) {
	const timeout = 10 * time.Second // emulated, an event of udev alone takes some
	image := b.used(t, 3)
	furnish(t, b.Machine, sequence()[1])
	b.be(t, "export")
	restart := "rc-service --nodeps udev restart"
	if b.systemd {
		restart = "systemctl restart systemd-udevd"
	}
	// A program of the event itself shows that the timeout is the stated one.
	b.sh(t, fmt.Sprintf(`echo event_timeout=%d >/etc/udev/udev.conf
printf '#!/bin/sh\necho >/var/lab/slow-began; sleep 120; echo >/var/lab/slow-ended' >/var/lab/slow; chmod 755 /var/lab/slow
echo 'SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ACTION=="add", RUN+="/var/lab/slow"' >/etc/udev/rules.d/99-lab.rules
%s`, int(timeout.Seconds()), restart))
	p := b.plug(t, vm.Stick{Image: image, WriteBytes: slowly / 4})
	b.writing(t, p)
	b.sh(t, restart)
	r := b.serves(t, "done")
	ok(t, p.Pull(t.Context()))
	b.idle(t)
	took := r.Ended.Sub(r.Began)
	t.Logf("a run of %.0f s, udev's timeout is %v", took.Seconds(), timeout)
	if took < 2*timeout {
		t.Errorf("the run took %v, which shows nothing", took)
	}
	if files := b.sh(t, "ls /var/lab"); !strings.Contains(files, "slow-began") ||
		strings.Contains(files, "slow-ended") {
		t.Errorf("the timeout is not what it says: %s", files)
	}
	b.sh(t, ": >/etc/udev/udev.conf; rm /etc/udev/rules.d/99-lab.rules; "+restart)
}
