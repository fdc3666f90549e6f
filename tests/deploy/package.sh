#!/bin/bash
# Checks a Debian package: what it holds, what it says of itself, and that it unpacks into an empty root and runs there.
#   tests/deploy/package.sh target/debian/hutong_0.1.0-1_amd64.deb
# Needs dpkg, and root for the part with the empty root, which is left out otherwise. No maintainer script is run.
set -euo pipefail

readonly PACKAGE=$(realpath "${1:?a .deb}")
readonly PLACE=$(mktemp -d)
trap 'rm -rf "$PLACE"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

dpkg-deb --info "$PACKAGE" > /dev/null || fail "dpkg-deb cannot read it"
listing=$(dpkg-deb --contents "$PACKAGE")
# Mode, owner and path of every file; folders are not listed.
holds() { grep -Eq "^$1 +(root/root|0/0) +[0-9]+ .* \./$2$" <<< "$listing" || fail "no $2 with $1 of root"; }
holds -rwxr-xr-x usr/bin/hutong
holds -rw-r--r-- etc/default/hutong
for unit in hutong.service hutong-backup.service hutong-backup.timer; do
    holds -rw-r--r-- "(usr/)?lib/systemd/system/$unit"
done
for page in hutong hutong-serve hutong-voucher-redeem hutong-webhook-rotate; do
    holds -rw-r--r-- "usr/share/man/man1/$page.1.gz"
done
holds -rw-r--r-- usr/share/bash-completion/completions/hutong
holds -rw-r--r-- usr/share/zsh/vendor-completions/_hutong
holds -rw-r--r-- usr/share/fish/vendor_completions.d/hutong.fish
holds -rw-r--r-- usr/share/doc/hutong/copyright
holds -rw-r--r-- "usr/share/doc/hutong/UPGRADE.md(.gz)?"
if grep -Eq '\./(home|root|tmp|var|usr/local)/' <<< "$listing"; then fail "files where a package has none"; fi

says() { [[ $(dpkg-deb --field "$PACKAGE" "$1") == $2 ]] || fail "$1: $(dpkg-deb --field "$PACKAGE" "$1"), not $2"; }
says Package hutong
says Architecture "$(dpkg --print-architecture)"
says Section net
says Depends '*adduser*'
says Depends '*libc6*'

dpkg-deb --control "$PACKAGE" "$PLACE/control"
grep -qx /etc/default/hutong "$PLACE/control/conffiles" || fail "an upgrade would overwrite /etc/default/hutong"
for script in postinst prerm postrm; do
    sh -n "$PLACE/control/$script" || fail "$script is no shell script"
    if grep -q '#DEBHELPER#' "$PLACE/control/$script"; then fail "$script was not completed"; fi
done
grep -q 'hutong.service' "$PLACE/control/postinst" || fail "systemd hears nothing of an upgrade"

dpkg -x "$PACKAGE" "$PLACE/root"
for page in "$PLACE"/root/usr/share/man/man1/*.gz; do gzip --test "$page"; done
test -s "$PLACE/root/usr/share/doc/hutong/copyright" || fail "no word on the licence"
version=$(env -i HOME="$PLACE" "$PLACE/root/usr/bin/hutong" --version)
[[ "$(dpkg-deb --field "$PACKAGE" Version)" == "${version#hutong }"-* ]] || fail "$version is another version"

if [[ $(id -u) == 0 ]]; then
    readonly ROOT=$PLACE/empty
    mkdir -p "$ROOT"/var/lib/dpkg/{info,updates,triggers}
    touch "$ROOT/var/lib/dpkg/status"
    dpkg --root="$ROOT" --log="$PLACE/dpkg.log" --force-depends --unpack "$PACKAGE" > "$PLACE/unpack.log" 2>&1 ||
        { cat "$PLACE/unpack.log"; fail "it does not unpack into an empty root"; }
    # Settings get their names only when the package is configured.
    changed=$(dpkg --root="$ROOT" --verify hutong | grep -v ' c /etc/' || true)
    [[ -z "$changed" ]] || fail "what was unpacked is not what was packed: $changed"
    test -s "$ROOT/etc/default/hutong.dpkg-new" || fail "no settings in the empty root"
    env -i HOME="$PLACE" "$ROOT/usr/bin/hutong" --version > /dev/null
fi
echo "$(basename "$PACKAGE"): $(wc -l <<< "$listing") entries, sound"
