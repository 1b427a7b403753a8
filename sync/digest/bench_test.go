package digest

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkPeers prints what one processor hashes, in MB a second of its time, and how many times
// as much of it coreutils' program needs for the same bytes. SHA-256 is there for comparison:
// nothing uses it.
//
//	go test -run '^$' -bench Peers ./sync/digest
func BenchmarkPeers(b *testing.B) {
	data := bytes.Repeat([]byte("sixteen bytes..\n"), 16<<20/16)
	name := filepath.Join(b.TempDir(), "data")
	if err := os.WriteFile(name, bytes.Repeat(data, 16), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, program string
		hash          io.Writer
	}{
		{"md5", "md5sum", New(MD5)},
		{"sha1", "sha1sum", New(SHA1)},
		{"sha512", "sha512sum", New(SHA512)},
		{"blake2b", "b2sum", New(BLAKE2B)},
		{"sha256", "sha256sum", sha256.New()},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			start := used(b)
			for b.Loop() {
				c.hash.Write(data)
			}
			each := (used(b) - start) / time.Duration(b.N)
			b.ReportMetric(float64(len(data))/each.Seconds()/1e6, "MB/cpu-s")
			if theirs, found := coreutils(b, c.program, name); found {
				b.ReportMetric(float64(theirs)/16/float64(each), c.program+"/ours")
			}
		})
	}
}

// used is the processor time of this process so far.
func used(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// coreutils is the processor time that a program of coreutils needs for a file.
func coreutils(b *testing.B, program, file string) (time.Duration, bool) {
	path, err := exec.LookPath(program)
	if err != nil {
		b.Logf("%s is not in PATH: left out", program)
		return 0, false
	}
	cmd := exec.Command(path, file)
	cmd.Stdout = io.Discard
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), true
}
