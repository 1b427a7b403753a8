package pipeline

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// unread is a file that must not be read again.
type unread struct{ t *testing.T }

func (u unread) ReadAt(p []byte, off int64) (int, error) {
	u.t.Errorf("%d bytes at %d were read from the file", len(p), off)
	return 0, errors.New("not this one")
}

// tapped feeds data through a tap in random pieces while read reads from it.
func tapped(data []byte, file io.ReaderAt, seed uint64, read func(*Tap)) {
	rng := rand.New(rand.NewPCG(seed, 0))
	t := NewTap(file)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer t.Close()
		read(t)
	}()
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1+rng.IntN(1000))
		t.Write(rest[:n])
		rest = rest[n:]
	}
	t.End()
	<-done
}

func noise(rng *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

func TestTapGivesWhatIsReadInOrderWithoutTheFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	data := noise(rng, 50_000)
	tapped(data, unread{t}, 1, func(tap *Tap) {
		got := make([]byte, len(data))
		for at := 0; at < len(got); {
			n := min(len(got)-at, 1+rng.IntN(3000))
			if _, err := tap.ReadAt(got[at:at+n], int64(at)); err != nil {
				t.Error(err)
			}
			at += n
		}
		if !bytes.Equal(got, data) {
			t.Error("other bytes")
		}
	})
}

func TestTapGivesWhatIsInTheFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data := noise(rng, 20_000)
	file := bytes.NewReader(data)
	for seed := range uint64(50) {
		tapped(data, file, seed, func(tap *Tap) {
			for range rng.IntN(30) {
				got, want := make([]byte, rng.IntN(4000)), make([]byte, 4000)
				want = want[:len(got)]
				off := rng.Int64N(int64(len(data)) + 10)
				n, err := tap.ReadAt(got, off)
				m, wantErr := file.ReadAt(want, off)
				if n != m || !bytes.Equal(got[:n], want[:m]) || (err == nil) != (wantErr == nil) {
					t.Errorf("%d bytes at %d: %d, %v; from the file %d, %v", len(got), off, n,
						err, m, wantErr)
				}
			}
		})
	}
}
