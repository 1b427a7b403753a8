package binhost

import (
	"io/fs"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pkgsneak/sync/durable"
)

// stampOf is the stamp of a file or directory as it was seen. One without a status of an operating
// system has size and time.
func stampOf(fi fs.FileInfo) durable.Stamp {
	s, ok := durable.StampOf(fi)
	if !ok {
		s.Size, s.Modified = fi.Size(), fi.ModTime().UnixNano()
	}
	return s
}

// statStamp is the stamp of what a path leads to.
func statStamp(name string) (durable.Stamp, error) {
	var st unix.Stat_t
	for {
		if err := unix.Stat(name, &st); err != unix.EINTR {
			return stampOfStat(&st), err
		}
	}
}

func stampOfStat(st *unix.Stat_t) durable.Stamp {
	if st.Mode == 0 {
		return durable.Stamp{}
	}
	return durable.Stamp{Device: uint64(st.Dev), Inode: st.Ino, Size: st.Size,
		Modified: st.Mtim.Nano(), Changed: st.Ctim.Nano()}
}

// etag is a strong validator: no two contents of a name have the same, because a name gets other
// contents by another file being renamed to it, or by a write.
func etag(s durable.Stamp) string {
	b := append(make([]byte, 0, 64), '"')
	for i, n := range [...]uint64{s.Inode, uint64(s.Size), uint64(s.Modified), uint64(s.Changed)} {
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
