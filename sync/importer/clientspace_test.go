package importer

import (
	"testing"
)

// Sizes are rounded to blocks, and a part of the disk stays free.
func TestDemand(t *testing.T) {
	for _, tt := range []struct{ size, block, want int64 }{{0, 4096, 0}, {1, 4096, 4096},
		{4096, 4096, 4096}, {4097, 4096, 8192}, {5, 0, 5}} {
		if got := blocks(tt.size, tt.block); got != tt.want {
			t.Errorf("%d bytes in blocks of %d: %d, want %d", tt.size, tt.block, got, tt.want)
		}
	}
	d := demand{need: 99 << 20}
	d.space.Total, d.space.Free = 100<<20, 99<<20
	if d.fits() {
		t.Error("nothing would stay free")
	}
	d.space.Free = 100 << 20
	if !d.fits() {
		t.Error("does not fit")
	}
	d.need = 99<<20 + 1
	if d.fits() {
		t.Error("less than a hundredth would stay free")
	}
}
