package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// testEnv is a machine of its own: an empty root directory, a fixed clock, no environment but vars.
func testEnv(t *testing.T, vars map[string]string) (e *env, out, errOut *bytes.Buffer) {
	t.Helper()
	out, errOut = new(bytes.Buffer), new(bytes.Buffer)
	return &env{
		stdin: strings.NewReader(""), stdout: out, stderr: errOut,
		lookup:   func(key string) (string, bool) { v, ok := vars[key]; return v, ok },
		now:      func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) },
		columns:  func() int { return 80 },
		hostname: "testhost",
		version:  "1.2.3",
		root:     t.TempDir(),
	}, out, errOut
}

func testCommandLine(t *testing.T, vars map[string]string) *commandLine {
	e, _, _ := testEnv(t, vars)
	return &commandLine{env: e, out: newPrinter(e)}
}
