package wire

import (
	"time"

	"pkgsneak/sync/digest"
)

// Speed measures by a clock how many bytes of BLAKE2B this machine's processor takes in a second,
// by the code that pkgsneak hashes with. Guest and host ask it alike: their ratio is how much
// slower an emulated processor is.
func Speed(now func() time.Time) float64 {
	const piece, least = 1 << 20, 2 * time.Second
	data, sum := make([]byte, piece), digest.New(digest.BLAKE2B)
	began, bytes := now(), 0.0
	for now().Sub(began) < least {
		sum.Write(data)
		bytes += piece
	}
	return bytes / now().Sub(began).Seconds()
}
