EAPI=8

DESCRIPTION="A package with a distfile"
HOMEPAGE="https://story.example/"
SRC_URI="https://story.example/${P}.txt -> ${P}+first.txt"
S="${WORKDIR}"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

src_install() {
	insinto /usr/share/story
	doins "${DISTDIR}/${P}+first.txt"
}
