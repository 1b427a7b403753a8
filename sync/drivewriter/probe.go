package drivewriter

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/manifest"
	"pkgsneak/sync/drive"
	"pkgsneak/sync/durable"
	"pkgsneak/sync/layout"
	"pkgsneak/sync/progress"
	"pkgsneak/sync/volume"
)

// The probe of a drive that was never used. One that claims more than it has
// either drops what is written behind its real end, or writes it somewhere
// else, at the address modulo its real size. So blocks that nobody can guess
// are written at even distances over the free space, and at the end a run of
// them without gaps, and all are read back from the medium: what was dropped
// is wrong, and so is what another block was written over. A run as long as
// the distance finds each real size; a shorter one, on a large drive, finds
// those that are near a multiple of the distance, which is a power of two.
//
// Between the blocks the space is only reserved, which writes no data:
//
//	ext4, xfs, btrfs  one file, fallocate, the blocks at their places in it
//	vfat              fallocate that keeps the size; blocks and reservations by
//	                  turns, because these allocate one behind the other
//	exfat             ftruncate likewise, from Linux 6.8 on; before, that would
//	                  write zeros
//	others            no spreading: the run alone, which finds little more than
//	                  a drive that keeps nothing
//
// The files lie in the generation directory of an origin that has no
// generation. They are removed at once; after a pull, by the next Begin. On
// the two FATs only data goes to the drive before that, no entry and no FAT: a
// pull in between would leave most of the drive allocated to nothing. So
// there is no flush there; what the drive has a cache for, the run displaces.
//
// A drive that has passed is not probed again when the export ends before it
// has committed anything: a note lies in the place of the probe file then, and
// the next Begin, for which the origin is its own, keeps it until it commits.

const (
	probeBlocks  = 64          // at most, twice what there is at least
	probeRun     = 16 << 20    // bytes of the run at most
	probePlain   = 32 << 20    // bytes of the run where nothing can be reserved
	probeWritten = 8 << 20     // bytes of the blocks at most
	probeSpan    = 256 << 30   // bytes of the free space at most
	probeUnits   = 1 << 20     // clusters at most: each one is an entry in a FAT
	reserveUnits = 64 << 10    // clusters in one call, which cannot be canceled
	reserveMax   = 2 << 30     // bytes of a file on vfat
	probePiece   = 1 << 20     // bytes compared at once
	reserveTime  = time.Minute // for all reservations: then there are fewer blocks
)

// spreading is how a file system lets space be reserved, on this kernel.
type spreading = volume.Reserve

const (
	plain    = volume.NoReserve
	sparse   = volume.ReserveHoles
	keepSize = volume.ReserveFiles    // in turn
	extend   = volume.ReserveTruncate // in turn
)

// probePlan is where the blocks shall lie, all sizes in bytes.
type probePlan struct {
	spreading
	unit   int64 // cluster
	blocks int64
	block  int64
	gap    int64 // from one block's begin to the next one's
	run    int64
}

// planProbe chooses. An eighth of the free space stays free.
func planProbe(how spreading, space volume.Space) probePlan {
	p := probePlan{spreading: how, unit: max(space.Cluster, 512),
		block: max(space.Cluster, drive.Alignment)}
	p.block = (p.block + drive.Alignment - 1) / drive.Alignment * drive.Alignment
	span := min(space.Free/8*7, probeSpan)
	if how == keepSize || how == extend {
		span = min(span, probeUnits*p.unit)
	}
	limit := min(probeBlocks, probeWritten/p.block)
	if how == plain || limit < 8 || span < 1<<20 {
		p.spreading, p.run = plain, min(span, probePlain)/drive.Alignment*drive.Alignment
		return p
	}
	p.gap = p.block
	for p.gap*limit < span {
		p.gap *= 2
	}
	p.run = min(p.gap, probeRun)
	p.blocks = (span - p.run) / p.gap
	return p
}

// onMount reports whether the mount point is one, of a block device: in a
// directory of a disk that is in use nothing is reserved.
func onMount(d *drive.Drive) bool {
	if !d.HasDevice() {
		return false
	}
	var here, above unix.Stat_t
	fd := int(d.Top().Fd())
	if unix.Fstat(fd, &here) != nil ||
		unix.Fstatat(fd, "..", &above, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	return here.Dev != above.Dev
}

// used reports whether a manifest copy on the drive claims to be signed, by whomever. One
// that cannot be read was used, too.
func used(d *drive.Drive) (bool, error) {
	origins, err := d.Origins()
	if err != nil {
		return false, err
	}
	for _, origin := range origins {
		for _, name := range []string{layout.ManifestFile, layout.NextManifestFile} {
			data, err := d.ReadCopy(origin, name)
			if drive.Unanswered(err) {
				return false, err
			}
			if _, unsigned := manifest.Claimed(data); err == nil && unsigned == nil || err != nil &&
				drive.Failing(err) {
				return true, nil
			}
		}
	}
	return false, nil
}

func spreadingOf(kind volume.Type, truncateKeeps bool) spreading {
	how := kind.Reserve()
	if how == extend && !truncateKeeps {
		return plain
	}
	return how
}

// kernelSince reports whether the kernel is of that release or a later one.
func kernelSince(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// runProbe writes and compares, and removes everything, whatever came of it.
func runProbe(ctx context.Context, s *session, plan probePlan) error {
	p := &prober{s: s, plan: plan}
	s.progress(progress.PhaseProbe, "", 2*(plan.blocks*plan.block+plan.run))
	rand.Read(p.seed[:])
	err := p.write(ctx)
	if err == nil && (plan.spreading == sparse || plan.spreading == plain) {
		err = s.flush()
	}
	if err == nil {
		err = p.compare(ctx)
	}
	if e := p.remove(); err == nil {
		err = e
	}
	var wrong *drive.ReadBackError
	if errors.As(err, &wrong) {
		return s.ended.with(wrong)
	}
	return err
}

type prober struct {
	s    *session
	plan probePlan
	seed [32]byte

	stream   *mathrand.ChaCha8 // yields the bytes of the pieces, one after the other
	buf      []byte
	file     *os.File
	pieces   []piece // as they were written
	reserves []*os.File
	names    []string // of all files
	reserved int64    // bytes of the last reservation file
}

// piece is a part of the probe file.
type piece struct{ at, size int64 }

// write reserves and writes. A drive with less space than it claimed gets fewer
// blocks.
func (p *prober) write(ctx context.Context) (err error) {
	if p.file, err = p.create(layout.ProbeFile); err != nil {
		return err
	}
	if p.plan.spreading == sparse && !p.reserveFile() {
		p.plan.spreading, p.plan.blocks = plain, 0
	}
	p.stream, p.buf = mathrand.NewChaCha8(p.seed), drive.AlignedBuffer()
	if err := p.writeBlocks(ctx); err != nil {
		return err
	}
	at := p.begin(p.plan.blocks)
	for done := int64(0); done < p.plan.run; done += probePiece {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if full, err := p.put(piece{at + done, min(probePiece, p.plan.run-done)}); full ||
			err != nil {
			return err
		}
	}
	return nil
}

// writeBlocks ends early where the space does, or the time.
func (p *prober) writeBlocks(ctx context.Context) error {
	hurry, stop := context.WithTimeout(ctx, reserveTime)
	defer stop()
	for i := range p.plan.blocks {
		full, err := p.reserve(hurry, p.plan.gap-p.plan.block)
		if !full && err == nil {
			full, err = p.put(piece{p.begin(i), p.plan.block})
		}
		if err != nil {
			return err
		}
		if full {
			p.plan.blocks = i
			break
		}
	}
	return context.Cause(ctx)
}

// begin is where a block lies in the probe file; the run lies like a last one.
func (p *prober) begin(block int64) int64 {
	if p.plan.spreading == sparse {
		return block * p.plan.gap
	}
	return block * p.plan.block
}

func (p *prober) create(name string) (*os.File, error) {
	p.names = append(p.names, name)
	var f *os.File
	err := p.s.do("create", name, func() (err error) {
		f, err = durable.OpenFile(p.s.root, name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		return err
	})
	return f, err
}

// put writes the next bytes of the stream and sees to it that little is dirty.
func (p *prober) put(at piece) (full bool, err error) {
	data := p.buf[:at.size]
	p.stream.Read(data)
	err = p.s.do("write", layout.ProbeFile, func() error {
		if _, err := p.file.WriteAt(data, at.at); err != nil {
			return err
		}
		return syncRange(p.file, at.at, at.size, rangeWait)
	})
	if isAny(err, unix.ENOSPC, unix.EDQUOT) {
		return true, nil
	}
	if err == nil {
		p.pieces = append(p.pieces, at)
		p.s.progress(progress.PhaseProbe, "", at.size)
	}
	return false, err
}

// reserveFile reserves the whole probe file; less if there is no space for it.
func (p *prober) reserveFile() bool {
	for ; p.plan.blocks > 0; p.plan.blocks /= 2 {
		size := p.plan.blocks*p.plan.gap + p.plan.run
		err := p.s.do("reserve", layout.ProbeFile, func() error {
			return unix.Fallocate(int(p.file.Fd()), 0, 0, size)
		})
		if err == nil {
			return true
		}
		if !isAny(err, unix.ENOSPC, unix.EDQUOT, unix.EFBIG) {
			return false
		}
	}
	return false
}

// reserve takes n bytes of free space behind what was allocated last. full
// tells that it could not, or not in time.
func (p *prober) reserve(ctx context.Context, n int64) (full bool, err error) {
	if p.plan.spreading == sparse {
		return ctx.Err() != nil, nil // it has been
	}
	if p.plan.spreading == extend {
		p.reserved = reserveMax // a file that has one piece only needs no FAT
	}
	for n > 0 {
		if ctx.Err() != nil {
			return true, nil
		}
		if len(p.reserves) == 0 || p.reserved >= reserveMax {
			f, err := p.create(layout.ReserveFile + strconv.Itoa(len(p.reserves)))
			if err != nil {
				return false, err
			}
			p.reserves, p.reserved = append(p.reserves, f), 0
		}
		f, step := p.reserves[len(p.reserves)-1], min(n, reserveMax-p.reserved,
			reserveUnits*p.plan.unit)
		err := p.s.do("reserve", p.names[len(p.names)-1], func() error {
			if p.plan.spreading == extend {
				return f.Truncate(p.reserved + step)
			}
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, p.reserved+step)
		})
		if isAny(err, unix.ENOSPC, unix.EDQUOT, unix.EOPNOTSUPP, unix.ENOSYS,
			unix.EINVAL, unix.EFBIG) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		p.reserved, n = p.reserved+step, n-step
	}
	return false, nil
}

// compare reads all pieces from the medium, through to the end: how many are
// wrong tells a drive that fails from one that is too small.
func (p *prober) compare(ctx context.Context) error {
	var m *drive.Medium
	err := p.s.do("reading back", layout.ProbeFile, func() (err error) {
		m, err = drive.OpenMedium(p.s.root, layout.ProbeFile)
		return err
	})
	if err != nil {
		return err
	}
	defer m.Close()
	p.stream.Seed(p.seed)
	want, wrong, first, failure := make([]byte, probePiece), 0, int64(-1), error(nil)
	for _, at := range p.pieces {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		p.stream.Read(want[:at.size])
		n, err := m.ReadAt(p.buf[:at.size], at.at)
		p.s.progress(progress.PhaseProbe, "", at.size)
		if err != nil && !errors.Is(err, io.EOF) {
			failure = err
		}
		if !bytes.Equal(want[:at.size], p.buf[:n]) {
			if wrong++; first < 0 {
				first = at.at
			}
		}
	}
	if failure != nil && !p.answers(m) {
		return p.s.end("reading back", layout.ProbeFile, failure)
	}
	if wrong == 0 {
		return nil
	}
	return &drive.ReadBackError{Path: layout.ProbeFile, Offset: first, Probe: true,
		Reason: fmt.Sprintf("of %d test blocks on %d bytes of free space %d are not what was written", len(p.pieces), p.span(), wrong)}
}

// answers reports whether the first block can be read: a drive that was pulled
// has none, one that ends too soon has.
func (p *prober) answers(m *drive.Medium) bool {
	_, err := m.ReadAt(p.buf[:p.pieces[0].size], p.pieces[0].at)
	return err == nil || errors.Is(err, io.EOF)
}

// span is how much of the free space was looked at.
func (p *prober) span() int64 { return p.plan.blocks*p.plan.gap + p.plan.run }

// remove takes all files away, durably: only then may anything be allocated.
// syncfs writes a FAT in long pieces, fsync alone sector by sector.
func (p *prober) remove() error {
	for _, f := range append(p.reserves, p.file) {
		if f != nil {
			f.Close()
		}
	}
	if p.s.ended.cause() != nil {
		return nil // nothing follows; the next Begin removes them
	}
	for _, name := range p.names {
		if err := p.s.remove("unlink", p.s.root, name); err != nil {
			return err
		}
	}
	if err := p.s.syncfs(); err != nil {
		return err
	}
	return p.s.fsync(path.Dir(layout.ProbeFile))
}

func isAny(err error, errnos ...unix.Errno) bool {
	return slices.ContainsFunc(errnos, func(errno unix.Errno) bool { return errors.Is(err, errno) })
}
