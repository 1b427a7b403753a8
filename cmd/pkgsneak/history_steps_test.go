package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Steps of histories that need more than a command.

// leave lets another machine take the place of a build host, with another name and another key:
// what the one before has exported stays on the drives.
func (w *world) leave(h *computer) {
	if h.lives != nil {
		return
	}
	w.gone = append(w.gone, &computer{name: h.name, root: h.root, key: h.key,
		has: maps.Clone(h.has)})
	w.clear(h.root)
	for _, dir := range []string{filepath.Join(h.root, "etc/portage"), h.pkgdir(), h.distdir()} {
		w.check(os.MkdirAll(dir, 0o755))
	}
	h.name += "x"
	clear(h.has)
	h.last, w.lost = nil, true
	fmt.Fprintf(&w.story, "%s is here instead\n", h.name)
}

// trustNever lets a client pass over what a host exports.
func (w *world) trustNever(c, h *computer) {
	armor := w.run(h, "key", "--armor")
	if armor.code != exitDone {
		return
	}
	file := filepath.Join(w.dir, "key.asc")
	w.check(os.WriteFile(file, []byte(armor.out), 0o644))
	w.run(c, "trust", "remove", h.key)
	if w.run(c, "trust", file, "--never", "--fingerprint", h.key).code == exitDone {
		c.never[h.key] = true
	}
}

// trustReplaces tells a client that a host's key took the place of one that the host had before.
func (w *world) trustReplaces(c, h *computer) {
	w.learnKey(h)
	armor := w.run(h, "key", "--armor")
	if armor.code != exitDone || len(h.keys) < 2 {
		return
	}
	file := filepath.Join(w.dir, "key.asc")
	w.check(os.WriteFile(file, []byte(armor.out), 0o644))
	if w.run(c, "trust", file, "--fingerprint", h.key, "--replaces",
		h.keys[len(h.keys)-2]).code == exitDone {
		delete(c.never, h.key)
	}
}

// forget takes an origin off a drive. Nothing of any other is touched.
func (w *world) forget(h *computer, d *usbDrive, s step, r *rand.Rand) error {
	entries, err := os.ReadDir(filepath.Join(d.root, "pkgsneak"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	w.check(err)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return !e.IsDir() ||
			e.Name() == "keys" || e.Name() == "clients"
	})
	if len(entries) == 0 {
		return nil
	}
	dir := entries[r.IntN(len(entries))].Name()
	others := func() map[string]string {
		files, err := treeOf(d.root)
		w.check(err)
		sums := map[string]string{}
		for _, f := range files {
			if !strings.HasPrefix(f.path, "pkgsneak/"+dir+"/") &&
				!strings.HasPrefix(f.path, "pkgsneak/.") {
				sums[f.path] = f.sum
			}
		}
		return sums
	}
	before := others()
	res := w.runWithFate(h, d.root, s, []string{"forget", dir, d.root, "--yes", "--no-progress"})
	delete(before, "ballast")
	if after := others(); !maps.Equal(before, after) {
		return &broken{promiseOthers, fmt.Sprintf("forget %s: %v is now %v", dir,
			slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))}
	}
	maps.DeleteFunc(d.carries, func(id string, _ content) bool {
		_, name, _ := strings.Cut(id, " ")
		return strings.HasPrefix(dir, name)
	})
	return res.sane()
}

// copyOwn gives a client a file of its own that has the very bytes of a host's, before any import
// brought them.
func (w *world) copyOwn(c, h *computer, r *rand.Rand) {
	keys := slices.Sorted(maps.Keys(h.has))
	if len(keys) == 0 {
		return
	}
	key := keys[r.IntN(len(keys))]
	name := c.file(key)
	if _, err := os.Lstat(name); err == nil || c.came[h.has[key]] ||
		strings.Contains(key, "shared") {
		return
	}
	data, err := os.ReadFile(h.file(key))
	w.check(err)
	fmt.Fprintf(&w.story, "%s: %s is brought by hand from %s, %s\n", c.name, key, h.name,
		h.has[key][:8])
	w.check(os.MkdirAll(filepath.Dir(name), 0o755))
	w.check(os.WriteFile(name, data, 0o644))
	c.has[key] = h.has[key]
	c.dirty[strings.TrimPrefix(key, "p/")] = true
}

// importsTwice lets two imports meet in one PKGDIR and DISTDIR, with a state directory each: in the
// middle of the first one, at an event of its own, the second comes, a process that does not wait
// and can be killed. Either it finds the directories locked, or it does all of its work.
func (w *world) importsTwice(c *computer, d *usbDrive, s step) error {
	other := filepath.Join(c.root, "var/lib/other")
	if _, err := os.Stat(other); err != nil {
		w.check(copyTree(w.keptState(c), other))
	}
	before := w.contentOf(c)
	w.lost = true // what the other one brought is local for this one
	var second result
	events, at := 0, 1+int(s.N%12)
	meet := func() {
		if events++; events == at {
			second = w.importBeside(c, other, d, s)
		}
	}
	w.fated = false
	res := w.runIn(context.Background(), c, meet, nil,
		append([]string{"import", "--no-progress", "-v", d.root}, strings.Fields(s.Flags)...))
	if events < at {
		second = w.importBeside(c, other, d, s)
	}
	err := errors.Join(w.imported(c, d, before, res), second.sane())
	c.undoTo = nil // of two state directories only one has an undo for what changed
	return err
}

func (w *world) importBeside(c *computer, state string, d *usbDrive, s step) result {
	words := []string{"import", "--no-progress", "-v", d.root, "--state-dir", state,
		"--lock-wait", "1ms"}
	cmd := exec.Command(w.program, words...)
	cmd.Dir, cmd.Env = w.dir, w.environment(c)
	if s.Fate == "kill" {
		cmd.Env = append(cmd.Env, fmt.Sprint("STORY_KILL=", s.At))
	}
	w.commands++
	out, err := cmd.CombinedOutput()
	code := 0
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		code = failed.ExitCode()
	} else {
		w.check(err)
	}
	fmt.Fprintf(&w.story, "%s$ pkgsneak %s\n%s  -> %d\n", c.name,
		strings.Join(words, " "), out, code)
	return result{words, code, string(out)}
}

// undo takes the last import back. The client's own files stay, and if nothing happened since,
// all is as it was before.
func (w *world) undo(c *computer, s step) error {
	was := c.undoTo
	c.undoTo = nil
	res := w.runWithFate(c, c.root, s, []string{"undo", "--no-progress"})
	if err := errors.Join(w.promises(c), res.sane()); err != nil {
		return err
	}
	c.ended = w.fated || res.code != exitDone // the next import goes on with what was to be undone
	if was == nil || c.ended {
		return nil
	}
	if here := w.contentOf(c); !maps.Equal(here, was) {
		return &broken{promiseUndo, fmt.Sprintf("%s has %v, had %v", c.name, here, was)}
	}
	return nil
}

// request writes what a client has and lacks to a drive; now and then the host accepts its key.
func (w *world) request(c, h *computer, d *usbDrive, s step) error {
	before := w.contentOf(c)
	res := w.runWithFate(c, d.root, s, []string{"request", d.root})
	if here := w.contentOf(c); !maps.Equal(before, here) {
		return &broken{promiseOwn, fmt.Sprintf("a request: %s has %v, had %v", c.name,
			here, before)}
	}
	if s.N%2 == 0 {
		w.run(h, "clients", d.root)
		accepted := w.run(h, "clients", "accept", c.name)
		for _, found := range hintAccept.FindAllStringSubmatch(accepted.out, -1) {
			w.run(h, "clients", "accept", found[1])
		}
	}
	return errors.Join(w.promises(c), res.sane())
}

var hintAccept = regexp.MustCompile(`pkgsneak clients accept ([0-9A-F]{40})`)

const film = "film.mkv"

// makeSmall leaves little space on a drive, or takes away again what is in the way.
func (w *world) makeSmall(d *usbDrive, r *rand.Rand) {
	if w.makeLarge(d); !w.mounted || r.IntN(4) == 0 {
		return
	}
	leave := []int64{0, 4096, 100_000, 700_000, 3_000_000, 6_000_000}[r.IntN(6)]
	fmt.Fprintf(&w.story, "a film leaves %d bytes on %s\n", leave, d.root)
	w.check(fillDisk(d.root, filepath.Join(d.root, film), leave))
	d.small = true
}

func (w *world) makeLarge(d *usbDrive) {
	if err := os.Remove(filepath.Join(d.root, film)); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		w.check(err)
	}
	d.small = false
}
