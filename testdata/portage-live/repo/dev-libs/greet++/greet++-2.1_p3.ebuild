EAPI=8

DESCRIPTION="What a greeting needs"
HOMEPAGE="https://greet.example/"
S="${WORKDIR}"

LICENSE="LGPL-2.1+"
SLOT="2/2.1"
KEYWORDS="amd64"
IUSE="+nls static-libs"

src_install() {
	insinto /usr/share/greet
	newins - words <<< "good morning ${HELLO_TO}"
}
