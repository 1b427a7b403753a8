// Package volume has everything that is known of file systems and of the media below them. The
// table in table.go has a row for each file system:
//
//	magic        statfs(2) reports it for a mounted one
//	superblock   how one that is not mounted is recognised, and its label
//	mount        options of mount(2), for each way of access
//	check        the command that repairs what a pull has left, run before writing, and the one to type
//	directories  whether a directory that holds committed files may still grow
//	reserve      how space is reserved, for the capacity test of a new drive
//	links        whether it has hard links and owners
//
// A file system that is not in the table is treated as one that keeps its promises, in the order of
// writes for all; nothing is mounted or checked that is not in it. A quirk of a file system belongs
// here and nowhere else.
//
// A name on a drive has to be storable on every row, which package layout sees to. How many files a
// medium reads and writes at a time is in medium.go, the free space in space.go.
package volume
