package exporter

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"pkgsneak/manifest"
)

// A clock by which the key has ended, which it had not at the last export, is not believed either.
func TestClockThatEndsTheKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../manifest/testdata/keys/ed25519-expiry.asc")
	if err != nil {
		t.Fatal(err)
	}
	key, err := manifest.ReadPublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	end, ends := key.Expires()
	if !ends {
		t.Fatal("the key has no end")
	}
	last := key.Created().Add(time.Hour)
	end = end.Add(time.Minute)
	if err := checkClock(end, clockEvidence{}, key, last); !errors.As(err, new(*ClockError)) ||
		!strings.Contains(err.Error(), "the signing key") {
		t.Errorf("%v", err)
	}
	if err := checkClock(last.Add(time.Hour), clockEvidence{}, key, last); err != nil {
		t.Errorf("while it holds: %v", err)
	}
	if err := checkClock(end, clockEvidence{}, key, end); err != nil {
		t.Errorf("it had ended at the last export already: %v", err)
	}
}
