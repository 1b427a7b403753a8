package fault

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Text is an error for people: one line, in which a name is quoted, and stands once. The errors of
// package os have an operation and a name of their own, unquoted:
//
//	export to "usb": stat usb: no such file or directory
//	opening the drive: openat a\x1bb: permission denied
//
// become
//
//	export to "usb": no such file or directory
//	opening the drive: open "a\x1bb": permission denied
func Text(err error) string {
	text := err.Error()
	walk(err, func(e error) bool {
		text = shorten(text, e)
		return false
	})
	return strings.ReplaceAll(text, "\n", "; ") // of errors.Join
}

// Bare is the reason alone, the kernel's or os.Root's, where the caller names the operation and the
// path better: what is inside an *fs.PathError, and err itself where there is none.
func Bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Time is a moment in a message: all times are in UTC and marked as such.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// Serial is the serial of a generation, Unix seconds, in an error or a notice: its time.
func Serial(serial int64) string { return Time(time.Unix(serial, 0)) }

// Size is a number of bytes for people: "17 B", "7.3 KiB", "19 MiB".
func Size(n int64) string {
	if n < 0 {
		return "-" + humanize.IBytes(-uint64(n))
	}
	return humanize.IBytes(uint64(n))
}

// shorten rewrites the text of one error of package os within the text of another one.
func shorten(text string, e error) string {
	var names []string
	var op string
	var reason error
	switch e := e.(type) {
	case *fs.PathError:
		op, names, reason = e.Op, []string{e.Path}, e.Err
	case *os.LinkError:
		op, names, reason = e.Op, []string{e.Old, e.New}, e.Err
	default:
		return text
	}
	before, after, found := strings.Cut(text, e.Error())
	if !found || reason == nil || errors.Is(reason, e) {
		return text
	}
	told := true
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
		told = told && strings.Contains(before, quoted[i])
	}
	if told {
		return before + reason.Error() + after
	}
	if plain, ok := plainOps[op]; ok {
		op = plain
	}
	return before + op + " " + strings.Join(quoted, " ") + ": " + reason.Error() + after
}

// plainOps are the operations of os.Root by the names that people have for them.
var plainOps = map[string]string{
	"openat": "open", "statat": "stat", "lstatat": "stat", "lstat": "stat", "unlinkat": "remove",
	"mkdirat": "mkdir", "renameat": "rename",
	"linkat": "link", "readlinkat": "readlink", "fchmodat": "chmod", "fchownat": "chown",
	"chmodat": "chmod", "chownat": "chown", "chtimesat": "set the time of",
}
