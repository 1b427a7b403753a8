#!/bin/sh
# Makes the vectors of this directory. Needs gpg, and gemato's Python package.
set -eu
cd "$(dirname "$0")"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
mkdir -p keys

at() { when=$1; shift; gpg --batch --quiet --no-tty --pinentry-mode loopback --faked-system-time "$when!" "$@"; }
now=20260301T000000
# make NAME ALGORITHM USAGE EXPIRY [PASSPHRASE]
make() { at $now --passphrase "${5-}" --quick-generate-key "$1" "$2" "$3" "$4"; }
fpr() { gpg --with-colons --list-keys "=$1" | sed -n 's/^fpr:*\([0-9A-F]*\):$/\1/p' | head -n 1; }
public() { at $now --export --armor "=$1" >"keys/$1.asc"; }
secret() { at $now --passphrase "${2-}" --export-secret-keys --armor "=$1" >"keys/$1.secret.asc"; }
revocation() { sed 's/^:-----/-----/' "$GNUPGHOME/openpgp-revocs.d/$(fpr "$1").rev" >"keys/$1.rev.asc"; }

make ed25519 ed25519 sign never
public ed25519; secret ed25519; revocation ed25519
make ed25519-expiry ed25519 sign 2026-06-01
public ed25519-expiry
make ed25519-expiry-longer ed25519 sign 2026-06-01
at 20260302T000000 --quick-set-expire "$(fpr ed25519-expiry-longer)" 2027-06-01
public ed25519-expiry-longer
make ed25519-expiry-shorter ed25519 sign 2026-06-01
at 20260302T000000 --quick-set-expire "$(fpr ed25519-expiry-shorter)" 2026-04-01
public ed25519-expiry-shorter
make ed25519-default ed25519 default never
at $now --passphrase '' --quick-add-key "$(fpr ed25519-default)" cv25519 encr never
public ed25519-default; secret ed25519-default
make ed25519-subkey ed25519 sign never
at $now --passphrase '' --quick-add-key "$(fpr ed25519-subkey)" ed25519 sign never
public ed25519-subkey; secret ed25519-subkey
at $now --export-secret-subkeys --armor =ed25519-subkey >keys/ed25519-stub.secret.asc
make ed25519-cert-only ed25519 cert never
at $now --passphrase '' --quick-add-key "$(fpr ed25519-cert-only)" ed25519 sign never
public ed25519-cert-only
make ed25519-two-ids ed25519 sign never
at 20260302T000000 --quick-add-uid "$(fpr ed25519-two-ids)" 'second id <second@example.org>'
at 20260303T000000 --quick-set-primary-uid "$(fpr ed25519-two-ids)" 'second id <second@example.org>'
public ed25519-two-ids
make ed25519-revoked-id ed25519 sign never
f=$(fpr ed25519-revoked-id)
at 20260302T000000 --quick-add-uid "$f" 'the id that stays'
at 20260303T000000 --quick-revoke-uid "$f" ed25519-revoked-id
at $now --export --armor "$f" >keys/ed25519-revoked-id.asc
make ed25519-passphrase ed25519 sign never secret
secret ed25519-passphrase secret
make ed25519-revoked ed25519 sign never
revocation ed25519-revoked
at 20260302T000000 --import keys/ed25519-revoked.rev.asc
public ed25519-revoked; rm keys/ed25519-revoked.rev.asc
make ed25519-certified ed25519 sign never
at 20260302T000000 --default-key "$(fpr ed25519)" --quick-sign-key "$(fpr ed25519-certified)"
public ed25519-certified
make rsa2048 rsa2048 sign never
public rsa2048; secret rsa2048
make nistp256 nistp256 sign never
public nistp256
make dsa2048 dsa2048 sign never
public dsa2048
at $now --export --armor =ed25519 =rsa2048 >keys/two-keys.asc

python3 - >Manifest.gemato <<'PY'
import datetime, hashlib, sys
from gemato.manifest import ManifestFile, new_manifest_entry as new
m = ManifestFile()
m.entries.append(new('TIMESTAMP', datetime.datetime(2026, 3, 1, 12)))
names = ['plain', 'packages/app-misc/labhello/labhello-1.0-r2-1.gpkg.tar', 'a blank', 'two  blanks ', ' leading',
         'no-break\u00a0space', 'ogham\u1680', 'en\u2002quad\u2000', 'line\u2028sep', 'par\u2029sep', 'nnbsp\u202f', 'math\u205f',
         'wide\u3000', '\u00fcml\u00e4ut/\u00e9', 'zero\u200bwidth', 'bom\ufeff', 'mongolian\u180e', 'emoji\U0001f427', 'replacement\ufffd',
         '100%', 'x20', '-dash', '#hash', '~', 'DATA', '\u200f']
for n in sorted(names, key=lambda n: n.encode()):
    b = n.encode()
    m.entries.append(new('DATA', n, len(b), {'BLAKE2B': hashlib.blake2b(b).hexdigest()}))
m.entries.append(new('IGNORE', 'Manifest.next'))
m.entries.append(new('IGNORE', 'not this'))
m.dump(sys.stdout)
PY
at 20260301T120000 --default-key "$(fpr ed25519)" --output - --clearsign Manifest.gemato >Manifest.gpg
