#!/usr/bin/env python3
"""Writes settings.jsonl: what Portage's own config class makes of whole machines.

    PYTHONPATH=PORTAGE/lib python3 settings.py > settings.jsonl      (as root: each machine is a chroot in a child)

where PORTAGE is a checkout of gentoo/portage. One JSON object a line:

    name     what is tried
    files    path -> text; "-> X" is a symlink to X, "dir" a directory
    env      the environment
    values   the settings; null if Portage raises an error where it is not tolerant
    profiles the profile's chain
    repos    [name, location] in Portage's order
"""
import importlib, json, os, pkgutil, tempfile, traceback

import portage
from portage.package.ebuild.config import config

GLOBALS = '''
CFLAGS=""
CXXFLAGS=""
DISTDIR="/var/cache/distfiles"
PKGDIR="/var/cache/binpkgs"
BINPKG_FORMAT="gpkg"
FEATURES="assume-digests binpkg-logs compress-index
          pkgdir-index-trusted strict"
CONFIG_PROTECT="/etc"
CONFIG_PROTECT_MASK="/etc/env.d"
ACCEPT_PROPERTIES="*"
ACCEPT_RESTRICT="*"
FETCHCOMMAND="wget -O \\"\\${DISTDIR}/\\${FILE}\\""
RESUMECOMMAND=${FETCHCOMMAND}
USE_ORDER="env:pkg:conf:defaults:pkginternal:features:repo:env.d"
'''

BASE = '''
USE_EXPAND="CPU_FLAGS_X86 VIDEO_CARDS INPUT_DEVICES ELIBC KERNEL L10N PYTHON_TARGETS"
USE_EXPAND_HIDDEN="ELIBC KERNEL"
USE_EXPAND_IMPLICIT="ARCH ELIBC KERNEL"
USE_EXPAND_UNPREFIXED="ARCH"
USE_EXPAND_VALUES_ARCH="amd64 x86"
IUSE_IMPLICIT="prefix prefix-guest"
PROFILE_ONLY_VARIABLES="ARCH ELIBC KERNEL IUSE_IMPLICIT USE_EXPAND_IMPLICIT USE_EXPAND_UNPREFIXED USE_EXPAND_VALUES_ARCH"
ELIBC="glibc"
KERNEL="linux"
INPUT_DEVICES="libinput"
PYTHON_TARGETS="python3_11 python3_12"
ACCEPT_LICENSE="* -@EULA"
USE="acl nls pam"
ENV_UNSET="DBUS_SESSION_BUS_ADDRESS"
CONFIG_PROTECT="/etc /usr/share/config"
'''

AMD64 = '''
ARCH="amd64"
ACCEPT_KEYWORDS="${ARCH}"
CHOST="x86_64-pc-linux-gnu"
CPU_FLAGS_X86="mmx mmxext sse sse2"
VIDEO_CARDS="dummy"
USE="multilib -pam"
CFLAGS="-O2 -pipe"
CXXFLAGS="${CFLAGS}"
'''

G = "/var/db/repos/gentoo"
P = G + "/profiles"
TOP = P + "/default/linux/amd64/23.0"

GENTOO = {
    "/usr/share/portage/config/make.globals": GLOBALS,
    "/usr/share/portage/config/repos.conf": "[DEFAULT]\nmain-repo = gentoo\n\n[gentoo]\nlocation = /var/db/repos/gentoo\nsync-type = rsync\n",
    G + "/metadata/layout.conf": "masters =\n",
    P + "/repo_name": "gentoo\n",
    P + "/arch.list": "amd64\nx86\n",
    P + "/base/make.defaults": BASE,
    P + "/base/use.force": "# forced\nelibc_glibc\nuserland_GNU\n",
    P + "/base/use.mask": "selinux\nlibressl # gone\nprefix\n",
    P + "/arch/amd64/eapi": "8\n",
    P + "/arch/amd64/parent": "../../base\n",
    P + "/arch/amd64/make.defaults": AMD64,
    P + "/arch/amd64/use.mask": "-selinux\nsparc\n",
    P + "/arch/amd64/use.force": "multilib\n",
    TOP + "/parent": "../../../../arch/amd64\n",
    TOP + "/make.defaults": 'USE="pie ssp"\nVIDEO_CARDS="fbdev -dummy"\nFEATURES="multilib-strict"\n',
    TOP + "/eapi": "8\n",
    "/etc/portage/make.profile": "-> ../.." + TOP,
}


def machine(*more, base=GENTOO):
    files = dict(base)
    for m in more:
        files.update(m)
    return {k: v for k, v in files.items() if v is not None}


def conf(text):
    return {"/etc/portage/make.conf": text}


FUNTOO = {
    "/usr/share/portage/config/make.globals": GLOBALS.replace("/var/cache/binpkgs", "/var/cache/portage/packages").replace("/var/cache/distfiles", "/var/cache/portage/distfiles"),
    "/etc/portage/repos.conf/ego-gentoo": "[DEFAULT]\nmain-repo = core-kit\n\n[core-kit]\nlocation = /var/git/meta-repo/kits/core-kit\nauto-sync = no\npriority = 1\naliases = gentoo\n",
    "/etc/portage/repos.conf/ego-desktop": "[desktop-kit]\nlocation = /var/git/meta-repo/kits/desktop-kit\npriority = 5\n",
    "/etc/portage/repos.conf/ego-nokit": "[nokit]\nlocation = /var/git/meta-repo/kits/nokit\n",
    "/var/git/meta-repo/kits/core-kit/profiles/repo_name": "core-kit\n",
    "/var/git/meta-repo/kits/core-kit/metadata/layout.conf": "masters = \nprofile-formats = portage-2\naliases = gentoo\n",
    "/var/git/meta-repo/kits/desktop-kit/profiles/repo_name": "desktop-kit\n",
    "/var/git/meta-repo/kits/desktop-kit/metadata/layout.conf": "masters = core-kit\nprofile-formats = portage-2\n",
    "/var/git/meta-repo/kits/desktop-kit/profiles/desktop/make.defaults": 'USE="X gtk"\nVIDEO_CARDS="radeonsi"\n',
    "/var/git/meta-repo/kits/nokit/profiles/repo_name": "nokit\n",
    "/var/git/meta-repo/kits/nokit/metadata/layout.conf": "masters = core-kit\nprofile-formats = portage-2\n",
    "/var/git/meta-repo/kits/core-kit/profiles/base/make.defaults": BASE,
    "/var/git/meta-repo/kits/core-kit/profiles/funtoo/1.0/linux-gnu/arch/x86-64bit/parent": ":base\n",
    "/var/git/meta-repo/kits/core-kit/profiles/funtoo/1.0/linux-gnu/arch/x86-64bit/make.defaults": AMD64,
    "/var/git/meta-repo/kits/core-kit/profiles/funtoo/1.0/linux-gnu/build/current/make.defaults": 'ACCEPT_KEYWORDS="~amd64"\n',
    "/etc/portage/make.profile/parent": "core-kit:funtoo/1.0/linux-gnu/arch/x86-64bit\ncore-kit:funtoo/1.0/linux-gnu/build/current\ndesktop-kit:desktop\n",
    "/etc/portage/make.conf": 'USE="-nls vim"\n',
}

CASES = [
    ("no make.conf", machine()),
    ("ordinary make.conf", machine(conf('COMMON_FLAGS="-march=native -O2 -pipe"\nCFLAGS="${COMMON_FLAGS}"\nCXXFLAGS="${COMMON_FLAGS}"\nUSE="X -acl"\nFEATURES="buildpkg -strict"\nPKGDIR="/srv/pkg"\nVIDEO_CARDS="intel i915"\nL10N="de en"\nGRUB_PLATFORMS="efi-64"\n'))),
    ("old make.conf too", machine(conf('A="$B new"\nUSE="b"\nPKGDIR="${DISTDIR}/p"\n'), {"/etc/make.conf": 'B=old\nUSE="a"\nDISTDIR=/d\n'})),
    ("make.conf is a link to the other", machine(conf('USE="x ${USE}"\n'), {"/etc/make.conf": "-> portage/make.conf"})),
    ("make.conf directory", machine({"/etc/portage/make.conf/00-a": 'USE="a"\nX=1\n', "/etc/portage/make.conf/10-b": 'USE="${USE} b"\nY="$X$X"\n', "/etc/portage/make.conf/10-b~": "USE=no\n"})),
    ("sourced file", machine(conf('source /etc/portage/local.conf\nUSE="${USE} here"\n'), {"/etc/portage/local.conf": 'USE="there"\nPKGDIR=/sourced\n'})),
    ("clear all USE", machine(conf('USE="-* only these"\nVIDEO_CARDS="amdgpu"\n'))),
    ("clear all FEATURES", machine(conf('FEATURES="-* buildpkg getbinpkg"\n'))),
    ("clear in the environment", machine(conf('FEATURES="buildpkg"\nUSE="a b"\n')), {"FEATURES": "-compress-index x", "USE": "-a c"}),
    ("environment clears all", machine(conf('FEATURES="buildpkg"\nUSE="a b"\nVIDEO_CARDS="intel"\n')), {"FEATURES": "-*", "USE": "-* z"}),
    ("environment wins", machine(conf('PKGDIR=/a\nDISTDIR=/b\nCFLAGS=-O1\n')), {"PKGDIR": "/env", "CHOST": "env-chost", "CFLAGS": "-O3"}),
    ("environment expanded variable", machine(conf('VIDEO_CARDS="intel"\n')), {"VIDEO_CARDS": "nouveau vesa", "INPUT_DEVICES": ""}),
    ("environment cannot set profile variables", machine(conf('ELIBC="musl"\n')), {"ARCH": "x86", "KERNEL": "hurd", "ROOT": "/", "SLOT": "1"}),
    ("features test", machine(conf('FEATURES="test"\n'))),
    ("features test but USE says no", machine(conf('FEATURES="test"\nUSE="-test"\n'))),
    ("wildcard drops a group", machine(conf('USE="-video_cards_* -cpu_flags_x86_* x"\n'))),
    ("use_expand minus in make.conf is wrong", machine(conf('VIDEO_CARDS="-dummy intel +vesa"\n'))),
    ("expanded flag in USE", machine(conf('USE="video_cards_intel -input_devices_libinput l10n_de"\nL10N="fr de"\n'))),
    ("plus in USE", machine(conf('USE="+a +b -c"\nFEATURES="+buildpkg"\n'))),
    ("masked and forced", machine(conf('USE="selinux libressl prefix -elibc_glibc sparc -multilib"\n'))),
    ("package.use of all packages", machine(conf('USE="a b"\n'), {"/etc/portage/package.use": "*/* CPU_FLAGS_X86: aes avx -mmx\n*/* -a c # comment\napp-misc/foo d\n*/*::gentoo e\n"})),
    ("package.use directory", machine(conf('CPU_FLAGS_X86="sse3"\n'), {"/etc/portage/package.use/00cpu": "*/* CPU_FLAGS_X86: aes sse4_2 avx\n", "/etc/portage/package.use/zz": "# x\n*/* PYTHON_TARGETS: -python3_11 python3_13 VIDEO_CARDS: -* intel\n"})),
    ("package.license of all packages", machine(conf('ACCEPT_LICENSE="-* @FREE"\n'), {"/etc/portage/package.license/x": "*/* MIT\nfoo/bar some-EULA\n"})),
    ("package.env of all packages", machine(conf('CFLAGS="-O2"\nUSE=a\n'), {"/etc/portage/package.env": "*/* more.conf\n", "/etc/portage/env/more.conf": 'CFLAGS="${CFLAGS} -g"\nUSE="b -a"\nFEATURES="splitdebug"\nPKGDIR=/envdir\n'})),
    ("package.properties and restrict", machine(conf('ACCEPT_PROPERTIES="-interactive"\n'), {"/etc/portage/package.properties": "*/* live\n", "/etc/portage/package.accept_restrict": "*/* -fetch\n"})),
    ("licenses", machine(conf('ACCEPT_LICENSE="-* @FREE @BINARY-REDISTRIBUTABLE"\n'))),
    ("licenses none", machine(conf('ACCEPT_LICENSE="x -*"\n'))),
    ("licenses star", machine(conf('ACCEPT_LICENSE="a * b -c"\n'), ), {"ACCEPT_LICENSE": "d"}),
    ("keywords", machine(conf('ACCEPT_KEYWORDS="~amd64 **"\n'))),
    ("keywords minus", machine(conf('ACCEPT_KEYWORDS="-amd64 ~amd64"\n'))),
    ("own profile", machine(conf('USE="a"\n'), {"/etc/portage/profile/make.defaults": 'USE="own -nls"\nVIDEO_CARDS="own"\nPKGDIR=/own\n', "/etc/portage/profile/use.mask": "own2\n-prefix\n", "/etc/portage/profile/use.force": "forced -elibc_glibc\n-elibc_glibc\n"})),
    ("own profile directories", machine({"/etc/portage/profile/use.force/a": "one\n", "/etc/portage/profile/use.force/b~": "two\n", "/etc/portage/profile/make.defaults/1": 'USE="d1"\n', "/etc/portage/profile/make.defaults/2": 'USE="$USE d2"\n'})),
    ("profile is a directory with parents", machine({"/etc/portage/make.profile": None, "/etc/portage/make.profile/parent": "gentoo:default/linux/amd64/23.0\n/opt/profile\n", "/etc/portage/make.profile/eapi": "8\n", "/opt/profile/make.defaults": 'USE="opt"\n', "/etc/portage/make.profile/make.defaults": 'USE="top"\n'})),
    ("profile at the old place", machine({"/etc/portage/make.profile": None, "/etc/make.profile": "-> .." + TOP})),
    ("profile at both places", machine({"/etc/make.profile": "-> .." + P + "/base"})),
    ("profile link is absolute", machine({"/etc/portage/make.profile": "-> " + TOP})),
    ("profile hangs", machine({"/etc/portage/make.profile": "-> ../../nowhere"})),
    ("profile without", machine(conf("USE=a\nARCH=x86\nCHOST=x\n"), {"/etc/portage/make.profile": None})),
    ("parent does not exist", machine({TOP + "/parent": "../nope\n"})),
    ("parent file empty", machine({TOP + "/parent": "# nothing\n"})),
    ("parent with a comment", machine({TOP + "/parent": "# x\n  ../../../../arch/amd64   # y\n\n"})),
    ("two parents", machine({TOP + "/parent": "../../../../arch/amd64\n../../../../features/hardened\n", P + "/features/hardened/make.defaults": 'USE="hardened -pie"\nACCEPT_KEYWORDS="-amd64 hard"\n', P + "/features/hardened/eapi": "5\n"})),
    ("parent twice", machine({TOP + "/parent": "../../../../arch/amd64\n../../../../base\n"})),
    ("USE of parents guarded", machine({TOP + "/make.defaults": 'USE="${USE} x"\nVIDEO_CARDS="${VIDEO_CARDS} y"\n'})),
    ("make.defaults directory", machine({P + "/base/make.defaults": None, P + "/base/make.defaults/1": BASE, P + "/base/make.defaults/2": 'USE="second"\n'})),
    ("make.defaults directory in a pms repository", machine({P + "/base/make.defaults": None, P + "/base/make.defaults/1": BASE, G + "/metadata/layout.conf": "masters =\nprofile-formats = pms\n", P + "/base/eapi": "6\n", P + "/arch/amd64/make.defaults": AMD64 + 'USE_EXPAND="VIDEO_CARDS"\n'})),
    ("make.defaults directory in a pms repository with eapi 7", machine({P + "/base/make.defaults": None, P + "/base/make.defaults/1": BASE, G + "/metadata/layout.conf": "masters =\nprofile-formats = pms\n", P + "/base/eapi": "7\n"})),
    ("error in make.defaults", machine({TOP + "/make.defaults": 'USE="x"\nbad line\nUSE="y"\n'})),
    ("error in make.conf", machine(conf('USE="x"\nPKGDIR=/p\nbad line\nDISTDIR=/d\n'))),
    ("missing source in make.conf", machine(conf('USE="x"\nsource nope\nDISTDIR=/d\n'))),
    ("plus equals in make.conf", machine(conf('USE="x"\nUSE+=" y"\nDISTDIR=/d\n'))),
    ("local variables", machine(conf('__X=1\nY="$__X"\n_Z=2\n'))),
    ("profile.env", machine(conf('CONFIG_PROTECT="/mine -/gone"\n'), {"/etc/profile.env": "# made by env-update\nexport CONFIG_PROTECT='/usr/share/gnupg/qualified.txt /gone'\nexport CONFIG_PROTECT_MASK='/etc/sandbox.d'\nexport PATH='/opt/bin:/usr/bin'\nexport LANG='C.utf8'\nexport X='$LANG'\n"})),
    ("profile.env repeated in the environment", machine({"/etc/profile.env": "export CONFIG_PROTECT='/a'\nexport EDITOR='/bin/nano'\n"}), {"CONFIG_PROTECT": "/a", "EDITOR": "/bin/vi"}),
    ("case", machine(conf('NOCOLOR="TRUE"\nAUTOCLEAN="Yes"\n'))),
    ("use order", machine(conf('USE_ORDER="env:defaults:conf"\nUSE="-nls conf"\n'))),
    ("use expand of the user", machine(conf('USE_EXPAND="MINE"\nMINE="a b"\nUSE="x"\n'))),
    ("use expand taken away", machine(conf('USE_EXPAND="-VIDEO_CARDS"\nVIDEO_CARDS="a"\n'))),
    ("overlay in repos.conf", machine({"/etc/portage/repos.conf": "[local]\nlocation = /var/db/repos/local\npriority = 50\n\n[aa]\nlocation: /opt/aa\n", "/var/db/repos/local/profiles/repo_name": "local\n", "/var/db/repos/local/metadata/layout.conf": "masters = gentoo\n", "/opt/aa/profiles/repo_name": "aa\n", "/opt/aa/metadata/layout.conf": "masters = gentoo\n"})),
    ("repos.conf moves gentoo", machine({"/etc/portage/repos.conf/gentoo.conf": "[gentoo]\nlocation = %(EPREFIX)s/usr/portage\n  \nsync-uri = rsync://x/y\n", "/etc/portage/repos.conf/.hidden": "[x]\nlocation=/x\n", "/usr/portage/profiles/repo_name": "gentoo\n", "/usr/portage/metadata/layout.conf": "masters =\n"})),
    ("repos.conf names do not agree", machine({"/etc/portage/repos.conf": "[one]\nlocation = /opt/two\n[three]\nlocation = /opt/three\n[four]\nlocation=/opt/none\n[five]\npriority=1\n", "/opt/two/profiles/repo_name": "two\n", "/opt/two/metadata/layout.conf": "masters = gentoo\n", "/opt/three/x": ""})),
    ("repos.conf name from layout.conf and alias", machine({"/etc/portage/repos.conf": "[one]\nlocation = /opt/one\n[two]\nlocation = /opt/two\naliases = zwei\n", "/opt/one/profiles/repo_name": "something\n", "/opt/one/metadata/layout.conf": "masters = gentoo\nrepo-name = one\n", "/opt/two/profiles/repo_name": "two words!\n", "/opt/two/metadata/layout.conf": "masters = gentoo\naliases = two\n"})),
    ("portdir and overlay", machine(conf('PORTDIR="/usr/portage"\nPORTDIR_OVERLAY="/opt/a \'/opt/b c\' /opt/none"\nX="$PORTDIR"\n'), {"/usr/portage/profiles/repo_name": "gentoo\n", "/usr/portage/metadata/layout.conf": "masters =\n", "/opt/a/profiles/repo_name": "a\n", "/opt/a/metadata/layout.conf": "masters = gentoo\n", "/opt/b c/profiles/x": "", "/opt/b c/metadata/layout.conf": "masters = gentoo\n"})),
    ("portdir variable in make.conf", machine(conf('DISTDIR="${PORTDIR}/distfiles"\nPKGDIR="$PORTDIR/packages"\nX="$EROOT|$EPREFIX|$ROOT|$PORTAGE_CONFIGROOT"\n'))),
    ("funtoo", machine(base=FUNTOO)),
    ("funtoo with a mix-in that is not there", machine({"/etc/portage/make.profile/parent": "core-kit:funtoo/1.0/linux-gnu/arch/x86-64bit\nnope-kit:x\n"}, base=FUNTOO)),
    ("colon parent where the format forbids it", machine({TOP + "/parent": ":base\n"})),
    ("incremental profile variables in the environment", machine(), {"IUSE_IMPLICIT": "x", "USE_EXPAND_IMPLICIT": "y", "USE_EXPAND": "MINE", "MINE": "a b", "USE_EXPAND_UNPREFIXED": "Z"}),
    ("another root", machine(conf('USE=a\nX="$ROOT $EROOT"\n'), {"/target/etc/profile.env": "CONFIG_PROTECT='/t'\nPATH=/t\nEDITOR=/t\n", "/etc/profile.env": "CONFIG_PROTECT='/b'\nPATH=/b\nPAGER=/b\nEDITOR=/b\n"}), {"ROOT": "/target"}),
    ("root in make.conf", machine(conf('ROOT="/target"\nX="$ROOT $EROOT"\n'), {"/target/etc/profile.env": "CONFIG_PROTECT='/t'\n"})),
    ("another configuration root", machine({"/cfg/etc/portage/make.conf": 'USE="cfg"\nX=$PORTAGE_CONFIGROOT\n', "/cfg/etc/portage/make.profile": "-> " + TOP, "/cfg/etc/portage/package.use/x": "*/* y\n"}), {"PORTAGE_CONFIGROOT": "/cfg"}),
    ("prefix", {"/pfx" + k: v.replace("/var/db", "/pfx/var/db").replace('"/var/cache', '"/pfx/var/cache').replace("-> ../..", "-> ") for k, v in machine(conf('USE="p"\nX="$EPREFIX $EROOT $PORTAGE_CONFIGROOT"\n')).items()}, {"PORTAGE_OVERRIDE_EPREFIX": "/pfx"}),
    ("repos.conf repeats a section", machine({"/etc/portage/repos.conf/a": "[DEFAULT]\nmain-repo = gentoo\n", "/etc/portage/repos.conf/b": "[gentoo]\npriority = 7\n; comment\n\n# comment\n"})),
    ("repos.conf default values", machine({"/etc/portage/repos.conf": "[DEFAULT]\nbase = /opt\n[x]\nlocation = %(BASE)s/x%%1\n[y]\nLocation=\n  /opt/y\n", "/opt/x%1/profiles/repo_name": "x\n", "/opt/x%1/metadata/layout.conf": "masters = gentoo\n", "/opt/y/profiles/repo_name": "y\n", "/opt/y/metadata/layout.conf": "masters=gentoo\n"})),
    ("nothing at all", {"/etc/portage": "dir"}),
    ("nothing but make.conf", conf('USE="a -b"\nFEATURES="x"\nPKGDIR=/p\nVIDEO_CARDS=x\n')),
]

IGNORED = {
    "PORTAGE_REPOSITORIES", "PORTAGE_ARCHLIST", "PORTAGE_DEPCACHEDIR", "PORTAGE_INST_GID", "PORTAGE_INST_UID", "PORTAGE_USERNAME", "PORTAGE_GRPNAME",
    "PORTAGE_OVERRIDE_EPREFIX", "PORTAGE_PYM_PATH", "PORTAGE_BIN_PATH", "PORTAGE_GID", "PORTAGE_PYTHONPATH", "PORTAGE_INTERNAL_CALLER", "PORTAGE_RSYNC_EXTRA_OPTS", "PORTAGE_BZIP2_COMMAND",
}


def put(root, files):
    for name, text in files.items():
        path = root + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if text.startswith("-> "):
            os.symlink(text[3:], path)
        elif text == "dir":
            os.makedirs(path, exist_ok=True)
        else:
            with open(path, "w") as f:
                f.write(text)


def settings(env, tolerant):
    if tolerant:
        portage._initializing_globals = True
    portage.const.EPREFIX = env.get("PORTAGE_OVERRIDE_EPREFIX", "")
    c = config(env=dict(env), config_root=env.get("PORTAGE_CONFIGROOT"), target_root=env.get("ROOT"))
    return dict(
        values={k: c[k] for k in sorted(c.keys()) if k not in IGNORED and c.get(k) is not None},
        profiles=list(c.profiles),
        repos=[[r.name, r.location] for r in c.repositories],
    )


def child(root, env, tolerant, out):
    """In a child: go into the machine, print the settings as JSON."""
    os.chroot(root)
    os.chdir("/")
    devnull = os.open("/devnull", os.O_RDWR | os.O_CREAT)
    os.dup2(devnull, 1)
    if not os.environ.get("SHOW"):
        os.dup2(devnull, 2)
    try:
        text = json.dumps(settings(env, tolerant))
    except Exception:
        traceback.print_exc()
        text = "null"
    os.write(out, text.encode())
    os._exit(0)


def ask(root, env, tolerant):
    r, w = os.pipe()
    if os.fork() == 0:
        os.close(r)
        child(root, env, tolerant, w)
    os.close(w)
    data = b""
    while chunk := os.read(r, 65536):
        data += chunk
    os.close(r)
    os.wait()
    return json.loads(data or "null")


def preload():
    """Imports what Portage would import late, while it can be found."""
    import _emerge
    for package in (portage, _emerge):
        for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda name: None):
            if ".tests" not in m.name and "module" not in m.name.rpartition(".")[2]:
                try:
                    importlib.import_module(m.name)
                except Exception:
                    pass
    with tempfile.TemporaryDirectory() as root:
        put(root, CASES[0][1])
        config(env={}, config_root=root + "/", target_root=root + "/")


def main():
    os.umask(0o022)
    portage._not_installed = False  # make.globals and repos.conf below /usr/share/portage/config
    preload()
    portage._sync_mode = False  # one of them switches it on
    for case in CASES:
        name, files, env = case[0], case[1], case[2] if len(case) > 2 else {}
        with tempfile.TemporaryDirectory() as root:
            put(root, files)
            got = ask(root, env, True) or dict(values=None, profiles=[], repos=[])
            strict = ask(root, env, False) is not None
        print(json.dumps(dict(name=name, files=files, env=env, strict=strict, **got), sort_keys=True))


if __name__ == "__main__":
    main()
