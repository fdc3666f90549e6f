#!/bin/bash
# Has Hutong and others hand 10,000 records of 300 bytes from one end to the other, both on one core, in one run, and
# prints one table. Packages come by cargo, npm and apt-get; whoever cannot be had says so in its row. PEERS may name
# those that are wanted besides Hutong.
#
#     tests/compare/run.sh target/release/hutong
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
hutong=$(realpath "${1:?usage: tests/compare/run.sh path/to/hutong}")
readonly here hutong records=10000 bytes=300 runs=${RUNS:-5} core=${CORE:-0}
readonly peers=${PEERS-postgresql p2panda iroh hypercore ssb}
# What cargo makes stays, so that it is made once.
readonly built="${CARGO_TARGET_DIR:-$here/../../target}/compare"
readonly HYPERCORE_VERSION=10.38.2
work=$(mktemp -d)
readonly work results="$work/results"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

unavailable() { # unavailable PEER REASON
    printf '{"peer": "%s", "unavailable": "%s"}\n' "$1" "$2" >> "$results"
}

# Runs a peer's script on the one core; its last line is its result.
measure() { # measure PEER COMMAND...
    local peer=$1 log="$work/log"
    shift
    if taskset -c "$core" "$@" > "$work/out" 2> "$log"; then
        tail -1 "$work/out" >> "$results"
    else
        cat "$log" >&2
        unavailable "$peer" "its script failed: see above"
    fi
}

hutong_row() {
    "$hutong" bench handover --runs "$runs" --dir "$work" --json | python3 "$here/hutong.py"
}

hypercore_row() {
    mkdir "$work/npm"
    echo '{"private": true}' > "$work/npm/package.json"
    if ! (cd "$work/npm" && npm install --no-audit --no-fund "hypercore@$HYPERCORE_VERSION" > "$work/log" 2>&1); then
        unavailable hypercore "npm cannot install it"
        return
    fi
    cd "$work/npm"
    measure hypercore node "$here/hypercore.mjs" "$work" "$records" "$bytes" "$runs"
    cd - > /dev/null
}

# A program out of `peers/`, which has both ends and is called like the scripts.
crate_row() { # crate_row PROGRAM
    local build=(--release --locked --manifest-path "$here/peers/Cargo.toml" --target-dir "$built")
    if ! cargo build "${build[@]}" --features "$1" --bin "$1" > "$work/log" 2>&1; then
        tail -n 20 "$work/log" >&2
        unavailable "$1" "cargo cannot build it"
        return
    fi
    mkdir "$work/$1"
    measure "$1" "$built/release/$1" "$work/$1" "$records" "$bytes" "$runs"
}

p2panda_row() {
    crate_row p2panda
}

iroh_row() {
    crate_row iroh
}

ssb_row() {
    cp -r "$here/ssb" "$work/ssb"
    if ! (cd "$work/ssb" && npm ci --no-audit --no-fund > "$work/log" 2>&1); then
        tail -n 20 "$work/log" >&2
        unavailable ssb "npm cannot install it"
        return
    fi
    cd "$work/ssb"
    measure ssb node "$here/ssb.mjs" "$work/ssb" "$records" "$bytes" "$runs"
    cd - > /dev/null
}

postgresql_row() {
    if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null; then
        apt-get install -q -y --no-install-recommends postgresql iproute2 > "$work/log" 2>&1 || true
    fi
    if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null; then
        unavailable PostgreSQL "apt-get cannot install it"
        return
    fi
    install -d -o postgres "$work/postgresql"
    measure PostgreSQL runuser -u postgres -- \
        bash "$here/postgresql.sh" "$work/postgresql" "$records" "$bytes" "$runs"
}

export -f hutong_row
export hutong here runs work
measure Hutong bash -c hutong_row
for peer in $peers; do
    "${peer}_row"
done
python3 "$here/table.py" < "$results"
