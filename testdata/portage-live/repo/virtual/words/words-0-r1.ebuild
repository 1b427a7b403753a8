EAPI=8

DESCRIPTION="Virtual without an image"
SLOT="0"
KEYWORDS="amd64"
