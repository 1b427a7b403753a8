EAPI=8

DESCRIPTION="Merged after the gate"
HOMEPAGE="https://gate.example/"
S="${WORKDIR}"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="app-misc/gate"

src_install() {
	insinto /usr/share/gated
	newins - text <<< "gated for ${HELLO_TO}"
}
