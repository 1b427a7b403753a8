package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"pkgsneak/sync/payload"
	"pkgsneak/sync/progress"
)

// nasty are names that a file on a drive can have to harm a terminal, a reader or a log.
var nasty = []string{
	"\x1b]0;owned\x07name",
	"\x1b[2J\x1b[31mname",
	"two\nlines",
	"back\x08\x08space\r",
	"\u009b31mC1",
	"abc\u202etbz2.exe",
	"zero\u200bwidth",
	"\xff\xfebytes",
	"\x7f",
	"\U000e0001tag",
}

func TestPrinterMakesForeignTextPrintable(t *testing.T) {
	for _, s := range nasty {
		for _, arg := range []any{s, errors.New(s), styled{s, "1"},
			fmt.Errorf("x: %w", errors.New(s)), progress.Phase(s)} {
			for _, format := range []string{"<%s>", "<%v>", "<%q>", "<%-40s>"} {
				line := screen{}.format(format, arg)
				for _, r := range line {
					if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
						t.Errorf("%s of %T %q prints %q", format, arg, s, line)
						break
					}
				}
			}
		}
	}
}

func TestPrinterKeepsOrdinaryText(t *testing.T) {
	for _, s := range []string{"app-misc/foo-1.0", "größe", "文件", "a b", `back\slash`, "🙂"} {
		if got := (screen{}).format("%s", s); got != s {
			t.Errorf("%q prints as %q", s, got)
		}
	}
}

func TestPrinterPadsWhatIsSeen(t *testing.T) {
	if got, want := (screen{paint: true}).format("%-6s|%6s|", bold("ab"),
		red("é")), "\x1b[1mab    \x1b[0m|\x1b[1;31m     é\x1b[0m|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (screen{}).format("%-6s|", bold("ab")), "ab    |"; got != want {
		t.Errorf("without colours: got %q, want %q", got, want)
	}
}

func TestEventIsOneSafeLine(t *testing.T) {
	for _, s := range nasty {
		var out bytes.Buffer
		p := &printer{json: true, out: screen{w: &out}}
		p.event(progressEvent{Event: "progress", Path: s})
		line, rest, _ := strings.Cut(out.String(), "\n")
		if rest != "" {
			t.Errorf("%q makes more than one line: %q", s, out.String())
		}
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%q is in JSON as %q", s, line)
				break
			}
		}
		var back progressEvent
		if err := json.Unmarshal([]byte(line), &back); err != nil ||
			back.Path != strings.ToValidUTF8(s, "\ufffd") &&
				back.Path != strings.ToValidUTF8(s, "\ufffd\ufffd") {
			t.Errorf("%q comes back as %q, %v", s, back.Path, err)
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := []struct{ got, want string }{
		{size(0), "0 B"},
		{size(1536), "1.5 KiB"},
		{size(5 << 40), "5.0 TiB"},
		{count(1, "file"), "1 file"},
		{count(1234567, "file"), "1,234,567 files"},
		{tally(payload.Tally{Files: 2, Bytes: 2048}, "package"), "2 packages, 2.0 KiB"},
		{tally(payload.Tally{}, "package"), "0 packages"},
		{exactSize(2048), "2.0 KiB (2048 bytes)"},
		{exactSize(10), "10 B"},
		{ago(now.Add(-3*24*time.Hour), now), "3 days ago"},
		{when(time.Time{}, now), "never"},
		{shellWord("/mnt/usb"), "/mnt/usb"},
		{shellWord("/run/media/u/MY DISK"), "'/run/media/u/MY DISK'"},
		{shellWord("it's"), `'it'\''s'`},
		{shellWord("-x"), "'-x'"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
