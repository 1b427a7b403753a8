EAPI=8

# Its binary package, on being merged, says so through the first pipe and goes on when the second one is opened and closed.
DESCRIPTION="Stops an emerge in the middle"
HOMEPAGE="https://gate.example/"
S="${WORKDIR}"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

pkg_preinst() {
	[[ -p ${ROOT}/gate.reached ]] || return
	echo reached > "${ROOT}/gate.reached" || die
	read -r _ < "${ROOT}/gate.open"
}
