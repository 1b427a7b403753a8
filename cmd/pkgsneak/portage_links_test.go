package main_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// withoutLinks runs a program for which link(2) and linkat(2) fail with EPERM, as on FAT, exFAT and
// all else that has no hard links.
const withoutLinks = `
import ctypes, os, platform, struct, sys
calls = {"x86_64": (86, 265), "aarch64": (37,)}[platform.machine()]
code = struct.pack("HBBI", 0x20, 0, 0, 0)  # the number of the call
for i, call in enumerate(calls):
    code += struct.pack("HBBI", 0x15, len(calls) - i, 0, call)
code += struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)  # allowed
code += struct.pack("HBBI", 0x06, 0, 0, 0x00050001)  # EPERM

class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("code", ctypes.c_char_p)]

libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(code) // 8, code)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit("no filter: errno %d" % ctypes.get_errno())
os.execvp(sys.argv[1], sys.argv[1:])
`

// TestPortageWithoutLinks is the reason for doctor's finding about a PKGDIR without hard links:
// real Portage cannot write an index there, pkgsneak can.
func TestPortageWithoutLinks(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skipf("SKIPPED: the numbers of the system calls of %s are not known here", runtime.GOARCH)
	}
	w := newPortageWorld(t)
	m := w.machine(t, "fat", "")
	m.buildpkg(t, "gpkg", "multi", "exfat", "app-misc/hello")
	index := filepath.Join(m.pkgdir, "Packages")
	must(t, os.Remove(index))
	must(t, os.RemoveAll(index+".gz"))
	limited := func(name string, args ...string) portageOutcome {
		t.Helper()
		return m.try(t, []string{"PYTHONPATH=" + w.pythonLib}, "python",
			append([]string{"-c", withoutLinks, name}, args...)...)
	}
	o := limited(lookIn(os.Getenv("PATH"), "emaint"), "binhost", "--fix")
	if o.code == 0 || !strings.Contains(o.text, "OperationNotPermitted") {
		t.Errorf("emaint ends with %d; what doctor says is not true any more\n%s", o.code, o.text)
	}
	if _, err := os.Stat(index); err == nil {
		t.Error("emaint wrote an index")
	}
	if o := limited(w.pkgsneak, "index", m.pkgdir); o.code != 0 ||
		!strings.Contains(m.index(t), "CPV: app-misc/hello") {
		t.Errorf("pkgsneak index: exit %d\n%s", o.code, o.text)
	}
	m.check(t, "")
}
