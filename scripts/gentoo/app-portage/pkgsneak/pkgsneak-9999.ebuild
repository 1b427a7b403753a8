# Copyright 2026 The pkgsneak authors
# Distributed under the terms of the MIT License

EAPI=8

inherit go-module shell-completion systemd udev

DESCRIPTION="Carry binary packages and distfiles to machines without a network on a USB drive"
# It has none; that page says so.
HOMEPAGE="https://wiki.gentoo.org/wiki/No_homepage"

# The ebuild of a release is this file under another name, with its commit; scripts/release makes
# it, and the tarballs that it wants. Nothing is downloaded: see pkg_nofetch.
MY_COMMIT="" MY_COMMIT_TIME=""
if [[ ${PV} == 9999 ]]; then
	inherit git-r3
	# The clone that this overlay lies in. Another place, in make.conf or the environment:
	# EGIT_OVERRIDE_REPO_USR_SRC_PKGSNEAK=URL
	EGIT_REPO_URI="file:///usr/src/pkgsneak"
else
	SRC_URI="
		${P}.tar.xz
		${P}-vendor.tar.xz
	"
	KEYWORDS="~amd64 ~arm ~arm64 ~ppc64 ~riscv ~x86"
	RESTRICT="fetch"
fi

# The second line is that of the modules that are linked.
LICENSE="MIT"
LICENSE+=" Apache-2.0 BSD BSD-2"
SLOT="0"

# Mounts, devices and other users: the tests want a machine of their own (scripts/test).
RESTRICT+=" test"

BDEPEND=">=dev-lang/go-1.25:="

# As in a release, so that the same program comes out (-s -w).
QA_PRESTRIPPED="usr/bin/pkgsneak"

pkg_nofetch() {
	einfo "These are files of a release, beside the overlay that this ebuild came in:"
	einfo "  ${P}.tar.xz"
	einfo "  ${P}-vendor.tar.xz"
	einfo "Put them into your DISTDIR (portageq distdir tells where that is)."
}

src_unpack() {
	if [[ ${PV} == 9999 ]]; then
		# git refuses a clone of another user's, and this is not root's any more (userpriv).
		git config --global --add safe.directory '*' || die
		git-r3_src_unpack
		go-module_live_vendor
	fi
	go-module_src_unpack
}

src_compile() {
	local version="${PV}" commit="${MY_COMMIT}" commit_time="${MY_COMMIT_TIME}"
	if [[ ${PV} == 9999 ]]; then
		commit="${EGIT_VERSION}"
		commit_time="$(git log -1 --format=%cI)" || die
		version+="-${commit::12}"
	fi
	# Static: an export puts the program on the drive, where any machine has to run it. (What is
	# built with -buildmode=pie wants the loader of a libc.)
	local variables="-X main.version=${version} -X main.commit=${commit}"
	variables+=" -X main.commitTime=${commit_time}"
	CGO_ENABLED=0 GOFLAGS="${GOFLAGS/-buildmode=pie/}" ego build -trimpath \
		-ldflags "-s -w ${variables}" -o pkgsneak ./cmd/pkgsneak
}

src_install() {
	dobin pkgsneak
	newbashcomp cmd/pkgsneak/completion/bash pkgsneak
	newzshcomp cmd/pkgsneak/completion/zsh _pkgsneak
	newfishcomp cmd/pkgsneak/completion/fish pkgsneak.fish

	udev_dorules scripts/90-pkgsneak.rules
	systemd_dounit scripts/pkgsneak@.service scripts/pkgsneak-watch.service
	systemd_dounit scripts/pkgsneak-serve.service scripts/pkgsneak-serve.socket
	newinitd scripts/pkgsneak-watch.initd pkgsneak-watch
	newinitd scripts/pkgsneak-serve.initd pkgsneak-serve
	newconfd scripts/pkgsneak.confd pkgsneak
	newconfd scripts/pkgsneak-serve.confd pkgsneak-serve

	doman cmd/pkgsneak/man/*.[1-8]
	dodoc README.md CHANGELOG.md cmd/pkgsneak/doc/*.md
	dodoc -r cmd/pkgsneak/doc/schema
	docompress -x /usr/share/doc/${PF}/schema
}

pkg_postinst() {
	udev_reload
}

pkg_postrm() {
	udev_reload
}
