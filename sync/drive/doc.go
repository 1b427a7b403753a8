// Package drive reads the tree on a drive: it opens one, tells which origins are there and whose
// they are, verifies a generation, and reads what it lists. Package layout defines what lies where,
// package drivewriter writes.
//
// # Trust
//
// Nothing before the signature. After it, only files that the signed list
// names are opened, by name, below an os.Root, regular files only, never more
// bytes than the signed size, and their digest is compared at the end.
package drive
