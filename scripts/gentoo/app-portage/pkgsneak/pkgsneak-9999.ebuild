# Copyright 2026 The pkgsneak authors
# Distributed under the terms of the MIT License

EAPI=8

inherit go-module shell-completion systemd udev

DESCRIPTION="Carry binary packages and distfiles to machines without a network on a USB drive"

# The ebuild of a release is this file under another name; scripts/release puts it beside its tarballs.
if [[ ${PV} == 9999 ]]; then
	inherit git-r3
	# The clone that this overlay lies in. Another one: EGIT_OVERRIDE_REPO_USR_SRC_PKGSNEAK=URL
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

BDEPEND=">=dev-lang/go-1.25"

pkg_nofetch() {
	einfo "Put ${P}.tar.xz and ${P}-vendor.tar.xz of the release (scripts/release ${PV} makes them)"
	einfo "into your DISTDIR."
}

src_unpack() {
	if [[ ${PV} == 9999 ]]; then
		git-r3_src_unpack
		go-module_live_vendor
	fi
	go-module_src_unpack
}

src_compile() {
	local version="${PV}" commit=
	if [[ ${PV} == 9999 ]]; then
		commit="${EGIT_VERSION}"
		version+="-${commit::12}"
	fi
	# Static: an export puts the program on the drive, where any machine has to run it. (What is built
	# with -buildmode=pie wants the loader of a libc.)
	CGO_ENABLED=0 GOFLAGS="${GOFLAGS/-buildmode=pie/}" ego build -trimpath \
		-ldflags "-s -w -X main.version=${version} -X main.commit=${commit}" -o pkgsneak ./cmd/pkgsneak
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
}

pkg_postinst() {
	udev_reload
}

pkg_postrm() {
	udev_reload
}
