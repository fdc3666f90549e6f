#!/bin/bash
# Builds the Debian package of a binary that exists; nothing is compiled:
#   deploy/deb/build.sh target/release/hutong target/debian
# Needs cargo-deb (cargo install --locked --no-default-features cargo-deb) and xz. The last line is the package's path.
set -euo pipefail

BINARY=$(realpath "${1:?the binary}")
OUTPUT=$(realpath -m "${2:?the folder for the package}")
readonly BINARY OUTPUT
cd "$(dirname "$0")/../.."

# Where crates/node/Cargo.toml has cargo-deb look.
readonly PARTS=target/deb RELEASE="${CARGO_TARGET_DIR:-$PWD/target}/release"

rm -rf "$PARTS"
mkdir -p "$PARTS" "$OUTPUT" "$RELEASE"
"$BINARY" man --output "$PARTS/man" > /dev/null
"$BINARY" completions bash > "$PARTS/hutong.bash"
"$BINARY" completions zsh > "$PARTS/_hutong"
"$BINARY" completions fish > "$PARTS/hutong.fish"
if [[ "$BINARY" != "$(realpath -m "$RELEASE/hutong")" ]]; then
    cp "$BINARY" "$RELEASE/hutong"
fi
package=$(cargo deb --quiet --no-build --package hutong-node --output "$OUTPUT/")
tests/deploy/package.sh "$package"
echo "$package"
