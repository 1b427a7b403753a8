package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pkgsneak/sync/fault"
)

// errNoAnswer ends a run at a question that nobody answered: Ctrl-C, the end of the input, a
// terminal that was closed. It is a no to everything.
var errNoAnswer = fmt.Errorf("interrupted at the question: %w", fault.ErrDeclined)

// maxAnswer is the longest answer, in bytes.
const maxAnswer = 1024

// ask puts a question to the person at the terminal; only a word that begins with y is a yes.
func (p *printer) ask(ctx context.Context, format string, args ...any) (bool, error) {
	return p.question(ctx, false, format, args...)
}

// askToGoOn is the question of --ask: Enter alone is a yes, as in emerge.
func (p *printer) askToGoOn(ctx context.Context, format string, args ...any) (bool, error) {
	return p.question(ctx, true, format, args...)
}

// question asks; enter is what Enter alone means. All questions of all commands are asked here. An
// answer counts only while ctx lives: whoever pressed Ctrl-C has decided,
// whatever is typed after it.
func (p *printer) question(ctx context.Context, enter bool, format string,
	args ...any) (bool, error) {
	if !p.asks {
		return false, noTerminal()
	}
	p.hideBar()
	choice := " [y/N] "
	if enter {
		choice = " [Y/n] "
	}
	fmt.Fprint(p.err.w, p.err.format(format+choice, args...))
	if p.answers == nil {
		p.answers = bufio.NewReaderSize(p.in, maxAnswer)
	}
	line := make(chan string, 1)
	go func() { // a read from a terminal cannot be called off; the run ends without it
		text, err := p.answers.ReadSlice('\n')
		if err != nil {
			close(line)
			return
		}
		line <- string(text)
	}()
	select {
	case <-ctx.Done():
	case answer, ok := <-line:
		if ok && !stopped(ctx) {
			answer = strings.ToLower(strings.TrimSpace(answer))
			return strings.HasPrefix(answer, "y") || enter && answer == "", nil
		}
	}
	fmt.Fprintln(p.err.w)
	return false, errNoAnswer
}

// grace is how long a signal may be on its way to a process that has read what was typed behind it.
const grace = 200 * time.Millisecond

// stopped reports whether the run had been told to end before the answer. The kernel sends SIGINT
// when it sees Ctrl-C, but the line behind it can be read before the signal has made its way here:
// whoever types both at once has to wait for that.
func stopped(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(grace):
		return false
	}
}

// unanswered reports whether a run ended at a question.
func unanswered(err error) bool { return errors.Is(err, errNoAnswer) }
