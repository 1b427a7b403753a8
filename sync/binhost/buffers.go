package binhost

import (
	"sync"
)

// buffers are for held answers: as many as there are small answers under way.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer [smallRead + 4<<10]byte // a small file and the header of an answer

// smallRead is the size in bytes up to which a file is read into memory, and goes out in one write.
// For larger ones sendfile is cheaper.
const smallRead = 32 << 10
