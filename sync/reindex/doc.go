// Package reindex brings the index of this machine's PKGDIR up to date as its own Portage would
// write it: the header from its configuration, a Packages.gz if FEATURES has compress-index. Check
// compares and changes nothing. The work is package pkgdir's; here it meets the machine's settings.
package reindex
