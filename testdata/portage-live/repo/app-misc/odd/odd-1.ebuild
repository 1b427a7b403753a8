EAPI=8

DESCRIPTION="An image with what images have in real life"
HOMEPAGE="https://odd.example/"
S="${WORKDIR}"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

src_install() {
	local long=$(printf 'long%.0s' {1..55})

	insinto /usr/share/odd
	newins - "name with blanks and ünïcödé" <<< "one"
	newins - "${long}" <<< "two"
	insinto "/usr/share/odd/${long}.d/${long}.d"
	newins - "${long}" <<< "three"
	: > "${ED}"/usr/share/odd/empty || die
	truncate -s 3M "${ED}"/usr/share/odd/sparse || die

	exeinto /usr/libexec/odd
	newexe - program <<< "#!/bin/sh"
	fperms u+s,g+s /usr/libexec/odd/program

	# Hard links, a link to a link, links that lead to /, to nowhere and upwards, and a directory reached through a link of the same image.
	ln "${ED}"/usr/share/odd/empty "${ED}"/usr/share/odd/hard1 || die
	ln "${ED}"/usr/libexec/odd/program "${ED}"/usr/libexec/odd/hard2 || die
	dosym ../share/odd /usr/libexec/again
	dosym /usr/share/odd /usr/libexec/absolute
	dosym absolute /usr/libexec/twice
	dosym nowhere /usr/libexec/dangling
	dosym ../../../../../../etc/passwd /usr/libexec/upwards
	dosym "${long}/${long}" /usr/libexec/longtarget
	ln "${ED}"/usr/libexec/dangling "${ED}"/usr/libexec/dangling-hard || die

	keepdir /var/lib/odd/.hidden
	fperms 1777 /var/lib/odd/.hidden
}
