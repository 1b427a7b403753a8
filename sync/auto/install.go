package auto

import (
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
	"strconv"
	"strings"

	"pkgsneak/scripts"
	"pkgsneak/sync/durable"
)

// The files that make a system start pkgsneak by itself carry a last line with the digest of the
// lines above it:
//
//	# pkgsneak-sum: 5f70bf18a0860070...
//
// A file whose line is right is as some pkgsneak wrote it, and may be renewed or removed; every
// other one is the user's.
const sumLine = "# pkgsneak-sum: "

// defaultProgram is the program's path in the files of package scripts.
const defaultProgram = "/usr/bin/pkgsneak"

// piece is a file of the system.
type piece struct {
	Path string // below the root, with slashes
	Mode fs.FileMode
	Text string
	// it is there to be edited: what the user made of it stays, and a new version goes beside it
	Settings bool
}

// exampleExt is the end of the name of a settings file that lies beside the user's.
const exampleExt = ".example"

// autoPieces are the files of auto and watch for a program that lies at the path; "" is
// /usr/bin/pkgsneak.
func autoPieces(program string) ([]piece, error) {
	return signed(program, []piece{
		{Path: "etc/udev/rules.d/90-pkgsneak.rules", Mode: 0o644, Text: scripts.UdevRules},
		{Path: "etc/systemd/system/pkgsneak@.service", Mode: 0o644, Text: scripts.AutoUnit},
		{Path: "etc/systemd/system/pkgsneak-watch.service", Mode: 0o644, Text: scripts.WatchUnit},
		{Path: "etc/init.d/pkgsneak-watch", Mode: 0o755, Text: scripts.WatchInit},
		{Path: "etc/conf.d/pkgsneak", Mode: 0o644, Text: scripts.Conf, Settings: true},
	})
}

// servePieces are those of serve.
func servePieces(program string) ([]piece, error) {
	return signed(program, []piece{
		{Path: "etc/systemd/system/pkgsneak-serve.service", Mode: 0o644, Text: scripts.ServeUnit},
		{Path: "etc/systemd/system/pkgsneak-serve.socket", Mode: 0o644, Text: scripts.ServeSocket},
		{Path: "etc/init.d/pkgsneak-serve", Mode: 0o755, Text: scripts.ServeInit},
		{Path: "etc/conf.d/pkgsneak-serve", Mode: 0o644, Text: scripts.ServeConf, Settings: true},
	})
}

// signed puts the program's path in, and the last line.
func signed(program string, pieces []piece) ([]piece, error) {
	if program == "" {
		program = defaultProgram
	}
	if !filepath.IsAbs(program) || strings.ContainsFunc(program, oddInPath) {
		return nil, fmt.Errorf("the program %q: its path cannot stand in a rule of udev", program)
	}
	for i := range pieces {
		text := strings.ReplaceAll(pieces[i].Text, defaultProgram, program)
		pieces[i].Text = text + sumLine + sumOf(text) + "\n"
	}
	return pieces, nil
}

// oddInPath are characters that mean something to udev, systemd or a shell.
func oddInPath(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		strings.ContainsRune("/._-+", r))
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// isOurs reports whether a file is as a pkgsneak wrote it.
func isOurs(data []byte) bool {
	at := bytes.LastIndex(data, []byte("\n"+sumLine))
	if at < 0 {
		return false
	}
	text, last := string(data[:at+1]), string(data[at+1:])
	return last == sumLine+sumOf(text)+"\n"
}

// isPackaged reports whether a file is as a package has it: without the last line.
func (p piece) isPackaged(data []byte) bool {
	return p.Text == string(data)+sumLine+sumOf(string(data))+"\n"
}

// maxPiece is far more than any of the files has.
const maxPiece = 1 << 20

// packagedDirs are the places of a package's files for those of an administrator. A file of the
// same name in /etc takes the place of the package's, for udev and for systemd: nothing runs twice
// where a machine has both. Scripts of OpenRC and settings have one place only.
var packagedDirs = map[string]string{
	"etc/udev/rules.d":   "usr/lib/udev/rules.d",
	"etc/systemd/system": "usr/lib/systemd/system",
}

// packaged moves the pieces to where a package has them.
func packaged(pieces []piece) {
	for i, p := range pieces {
		if dir, ok := packagedDirs[path.Dir(p.Path)]; ok {
			pieces[i].Path = path.Join(dir, path.Base(p.Path))
		}
	}
}

// InstallOptions states where to.
type InstallOptions struct {
	// absolute, in front of all paths; "" or "/" is the running system, which is reloaded
	Root    string
	Program string // path of pkgsneak; "" is /usr/bin/pkgsneak
	Serve   bool   // the files of serve, not those of auto and watch
	// Packaged takes a package's places (/usr/lib/udev, /usr/lib/systemd), not the administrator's.
	Packaged bool
	Force    bool // replace or remove also what the user has changed
	// Confirm asks whether a file that the user has changed may be replaced or removed. nil: it may
	// not.
	Confirm func(path string) (bool, error)
	// as of System
	Run func(ctx context.Context, c Command) (output []byte, code int, err error)
}

// Changes is what an installation did. Each file is in exactly one list; paths are absolute, with
// the root.
type Changes struct {
	Written []string `json:"written"`
	Same    []string `json:"same"`    // was there already, or is a package's
	Removed []string `json:"removed"` // or not there
	Kept    []string `json:"kept"`    // changed by the user, and not as it should be
	Edited  []string `json:"edited"`  // settings that are the user's, and stay
	Notices []string `json:"notices"`
}

func newChanges() *Changes {
	return &Changes{Written: []string{}, Same: []string{}, Removed: []string{}, Kept: []string{},
		Edited: []string{}, Notices: []string{}}
}

// system reports whether the running system is meant.
func (o InstallOptions) system() bool { return o.Root == "" || filepath.Clean(o.Root) == "/" }

// Install puts the files in place, and has them read. They are checked by udevadm and
// systemd-analyze first, where those can.
func Install(ctx context.Context, o InstallOptions) (*Changes, error) {
	pieces, err := o.pieces()
	if err != nil {
		return nil, err
	}
	c := newChanges()
	if err := o.validate(ctx, pieces, c); err != nil {
		return c, err
	}
	if err := os.MkdirAll(filepath.Join("/", o.Root), 0o755); err != nil {
		return c, fmt.Errorf("install: %w", err)
	}
	root, err := openRoot(o.Root)
	if err != nil {
		return c, err
	}
	defer root.Close()
	for _, p := range pieces {
		if err := o.put(root, p, c); err != nil {
			return c, fmt.Errorf("install: %w", o.absolute(err))
		}
	}
	o.reload(ctx, c)
	return c, nil
}

// Uninstall removes what Install wrote.
func Uninstall(ctx context.Context, o InstallOptions) (*Changes, error) {
	pieces, err := o.pieces()
	if err != nil {
		return nil, err
	}
	c := newChanges()
	root, err := openRoot(o.Root)
	if err != nil {
		return c, err
	}
	defer root.Close()
	for _, p := range pieces {
		if err := o.remove(root, p, c); err != nil {
			return c, fmt.Errorf("uninstall: %w", o.absolute(err))
		}
	}
	o.reload(ctx, c)
	return c, nil
}

func (o InstallOptions) pieces() ([]piece, error) {
	all := autoPieces
	if o.Serve {
		all = servePieces
	}
	pieces, err := all(o.Program)
	if o.Packaged {
		packaged(pieces)
	}
	return pieces, err
}

func openRoot(dir string) (*os.Root, error) { return os.OpenRoot(filepath.Join("/", dir)) }

func (o InstallOptions) at(p piece) string { return filepath.Join("/", o.Root, p.Path) }

// absolute makes the names in an error those that a person can look for: os.Root has them without
// the directory that was opened.
func (o InstallOptions) absolute(err error) error {
	full := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join("/", o.Root, name)
	}
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &at):
		at.Path = full(at.Path)
	case errors.As(err, &link):
		link.Old, link.New = full(link.Old), full(link.New)
	}
	return err
}

// put writes one file, unless it is there or is the user's.
func (o InstallOptions) put(root *os.Root, p piece, c *Changes) error {
	data, err := readPiece(root, p.Path)
	switch {
	case err == nil && (string(data) == p.Text || p.isPackaged(data)):
		c.Same = append(c.Same, o.at(p))
		return nil
	case err == nil && !isOurs(data) && p.Settings && !o.Force:
		c.Edited = append(c.Edited, o.at(p))
		example := p
		example.Path, example.Settings = p.Path+exampleExt, false
		return o.put(root, example, c)
	case err == nil && !isOurs(data):
		if ok, err := o.mayChange(p); err != nil || !ok {
			c.Kept = append(c.Kept, o.at(p))
			return err
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := root.MkdirAll(path.Dir(p.Path), 0o755); err != nil {
		return err
	}
	err = durable.Wrap(root, nil).WriteFile(p.Path, durable.Attr{Mode: p.Mode, UID: -1, GID: -1},
		func(w io.Writer) error {
			_, err := io.WriteString(w, p.Text)
			return err
		})
	if err != nil {
		return err
	}
	c.Written = append(c.Written, o.at(p))
	return nil
}

// remove removes one file, unless it is the user's.
func (o InstallOptions) remove(root *os.Root, p piece, c *Changes) error {
	if p.Settings {
		example := p
		example.Path, example.Settings = p.Path+exampleExt, false
		if err := o.remove(root, example, c); err != nil {
			return err
		}
	}
	data, err := readPiece(root, p.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case p.isPackaged(data):
		c.Same = append(c.Same, o.at(p))
		return nil
	case !isOurs(data) && p.Settings && !o.Force:
		c.Edited = append(c.Edited, o.at(p))
		return nil
	case !isOurs(data):
		if ok, err := o.mayChange(p); err != nil || !ok {
			c.Kept = append(c.Kept, o.at(p))
			return err
		}
	}
	if err := root.Remove(p.Path); err != nil {
		return err
	}
	c.Removed = append(c.Removed, o.at(p))
	return durable.Wrap(root, nil).SyncDir(path.Dir(p.Path))
}

func (o InstallOptions) mayChange(p piece) (bool, error) {
	if o.Force {
		return true, nil
	}
	if o.Confirm == nil {
		return false, nil
	}
	return o.Confirm(o.at(p))
}

// readPiece reads a file that may be a user's; one that is too big is none of ours either.
func readPiece(root *os.Root, name string) ([]byte, error) {
	f, err := durable.OpenFile(root, name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxPiece))
}

// udevVerify is the first version of systemd's udevadm that can verify; eudev's gives 251 and
// cannot.
const udevVerify = 254

// validate lets the programs that will read the files check them, in a directory of their own. A
// file that a program cannot check is not checked.
func (o InstallOptions) validate(ctx context.Context, pieces []piece, c *Changes) error {
	dir, err := os.MkdirTemp("", "pkgsneak-install-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var units []string
	for _, p := range pieces {
		name := filepath.Join(dir, path.Base(p.Path))
		if ext := path.Ext(name); ext == ".service" || ext == ".socket" {
			units = append(units, strings.Replace(name, "@.", "@sda1.", 1))
		}
		if err := os.WriteFile(name, []byte(p.Text), 0o600); err != nil {
			return err
		}
	}
	if !o.Serve {
		if err := o.validateRules(ctx, filepath.Join(dir, path.Base(pieces[0].Path)),
			c); err != nil {
			return err
		}
	}
	out, code, err := o.Run(ctx, Command{Name: "systemd-analyze",
		Args: append([]string{"verify"}, units...)})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
	case err != nil || code != 0: // it also fails where the program is not installed yet
		c.Notices = append(c.Notices, "systemd-analyze verify says: "+lastLine(out))
	}
	return nil
}

func (o InstallOptions) validateRules(ctx context.Context, rules string, c *Changes) error {
	out, code, err := o.Run(ctx, Command{Name: "udevadm", Args: []string{"--version"}})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	version, odd := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || code != 0 || odd != nil || version < udevVerify {
		c.Notices = append(c.Notices,
			fmt.Sprintf("the rule was not checked: there is no udevadm that can verify (systemd %d or later)", udevVerify))
		return nil
	}
	out, code, err = o.Run(ctx, Command{Name: "udevadm",
		Args: []string{"verify", "--resolve-names=never", rules}})
	if err != nil {
		return fmt.Errorf("check the rule: %w", err)
	}
	if code != 0 {
		return fmt.Errorf("udevadm verify does not take the rule, so nothing was installed: %s",
			lastLine(out))
	}
	return nil
}

// reload lets udev and systemd of the running system read the files.
func (o InstallOptions) reload(ctx context.Context, c *Changes) {
	if !o.system() || len(c.Written)+len(c.Removed) == 0 {
		return
	}
	var commands []Command
	if !o.Serve {
		commands = append(commands, Command{Name: "udevadm", Args: []string{"control", "--reload"}})
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		commands = append(commands, Command{Name: "systemctl", Args: []string{"daemon-reload"}})
	}
	for _, command := range commands {
		out, code, err := o.Run(ctx, command)
		if err == nil && code != 0 {
			err = fmt.Errorf("it ended with %d: %s", code, lastLine(out))
		}
		if err != nil {
			c.Notices = append(c.Notices, fmt.Sprintf("%s %s: %v", command.Name,
				strings.Join(command.Args, " "), err))
		}
	}
}
