package exporter

import (
	"strings"
	"testing"
)

// The hints name each way on in full.
func TestForgottenHints(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		e    ForgottenError
		want []string
	}{
		{ForgottenError{Origins: []string{"o"}, Name: "host"},
			[]string{"export /mnt --name o", "export /mnt --name host"}},
		{ForgottenError{Origins: []string{"host", "o"}},
			[]string{"export /mnt --name host", "export /mnt --name o", "export /mnt --name NEW"}},
	} {
		got := row.e.Hints("/mnt")
		if len(got) != len(row.want) {
			t.Fatalf("%q, want %q", got, row.want)
		}
		for i := range got {
			if !strings.HasSuffix(got[i], row.want[i]) {
				t.Errorf("%q, want %q", got[i], row.want[i])
			}
		}
	}
}
