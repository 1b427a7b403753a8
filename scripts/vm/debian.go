package vm

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// findPackages returns the files of Debian packages, and of all that they
// depend on. They are kept in the cache; what is not there, apt-get downloads.
// Nothing is installed: apt is told that this is a machine without packages.
func findPackages(ctx context.Context, cache, name string, packages []string) ([]string, error) {
	kept, err := planPackages(ctx, cache, name, packages)
	if err != nil {
		// Without apt older ones will do.
		old, _ := filepath.Glob(filepath.Join(cache, "debian-"+name+"-*"))
		if len(old) == 0 {
			return nil, &UnavailableError{"Debian's packages", err}
		}
		kept = old[0]
	}
	if _, err := os.Stat(kept); errors.Is(err, fs.ErrNotExist) {
		if err := fetchPackages(ctx, kept, packages); err != nil {
			return nil, &UnavailableError{"Debian's packages", err}
		}
	}
	debs, err := filepath.Glob(filepath.Join(kept, "*.deb"))
	if err == nil && len(debs) == 0 {
		err = fmt.Errorf("there are no packages in %q", kept)
	}
	return debs, err
}

// planPackages asks apt what is to be downloaded; the name of the directory for
// it tells one answer from another.
func planPackages(ctx context.Context, cache, name string,
	packages []string) (dir string, err error) {
	work, err := os.MkdirTemp("", "apt")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	out, err := aptInstall(ctx, work, packages, "--print-uris")
	if err != nil {
		return "", err
	}
	var files []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasSuffix(fields[1], ".deb") {
			files = append(files, fields[1])
		}
	}
	if len(files) == 0 {
		return "", fmt.Errorf("apt-get would download nothing for %q", packages)
	}
	slices.Sort(files)
	sum := sha256.Sum256([]byte(strings.Join(files, "\n")))
	return filepath.Join(cache, "debian-"+name+"-"+hex.EncodeToString(sum[:6])), nil
}

// fetchPackages downloads packages into a directory that appears whole.
func fetchPackages(ctx context.Context, dir string, packages []string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if _, err := aptInstall(ctx, work, packages, "--download-only"); err != nil {
		return err
	}
	err = os.Rename(filepath.Join(work, "archives"), dir)
	if errors.Is(err, fs.ErrExist) {
		return nil // another run was faster
	}
	return err
}

// aptInstall runs apt-get install with a state of its own below the directory.
func aptInstall(ctx context.Context, dir string, packages []string, how string) (string, error) {
	archives, status := filepath.Join(dir, "archives"), filepath.Join(dir, "status")
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return "", err
	}
	words := []string{"-qq", "-y", "--no-install-recommends", how}
	for _, option := range []string{"Dir::State::status=" + status, "Dir::Cache::archives=" +
		archives, "Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache=",
		"Debug::NoLocking=1", "APT::Sandbox::User="} {
		words = append(words, "-o", option)
	}
	return output(ctx, dir, "apt-get", append(append(words, "install"), packages...)...)
}

// pruned are directories of packages that a guest has no use for.
var pruned = []string{"usr/share", "usr/include", "usr/lib/udev/hwdb.d",
	"usr/lib/x86_64-linux-gnu/gconv", "etc/init.d", "usr/lib/systemd/catalog", "etc/pam.d"}

// merged are the directories of the root that are links into usr.
var merged = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// unpack puts the files of a package into the archive.
func (a *archive) unpack(ctx context.Context, deb string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return &UnavailableError{"dpkg-deb", err}
	}
	err = a.untar(pipe)
	_, drained := io.Copy(io.Discard, pipe)
	if err := errors.Join(err, drained, cmd.Wait()); err != nil {
		return fmt.Errorf("unpacking %q: %w: %.300s", deb, err, stderr.Bytes())
	}
	return nil
}

func (a *archive) untar(r io.Reader) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			return a.err
		}
		if err != nil {
			return err
		}
		name := inUsr(h.Name)
		if slices.ContainsFunc(pruned, func(dir string) bool {
			return name == dir ||
				strings.HasPrefix(name, dir+"/")
		}) {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			a.dir(name)
		case tar.TypeReg:
			data, err := io.ReadAll(t)
			if err != nil {
				return err
			}
			a.put(name, 0o100000|int(h.Mode), data)
		case tar.TypeSymlink:
			a.put(name, modeLink, []byte(h.Linkname))
		case tar.TypeLink:
			a.put(name, modeLink, []byte("/"+inUsr(h.Linkname)))
		}
	}
}

// put adds a member and the directories above it.
func (a *archive) put(name string, mode int, data []byte) {
	a.dir(path.Dir(name))
	a.member(name, mode, 0, 0, data)
}

// inUsr is where a file of a package lies on a system whose /bin is in /usr.
func inUsr(name string) string {
	name = path.Clean(strings.TrimPrefix(name, "."))
	name = strings.TrimPrefix(name, "/")
	if first, _, _ := strings.Cut(name, "/"); slices.Contains(merged, first) {
		return "usr/" + name
	}
	return name
}
