// Package watch reports when something on this machine has come to rest: a directory has settled, a
// drive has appeared or gone.
//
// # Directories
//
// Dirs watches directories with inotify (fsnotify), never files: a PKGDIR of 20,000 packages needs
// one watch for each of its directories, of which fs.inotify.max_user_watches allows some ten
// thousand to a million. A directory that does not fit is a *LimitError that names the sysctl.
//
//	new directory        watched, and looked through: what was made in it before the watch counts as a change
//	removed directory    its watch goes with it
//	queue overflow       everything is looked through again, and counts as changed
//	a root that is not   its nearest parent that is there is watched until it appears
//	(or no longer) there
//
// A change is only that: something has changed. Which files did, the reader finds out himself,
// because an event may be lost or late; that makes changes cheap to collect. Settle waits until
// they stop:
//
//	changes   |  | ||      |                    | | | | | | | | | | | | | |
//	settled             ^          ^                              ^            ^
//	                quiet      quiet                            most        quiet
//
// # Mounts
//
// MountChanges waits for the kernel to report that the mount table has changed (poll(2) for POLLPRI
// on mountinfo, proc(5)), and Mounts reads it:
//
//	36 35 8:1 / /mnt/usb rw,nosuid shared:1 - vfat /dev/sda1 rw,errors=remount-ro
//	      |   | |        |                 |    |         |
//	      |   | Point    ReadOnly          Type Source    ReadOnly
//	      |   Root
//	      Device
package watch
