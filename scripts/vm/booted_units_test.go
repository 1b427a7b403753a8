package vm_test

import (
	"bytes"
	"maps"
	"os"
	"strings"
	"testing"

	"pkgsneak/scripts/vm"
	"pkgsneak/scripts/vm/wire"
)

// service is how the init is told something about a service.
func (b *booted) service(t testing.TB, verb, name string) {
	t.Helper()
	if b.systemd {
		b.sh(t, "systemctl "+verb+" "+name)
		return
	}
	b.sh(t, "rc-service "+strings.TrimSuffix(name, ".service")+" "+verb)
}

// isUp reports whether the init believes that a service runs.
func (b *booted) isUp(t testing.TB, name string) bool {
	t.Helper()
	argv := []string{"rc-service", name, "status"}
	if b.systemd {
		argv = []string{"systemctl", "is-active", name}
	}
	return must[wire.Result](t)(b.Run(t.Context(), wire.Command{Argv: argv})).Code == 0
}

// endsWell fails if a service that was stopped has left something, or failed.
func (b *booted) endsWell(t *testing.T, name string) {
	t.Helper()
	b.service(t, "stop", name)
	b.idle(t)
	if b.isUp(t, name) {
		t.Errorf("%s is still up", name)
	}
}

// The service of watch: a drive that somebody has mounted gets what is there,
// and what is built meanwhile; it may go and come.
func watchService(t *testing.T, b *booted) {
	states, image := sequence(), b.used(t, 1)
	furnish(t, b.Machine, states[0])
	resetClient(t, b.Machine)
	b.be(t, "export", "PKGSNEAK_AUTO=", "PKGSNEAK_WATCH=/mnt/w", "PKGSNEAK_SETTLE=1s",
		"PKGSNEAK_PROGRESS=never")
	b.sh(t, "mkdir -p /mnt/w")
	b.service(t, "start", "pkgsneak-watch")
	// what each state has that those before have not
	for n, mark := range []string{"libnew-1.2.3.tar.xz", "another-one-4.4.4"} {
		p := b.plug(t, vm.Stick{Image: image})
		mount := wire.Mount{Device: p.Device + "1", Dir: "/mnt/w", Type: "vfat"}
		b.until(t, "the partition is there", func() bool {
			_, err := b.Sh(t.Context(), "test -b "+mount.Device)
			return err == nil
		})
		ok(t, b.Mount(t.Context(), mount))
		want := furnish(t, b.Machine, states[n+1])
		b.until(t, "the drive has what the host has", func() bool {
			list, err := b.Get(t.Context(), "/mnt/w/pkgsneak/host/Manifest")
			if err != nil || !bytes.Contains(list, []byte(mark)) {
				return false
			}
			resetClient(t, b.Machine)
			c := importCommand()
			c.Argv[len(c.Argv)-1] = "/mnt/w"
			r := must[wire.Result](t)(b.Run(t.Context(), c))
			return r.Code == 0 && maps.Equal(clientTrees(t, b.Machine), want)
		})
		if !b.isUp(t, "pkgsneak-watch") {
			t.Error("the service is not up")
		}
		b.until(t, "the drive can be unmounted", func() bool {
			return b.Unmount(t.Context(), "/mnt/w") == nil
		})
		ok(t, p.Pull(t.Context()))
		unmounted(t, image, "vfat", true)
	}
	b.endsWell(t, "pkgsneak-watch")
}

// The service of serve, and the socket that starts it.
func serveService(t *testing.T, b *booted) {
	furnish(t, b.Machine, sequence()[0])
	b.be(t, "export", "PKGSNEAK_LISTEN=127.0.0.1:8081")
	b.sh(t, "chmod 755 /t /t/host; pkgsneak serve --install 2>&1") // others may read what is served
	want := b.sh(t, "cd "+hostDistdir+"; sha256sum <hello-1.0.tar.gz")
	fetch := func(port string) {
		t.Helper()
		b.until(t, "port "+port+" gives the distfile", func() bool {
			out, err := b.Sh(t.Context(),
				"wget -q -O /t/got http://127.0.0.1:"+port+"/distfiles/hello-1.0.tar.gz; sha256sum </t/got; rm /t/got")
			return err == nil && out == want
		})
	}
	b.service(t, "start", "pkgsneak-serve")
	fetch("8081")
	if who := b.sh(t,
		"stat -c %u /proc/$(pidof pkgsneak | tr ' ' '\\n' | tail -n 1)"); strings.TrimSpace(who) == "0" {
		t.Errorf("it serves as user %s", who)
	}
	b.endsWell(t, "pkgsneak-serve")
	if !b.systemd {
		return
	}
	b.sh(t, "systemctl start pkgsneak-serve.socket")
	if b.isUp(t, "pkgsneak-serve.service") {
		t.Error("the service is up before anybody has asked")
	}
	fetch("8080")
	b.sh(t, "systemctl stop pkgsneak-serve.socket pkgsneak-serve.service")
	b.idle(t)
}

// Taken away again: a drive that is plugged in is left alone.
func uninstalled(t *testing.T, b *booted) {
	b.be(t, "export")
	// The settings are the user's now, and stay; that is the meaning of 3.
	r := must[wire.Result](t)(b.Run(t.Context(),
		wire.Command{Argv: []string{"pkgsneak", "auto", "--uninstall"}}))
	if r.Code != 3 || !strings.Contains(string(r.Stderr), confFile) {
		t.Errorf("it ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	image := autoImage(t, autoDrives[1].mkfs, "PKGSNEAK", true)
	before := sum(must[[]byte](t)(os.ReadFile(image)))
	p := b.plug(t, vm.Stick{Image: image})
	b.sh(t, "udevadm settle")
	b.until(t, "udev knows the partition", func() bool {
		return strings.Contains(b.sh(t, "udevadm info "+p.Device+"1"), "ID_FS_LABEL=PKGSNEAK")
	})
	ok(t, p.Pull(t.Context()))
	b.idle(t)
	if sum(must[[]byte](t)(os.ReadFile(image))) != before {
		t.Error("it was written to")
	}
}
