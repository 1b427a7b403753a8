package binpkg

// Limits. A package beyond one of them is refused; none is near what real
// packages need.
const (
	// MaxMetadata bounds the metadata of a package in bytes: the XPAK segment,
	// a GPKG's metadata archive as stored and as unpacked, and each member of a
	// GPKG that is not the image. Real ones are below 1 MiB.
	MaxMetadata = 64 << 20

	// MaxKeys bounds the number of metadata files. Real packages have about
	// forty.
	MaxKeys = 10000

	// MaxMembers bounds the members of a GPKG container. Real ones have at
	// most seven.
	MaxMembers = 100

	// MaxImageNames bounds the bytes of all names in an image, with 64 added
	// for each: what checking one may keep in memory. A kernel source tree has
	// 10 MiB.
	MaxImageNames = 256 << 20

	// An image may unpack to ImageFloor bytes whatever its stored size, and to
	// ImageRatio times its stored size beyond that. It keeps a bomb of a few
	// kilobytes from running for hours; the usual end of a long check is ctx.
	ImageFloor = 16 << 30
	ImageRatio = 1024
)
