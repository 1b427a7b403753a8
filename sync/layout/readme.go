package layout

// readme is README.txt on the drive, for people who find it and have no pkgsneak.
const readme = `This directory carries Gentoo and Funtoo binary packages and distfiles
between machines that have no network in common. pkgsneak wrote it.

  pkgsneak import DRIVE     on a machine that shall get the packages
  pkgsneak verify DRIVE     reads everything back and compares it

A machine without pkgsneak can copy it from ORIGIN/bin/linux-ARCH/,
after checking it as below; so can one whose pkgsneak is older than the
one that wrote this ("use a newer pkgsneak").

Each directory here except keys and clients is one ORIGIN, a machine
that exported. Its files are listed in its file Manifest, with sizes and
digests, signed with OpenPGP. Do not change, rename or add files in it:
they would be ignored. Unmount the drive before you pull it; if it was
pulled too early, the last complete state is still there, and the next
export goes on from it.

Without pkgsneak
----------------
Get the fingerprint of the origin's key from somebody you trust, not
from this drive (on the machine that exported: pkgsneak key show). Then:

  gpg --show-keys keys/FINGERPRINT.asc         is it that key?
  gpg --import keys/FINGERPRINT.asc
  gpg --verify ORIGIN/Manifest                 is the list signed by it?
  gemato verify -R -K keys/FINGERPRINT.asc -s ORIGIN
                                are the files those of the list?

Portage can use the packages where they are, with the drive on /mnt/usb:

  PORTAGE_BINHOST=/mnt/usb/pkgsneak/ORIGIN/packages emerge -gK PACKAGE

and the distfiles, one of:

  PORTAGE_RO_DISTDIRS=/mnt/usb/pkgsneak/ORIGIN/distfiles
  GENTOO_MIRRORS=/mnt/usb/pkgsneak/ORIGIN/distfiles

(files that had to get another name on the drive, or that lie in parts,
are not found that way; pkgsneak import puts them together again.
generation/N.json names them, and the parts of a file make the file when
joined by cat.)
`
