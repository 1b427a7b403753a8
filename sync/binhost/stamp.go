package binhost

import (
	"io/fs"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stamp tells whether a file is still the one that was looked at.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // ns
}

func stampOf(fi fs.FileInfo) stamp {
	s := stamp{size: fi.Size(), mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.dev, s.ino, s.ctime = uint64(st.Dev), uint64(st.Ino), st.Ctim.Nano()
	}
	return s
}

// statStamp looks at what a path leads to.
func statStamp(name string) (stamp, error) {
	var st unix.Stat_t
	for {
		if err := unix.Stat(name, &st); err != unix.EINTR {
			return stampOfStat(&st), err
		}
	}
}

func stampOfStat(st *unix.Stat_t) stamp {
	if st.Mode == 0 {
		return stamp{}
	}
	return stamp{uint64(st.Dev), uint64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

func (s stamp) modified() time.Time { return time.Unix(0, s.mtime) }

// etag is a strong validator: no two contents of a name have the same, because a name gets other
// contents by another file being renamed to it, or by a write.
func (s stamp) etag() string {
	b := append(make([]byte, 0, 64), '"')
	for i, n := range [...]uint64{s.ino, uint64(s.size), uint64(s.mtime), uint64(s.ctime)} {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, n, 16)
	}
	return string(append(b, '"'))
}

// settled is when a file or directory that was found changed is looked at once more: the clocks of
// file systems tick every few milliseconds (ext4) to two seconds (vfat), and what changes twice
// within a tick looks the same.
const settled = 3 * time.Second

// due tells whether it is time to look again.
func due(again, now time.Time) bool { return !again.IsZero() && !now.Before(again) }

// onceMore is when to look again at what was just read, and was the same as before or not.
func onceMore(same bool, now time.Time) time.Time {
	if same {
		return time.Time{}
	}
	return now.Add(settled)
}
