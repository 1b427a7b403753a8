// Package drivewriter writes to the tree on a drive: the order of writes, in which a pulled drive
// keeps an old or a new generation, and the removal of an origin.
//
// # The order of writes
//
// At every moment the drive holds a complete old or a complete new generation.
// Every step below is there because replayed crashes lost committed files
// without it, above all on vfat: a rename is not atomic there, a directory
// that grows can become unreadable as a whole, and syncfs sends no cache flush.
//
//	 1  open     a descriptor for syncfs before the first write; read both manifest copies
//	 2  recover  unless Manifest is generation N, overwrite it from Manifest.next
//	 3  garbage  remove what N does not list, fsync each directory that lost a name;
//	             what has a listed name and is no file of that size counts as missing;
//	             what a first request has left that was pulled, and on FAT and exFAT what
//	             a first export has, goes as a whole: its clusters may be free
//	 4  init     first export only: directories, both manifest copies and padded Packages;
//	             on a drive that nobody used before, blocks spread over the free space
//	             are written and compared, to find one that claims more than it has
//	 5  dirs     all new directories, on vfat preallocated while empty; syncfs and flush
//	 6  put      payload straight under its final name, one file after the other or
//	             several side by side, then the generation's files
//	 7  flush    syncfs, then fsync of the clean copy: that sends the cache flush
//	 8  compare  what was written is read back from the medium itself, and the
//	             sample of old files that was right in the beginning
//	 9  commit   Manifest.next in place, fsync; then Manifest, fsync
//	10  derive   packages/Packages in place, padded to the size the list already has
//	11  unlink   what only N listed, fsync each directory that lost a name
//
// A Writer does 1 to 3 in Begin, 4 and 5 in Prepare, 6 in Put, 7 to 11 in
// Commit, and may go through Prepare, Put and Commit any number of times: an
// export of many gigabytes commits as it goes.
package drivewriter
