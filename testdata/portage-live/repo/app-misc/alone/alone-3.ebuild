EAPI=8

DESCRIPTION="What only the client builds"
HOMEPAGE="https://alone.example/"
S="${WORKDIR}"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

src_install() {
	insinto /usr/share/alone
	newins - text <<< "alone"
}
