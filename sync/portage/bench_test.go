package portage

import (
	"testing"
)

func BenchmarkLoad(b *testing.B) {
	root := b.TempDir()
	for _, m := range machines(b) {
		if m.Name == "ordinary make.conf" {
			putMachine(b, root, m.Files)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(b.Context(), Options{Root: root}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseConf(b *testing.B) {
	text := []byte(`# Settings of this machine.
COMMON_FLAGS="-march=native -O2 -pipe"
CFLAGS="${COMMON_FLAGS}"
CXXFLAGS="${COMMON_FLAGS}"
MAKEOPTS="-j8 -l8"
USE="X alsa bluetooth dbus elogind gtk jpeg \
     -gnome -kde -systemd wayland"
FEATURES="buildpkg parallel-fetch"   # packages for the others
PKGDIR="/srv/packages"
DISTDIR='/srv/distfiles'
`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := ParseConf(text, "make.conf", ConfOptions{}); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
