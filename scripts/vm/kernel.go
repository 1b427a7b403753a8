package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// UnavailableError reports that this machine cannot have a lab, and why.
type UnavailableError struct {
	Need string
	Err  error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("the lab needs %s: %v", e.Need, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// Kernel is an unpacked kernel.
type Kernel struct {
	Version string
	Image   string   // vmlinux, or vmlinuz where that could not be unpacked
	Modules []string // files, in the order to load
}

// modules are those that a guest needs, and what they need without naming
// so. One that is built in, or that this kernel does not have, is left out.
var modules = []string{
	"virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p",
	"xhci_pci", "usb_storage", "sd_mod", "nbd", "loop",
	"nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "vfat", "exfat",
	"crc32c_generic", "ext4", "xfs",
	"xxhash_generic", "sha256_generic", "blake2b_generic", "btrfs",
}

// FindKernel returns the kernel of Debian's package linux-image-amd64. It is
// unpacked in the cache; if there is none, apt-get downloads it. A user who
// wants a newer one removes what is there.
func FindKernel(ctx context.Context, cache string) (*Kernel, error) {
	if have, _ := filepath.Glob(filepath.Join(cache, "linux-image-*")); len(have) > 0 {
		return loadKernel(ctx, slices.Max(have))
	}
	name, err := kernelPackage(ctx)
	if err != nil {
		return nil, &UnavailableError{"Debian's kernel", err}
	}
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := fetchKernel(ctx, name, dir); err != nil {
			return nil, &UnavailableError{"Debian's kernel", err}
		}
	}
	return loadKernel(ctx, dir)
}

// kernelPackage asks apt for the real package behind linux-image-amd64.
func kernelPackage(ctx context.Context) (string, error) {
	out, err := output(ctx, "", "apt-cache", "depends", "--no-recommends", "--no-suggests",
		"linux-image-amd64")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", errors.New("apt-cache knows no linux-image-amd64")
}

// fetchTime is how long a kernel may take to come, 70 MB, and to be unpacked.
const fetchTime = 10 * time.Minute

// fetchKernel downloads and unpacks a package, and keeps what a guest can use.
func fetchKernel(ctx context.Context, name, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	work, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if _, err := output(ctx, work, "apt-get", "-q", "download", name); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get downloaded %q (%v)", debs, err)
	}
	tree := filepath.Join(work, "tree")
	if _, err := output(ctx, work, "dpkg", "-x", debs[0], tree); err != nil {
		return err
	}
	kept := filepath.Join(work, "kept")
	if err := keepKernel(ctx, tree, kept); err != nil {
		return err
	}
	err = os.Rename(kept, dir)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, errors.ErrUnsupported) {
		return nil // another run was faster
	}
	return err
}

// keepKernel takes the image and the modules out of the package's tree.
func keepKernel(ctx context.Context, tree, kept string) error {
	images, _ := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if len(images) != 1 {
		return fmt.Errorf("the package has the kernels %q", images)
	}
	all := make(map[string]string) // name of a module -> file
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		base, _, isModule := strings.Cut(filepath.Base(path), ".ko")
		if err == nil && isModule && d.Type().IsRegular() {
			all[strings.ReplaceAll(base, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return err
	}
	k := keeper{ctx: ctx, all: all, dir: kept, done: make(map[string]bool)}
	for _, name := range modules {
		if err := k.module(name); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(kept, "order"), []byte(strings.Join(k.order, "\n")),
		0o644); err != nil {
		return err
	}
	image, err := os.ReadFile(images[0])
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(kept, "vmlinuz"), image, 0o644); err != nil {
		return err
	}
	if plain := unpackImage(ctx, image); plain != nil {
		return os.WriteFile(filepath.Join(kept, "vmlinux"), plain, 0o644)
	}
	return nil
}

// keeper copies modules and what they depend on.
type keeper struct {
	ctx   context.Context
	all   map[string]string
	dir   string
	done  map[string]bool
	order []string
}

func (k *keeper) module(name string) error {
	path, ok := k.all[name]
	if !ok || k.done[name] {
		return nil
	}
	k.done[name] = true
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if unpack := unpackers[filepath.Ext(path)]; unpack != nil {
		if data, err = filter(k.ctx, data, unpack...); err != nil {
			return err
		}
	}
	needs, err := dependencies(data)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	for _, need := range needs {
		if err := k.module(need); err != nil {
			return err
		}
	}
	k.order = append(k.order, name+".ko")
	return os.WriteFile(filepath.Join(k.dir, name+".ko"), data, 0o644)
}

// dependencies reads the modules that a module depends on, from the section in
// which it lists them.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it has no .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	var needs []string
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			for need := range strings.SplitSeq(list, ",") {
				needs = append(needs, strings.ReplaceAll(need, "-", "_"))
			}
		}
	}
	return needs, nil
}

// unpackers are the programs for what kernels and modules are compressed with.
var unpackers = map[string][]string{
	".xz":  {"xz", "-dc"},
	".zst": {"zstd", "-dc"},
	".gz":  {"gzip", "-dc"},
}

// unpackImage takes the ELF file out of a vmlinuz: it boots in a third of the
// time under emulation. It returns nil where that does not work.
func unpackImage(ctx context.Context, image []byte) []byte {
	for _, c := range []struct{ magic, ext string }{
		{"\xfd7zXZ\x00", ".xz"}, {"\x28\xb5\x2f\xfd", ".zst"}, {"\x1f\x8b\x08", ".gz"},
	} {
		for at := bytes.Index(image, []byte(c.magic)); at >= 0; {
			// Something lies behind the compressed data, which each of these programs
			// complains about after writing what came before.
			plain, _ := filter(ctx, image[at:], unpackers[c.ext]...)
			if bytes.HasPrefix(plain, []byte("\x7fELF")) && len(plain) > 1<<20 {
				return plain
			}
			next := bytes.Index(image[at+1:], []byte(c.magic))
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return nil
}

func loadKernel(_ context.Context, dir string) (*Kernel, error) {
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		return nil, fmt.Errorf("reading the kernel: %w", err)
	}
	k := &Kernel{Version: strings.TrimPrefix(filepath.Base(dir), "linux-image-"),
		Image: filepath.Join(dir, "vmlinux")}
	if _, err := os.Stat(k.Image); err != nil {
		k.Image = filepath.Join(dir, "vmlinuz")
	}
	for _, name := range strings.Fields(string(order)) {
		k.Modules = append(k.Modules, filepath.Join(dir, name))
	}
	return k, nil
}

// output runs a program and returns what it printed.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w: %.300s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// filter pipes data through a program; what it wrote is returned even if it
// failed.
func filter(ctx context.Context, data []byte, argv ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("running %s: %w", argv[0], err)
	}
	return out, err
}
