package requester

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pkgsneak/sync/cpv"
	"pkgsneak/sync/request"
)

// maxLog is how much of the end of emerge.log is read, in bytes.
const maxLog = 8 << 20

// failures tells which packages failed to install since the last import.
func (g *gatherer) failures() {
	dir := g.m.Settings.Get("EMERGE_LOG_DIR")
	if dir == "" {
		dir = "/var/log"
	}
	file := g.m.Settings.HostPath(path.Join("/", dir, "emerge.log"))
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		defer f.Close()
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
			err = errors.New("not a regular file")
		}
		if err == nil {
			var since time.Time
			for _, r := range g.st.Runs() {
				if r.Verb == "import" {
					since = r.When
				}
			}
			at := max(0, info.Size()-maxLog)
			g.record.Failed = readFailures(io.NewSectionReader(f, at, maxLog), since.Unix())
			return
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		g.problem("what failed to install is not told: %v", err)
	}
}

// readFailures finds the packages that emerge began and did not complete, in Portage's emerge.log:
//
//	1767225000:  >>> emerge (1 of 3) app-misc/foo-1 to /
//	1767225001:  === (1 of 3) Compiling/Merging (app-misc/foo-1::/var/db/repos/gentoo/app-misc/foo/foo-1.ebuild)
//	1767225100:  ::: completed emerge (1 of 3) app-misc/foo-1 to /
//
// An emerge that a later line completes did not fail.
func readFailures(r io.Reader, since int64) []request.Failure {
	type begun struct {
		when  int64
		phase string
	}
	open := make(map[string]*begun)
	var order []string
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(line) == 0 {
			break
		}
		stamp, text, ok := strings.Cut(string(line), ":")
		when, numErr := strconv.ParseInt(stamp, 10, 64)
		text = strings.TrimSpace(text)
		switch {
		case !ok || numErr != nil || when < since:
		case strings.HasPrefix(text, ">>> emerge ("):
			if name := loggedName(text); name != "" {
				open[name] = &begun{when: when}
				order = append(order, name)
			}
		case strings.HasPrefix(text, "::: completed emerge ("):
			delete(open, loggedName(text))
		case strings.HasPrefix(text, "=== ("):
			_, step, _ := strings.Cut(text, ") ")
			phase, at, _ := strings.Cut(step, " (")
			name, _, _ := strings.Cut(at, "::")
			if b := open[name]; b != nil {
				b.phase = strings.ToLower(phase)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	var failed []request.Failure
	for _, name := range order {
		b := open[name]
		if b == nil || len(failed) >= request.MaxWants {
			continue
		}
		delete(open, name)
		failed = append(failed, request.Failure{CPV: name, Phase: plainPhase(b.phase),
			When: b.when})
	}
	return failed
}

// loggedName is the package of "... (1 of 3) app-misc/foo-1 to /", "" if there is none.
func loggedName(text string) string {
	_, rest, _ := strings.Cut(text, ") ")
	name, _, _ := strings.Cut(rest, " to ")
	if _, err := cpv.Parse(name); err != nil {
		return ""
	}
	return name
}

// plainPhase keeps the letters of a phase.
func plainPhase(phase string) string {
	phase = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r == '/' || r == '-' || r == ' ' {
			return r
		}
		return -1
	}, phase)
	return strings.Join(strings.Fields(phase[:min(len(phase), 64)]), " ")
}
