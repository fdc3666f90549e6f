#!/bin/bash
# Has Hutong and others hand 10,000 records of 300 bytes from one end to the other, both on one core, in one run, and
# prints one table. Packages come by npm and apt-get; whoever cannot be had says so in its row.
#
#     tests/compare/run.sh target/release/hutong
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
hutong=$(realpath "${1:?usage: tests/compare/run.sh path/to/hutong}")
readonly here hutong records=10000 bytes=300 runs=${RUNS:-5} core=${CORE:-0}
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
postgresql_row
hypercore_row
python3 "$here/table.py" < "$results"
