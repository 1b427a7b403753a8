package auto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
	"pkgsneak/sync/exporter"
	"pkgsneak/sync/fault"
	"pkgsneak/sync/importer"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/payload"
)

// driveName is the drive for people: its label and its device.
func (r *Result) driveName() string {
	if r.FS.Label == "" {
		return r.Device.Name
	}
	return fmt.Sprintf("%q (%s)", r.FS.Label, r.Device.Name)
}

// sentence is the line that users get to see.
func (r *Result) sentence() string {
	switch r.Outcome {
	case NoRole:
		return "PKGSNEAK_AUTO is not set; the drive was left alone (set it to export, import or both)"
	case Busy:
		return "another run is at work on this drive"
	}
	switch {
	case r.Device.Path == "" && r.Outcome == Pulled:
		return "there is no such device, or not any more"
	case r.Device.Path == "":
		return r.Error
	}
	var parts []string
	if r.Export != nil {
		parts = append(parts, exportWords(r.Export))
	}
	if r.Import != nil {
		parts = append(parts, importWords(r.Import))
	}
	switch r.Outcome {
	case Pulled:
		parts = append(parts,
			"it was pulled before the end. It holds its last complete state: plug it in again")
	case Interrupted:
		parts = append(parts, "interrupted")
	case Failed:
		parts = append(parts, r.Error)
	}
	return "drive " + r.driveName() + ": " + strings.Join(parts, "; ") + r.pullWords()
}

func (r *Result) pullWords() string {
	switch {
	case r.Outcome == Pulled, r.left:
		return ""
	case r.SafeToPull:
		return "; it can be pulled now"
	case r.Mount != "":
		return fmt.Sprintf("; it is still mounted on %q: unmount it before you pull it", r.Mount)
	}
	return "; it is still in use: do not pull it yet"
}

func exportWords(e *exporter.ExportReport) string {
	if e.Unchanged {
		return fmt.Sprintf("nothing has changed since the last export as %q", e.Plan.Origin) +
			leftWords(len(e.LeftOut)) + refusedWords(len(e.Refused))
	}
	s := fmt.Sprintf("exported %s as %q", files(len(e.Copied)), e.Plan.Origin)
	if n := len(e.Removed); n > 0 {
		s += fmt.Sprintf(", removed %s", files(n))
	}
	return s + leftWords(len(e.LeftOut)) + refusedWords(len(e.Refused))
}

// refusedWords are about the packages that an export found to be refused, and left on the drive.
func refusedWords(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", 1 package here is refused"
	}
	return fmt.Sprintf(", %d packages here are refused", n)
}

func importWords(i *importer.ImportReport) string {
	var parts []string
	for _, o := range i.Origins {
		s := fmt.Sprintf("imported %s of %q", files(len(o.Copied)), o.Plan.Origin)
		if len(o.Copied) == 0 {
			s = fmt.Sprintf("all of %q is here", o.Plan.Origin)
		}
		if n := len(o.Pruned); n > 0 {
			s += fmt.Sprintf(", removed %s", files(n))
		}
		parts = append(parts, s+leftWords(len(o.LeftOut)))
	}
	for _, t := range i.Trees {
		switch {
		case t.Missed():
			parts = append(parts, fmt.Sprintf("the repository %s stays as it is: %s",
				t.Name, t.Reason))
		case t.Taken:
			parts = append(parts, fmt.Sprintf("renewed the repository %s", t.Name))
		}
	}
	for _, refused := range i.Refused {
		parts = append(parts, refused.Reason)
	}
	return strings.Join(parts, "; ")
}

func leftWords(n int) string {
	if n == 0 {
		return ""
	}
	return ", " + files(n) + " left out"
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return strconv.Itoa(n) + " files"
}

// more are the lines that follow the sentence: what helps, and what to type next.
func (r *Result) more() []string {
	var lines []string
	for _, h := range r.Hints {
		lines = append(lines, "hint: "+h)
	}
	if r.Import != nil {
		for _, n := range r.Import.Next {
			lines = append(lines, "next: "+n)
		}
	}
	return lines
}

// tell gives the result to everybody whom it concerns. A drive that is none of ours, and does
// not ask to be, concerns the log alone.
func (r *runner) tell(ctx context.Context) {
	level := Info
	switch {
	case r.result.Outcome == Failed:
		level = Error
	case r.result.Error != "" || r.result.Outcome == NoRole:
		level = Warning
	}
	lines := append([]string{r.result.Message}, r.result.more()...)
	for _, l := range lines {
		r.log(level, "%s", l)
	}
	if !r.tree && !r.label {
		return
	}
	if r.o.Users != nil {
		if err := r.o.Users(lines); err != nil {
			r.log(Warning, "tell the users: %v", err)
		}
	}
	if err := r.hook(ctx); err != nil {
		r.log(Warning, "PKGSNEAK_ON_DONE: %v", err)
	}
}

// hookTime is how long the hook may take.
const hookTime = 30 * time.Second

// hook runs the user's command with the result.
func (r *runner) hook(ctx context.Context) error {
	if r.o.Hook == "" {
		return nil
	}
	stdin, err := r.o.encode(r.result)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	out, code, err := r.sys.Run(ctx, Command{Name: "/bin/sh", Args: []string{"-c", r.o.Hook},
		Stdin: stdin})
	if err == nil && code != 0 {
		err = fmt.Errorf("it ended with %d: %s", code, lastLine(out))
	}
	return err
}

// resultLines is how many files the text on the drive names.
const resultLines = 100

// leaveText writes what was done into pkgsneak/RESULT-HOST.txt, for whoever carries the drive. The
// file lies beside the origins, and belongs to no generation.
func (r *runner) leaveText(ctx context.Context, failed error) error {
	host, err := layout.OriginName(r.m.Hostname)
	if err != nil {
		return err
	}
	if err := r.at.need(ctx, write); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.at.point())
	if err != nil {
		return err
	}
	defer root.Close()
	tree, err := root.OpenRoot(layout.TreeDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // the export that would have made it has failed
	}
	if err != nil {
		return err
	}
	defer tree.Close()
	f, err := durable.OpenFile(tree, "RESULT-"+host+".txt",
		os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, r.text(failed))
	return errors.Join(err, f.Sync(), f.Close())
}

// text is the result in plain words.
func (r *runner) text(failed error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pkgsneak on %s, %s\n\n", r.m.Hostname,
		fault.Time(r.m.Now()))
	var left, refused []payload.Item
	if e := r.result.Export; e != nil {
		b.WriteString(exportWords(e) + "\n")
		left, refused = append(left, e.LeftOut...), e.Refused
	}
	if i := r.result.Import; i != nil {
		b.WriteString(importWords(i) + "\n")
		for _, o := range i.Origins {
			left = append(left, o.LeftOut...)
		}
		for _, n := range i.Next {
			b.WriteString("next: " + n + "\n")
		}
	}
	if failed != nil {
		fmt.Fprintf(&b, "failed: %v\n", failed)
	}
	writeItems(&b, "left out", left)
	writeItems(&b, "refused by the rules of this version, and left alone on the drive", refused)
	return b.String()
}

// writeItems lists files under a heading, each with its reason.
func writeItems(b *strings.Builder, heading string, items []payload.Item) {
	if len(items) > 0 {
		fmt.Fprintf(b, "\n%s:\n", heading)
	}
	for n, it := range items {
		if n == resultLines {
			fmt.Fprintf(b, "and %s more\n", files(len(items)-n))
			break
		}
		fmt.Fprintf(b, "%q: %s\n", it.Path, it.Reason)
	}
}
