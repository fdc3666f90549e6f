#!/bin/bash
# Builds the Debian package of a binary that exists, and lists what is in it:
#   deploy/deb/build.sh target/release/hutong target/debian
# Needs cargo-deb (cargo install cargo-deb).
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly BINARY=${1:?the binary} OUTPUT=${2:?the folder for the package}
readonly PARTS=target/deb

rm -rf "$PARTS"
mkdir -p "$PARTS" "$OUTPUT"
"$BINARY" man --output "$PARTS/man" > /dev/null
"$BINARY" completions bash > "$PARTS/hutong.bash"
"$BINARY" completions zsh > "$PARTS/_hutong"
"$BINARY" completions fish > "$PARTS/hutong.fish"
mkdir -p target/release
if [[ "$(realpath "$BINARY")" != "$(realpath -m target/release/hutong)" ]]; then
    cp "$BINARY" target/release/hutong
fi
cargo deb --no-build --package hutong-node --output "$OUTPUT/"

package=$(ls -t "$OUTPUT"/*.deb | head -n 1)
dpkg-deb --info "$package"
listing=$(dpkg-deb --contents "$package" | awk '{print $6}')
echo "$listing"
for path in usr/bin/hutong etc/default/hutong usr/share/man/man1/hutong.1.gz \
    usr/share/bash-completion/completions/hutong hutong.service hutong-backup.timer; do
    grep -q "$path\$" <<< "$listing" || { echo "missing in the package: $path"; exit 1; }
done
echo "$package"
