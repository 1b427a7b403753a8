EAPI=8

DESCRIPTION="Greets — with UTF-8 é in its description"
HOMEPAGE="https://hello.example/ https://hello.example/?a=b:c"
S="${WORKDIR}"

LICENSE="GPL-2 doc? ( MIT )"
SLOT="0/1.0"
KEYWORDS="amd64 ~x86"
IUSE="doc +nls test"
RESTRICT="!test? ( test )"
PROPERTIES="test_network"

RDEPEND="
	>=dev-libs/greet++-2:=[nls?]
	doc? ( app-text/story )
	virtual/words
"
DEPEND="${RDEPEND}"

src_install() {
	printf '#!/bin/sh\necho hello %s\n' "${HELLO_TO}" > hello || die
	dobin hello
	dosym hello /usr/bin/hi
	insinto /etc/hello
	newins - hello.conf <<< "to=${HELLO_TO}"
	keepdir /var/lib/hello
}

pkg_postinst() {
	elog "hello is here"
}
