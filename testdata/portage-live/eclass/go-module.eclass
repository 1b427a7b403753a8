# Stand-in: see README.md.
export GO111MODULE=on GOCACHE="${PKGSNEAK_GOCACHE:-${T}/go-build}" GOMODCACHE="${WORKDIR}/go-mod" GOPROXY=off GOTOOLCHAIN=local
export GOFLAGS="-buildvcs=false -modcacherw"

ego() {
	go "$@" || die "go ${*} failed"
}

go-module_live_vendor() {
	cd "${S}" || die
	ego mod vendor
}

go-module_src_unpack() {
	GOFLAGS="-buildmode=pie ${GOFLAGS}"
	default
	[[ -d ${S}/vendor ]] || die "no modules came with the source"
}

EXPORT_FUNCTIONS src_unpack
