#!/bin/bash
# A stranger's path: from an empty folder, with the package (or the binary) and the README's commands, to a redemption that
# shows in the books and in the metrics of both shops.
#   tests/stranger/run.sh target/gate/deb/hutong_0.1.0-1_amd64.deb
#   tests/stranger/run.sh target/release/hutong
# Needs bash and python3; dpkg for a package.
set -euo pipefail

readonly GIVEN=$(realpath "${1:?a .deb or a binary}")
readonly PLACE=$(mktemp -d)
nodes=()

clean_up() {
    if ((${#nodes[@]} > 0)); then
        kill "${nodes[@]}" 2> /dev/null || true
        wait "${nodes[@]}" 2> /dev/null || true
    fi
    rm -rf "$PLACE"
}
trap clean_up EXIT

fail() {
    echo "FAILED: $*" >&2
    tail -n 30 "$PLACE"/*.log >&2 || true
    exit 1
}

# Nothing of this machine's settings is to help.
readonly CLEAN=(env -i PATH=/usr/bin:/bin "HOME=$PLACE/home" LANG=C.UTF-8)
clean() { "${CLEAN[@]}" "$@"; }

case $GIVEN in
    *.deb)
        dpkg -x "$GIVEN" "$PLACE/root"
        readonly HUTONG=$PLACE/root/usr/bin/hutong
        for page in hutong hutong-serve hutong-voucher-redeem; do
            test -s "$PLACE/root/usr/share/man/man1/$page.1.gz" || fail "no manual page $page"
        done
        # What the service would run is there, and settles by itself what it needs.
        unit=$(find "$PLACE/root" -name hutong.service)
        grep -q '^ExecStart=/usr/bin/hutong ' "$unit" || fail "the service runs another program"
        bash -n "$PLACE/root/usr/share/bash-completion/completions/hutong" || fail "completions that bash cannot read"
        ;;
    *) readonly HUTONG=$GIVEN ;;
esac
mkdir -p "$PLACE/home"
hutong() { clean "$HUTONG" --lang en "$@"; }
noodles() { hutong --data "$PLACE/noodles" "$@"; }
fruit() { hutong --data "$PLACE/fruit" "$@"; }

# A field of JSON on standard input, by a path such as vouchers.0.code.
field() {
    python3 -c '
import json, sys
value = json.load(sys.stdin)
for part in sys.argv[1].split("."):
    value = value[int(part)] if part.isdigit() else value[part]
print(value if isinstance(value, str) else json.dumps(value))' "$1"
}

# Runs a command again and again until it succeeds.
soon() {
    for _ in $(seq 300); do
        if "$@" > /dev/null 2>&1; then return; fi
        sleep 0.2
    done
    fail "in vain: $*"
}

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The value of a series in a node's metrics: name and a part of its labels.
metric() {
    python3 - "$(cat "$PLACE/$1/metrics.addr")" "$2" "${3:-}" << 'END'
import sys, urllib.request
address, name, labels = sys.argv[1:]
for line in urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode().splitlines():
    series, _, value = line.rpartition(" ")
    if series.partition("{")[0] == name and labels in series:
        print(value)
        break
else:
    sys.exit(f"no series {name} {labels}")
END
}

expect() {
    local what=$1 wanted=$2 found=$3
    [[ "$found" == "$wanted" ]] || fail "$what: $found, not $wanted"
    echo "ok: $what is $found"
}

set_up() {
    local name=$1 category=$2 shown=$3
    hutong --data "$PLACE/$name" --json init --name "$shown" --category "$category" \
        --peer-listen "127.0.0.1:$(port)" --merchant-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 > /dev/null
    hutong --data "$PLACE/$name" config check
    # Not by the function: a shell of its own would be killed in the node's stead.
    "${CLEAN[@]}" "$HUTONG" --data "$PLACE/$name" serve > "$PLACE/$name.log" 2>&1 &
    nodes+=($!)
}

hutong --version
set_up noodles noodles 张记面馆
set_up fruit fruit 甜甜水果
soon noodles status
soon fruit status

noodles alliance create --name 槐树街 > /dev/null
link=$(noodles --json alliance invite --note 水果店 | field link)
fruit alliance join "$link" > /dev/null
two_members() { [[ $(fruit --json alliance members | python3 -c 'import json,sys; print(sum(m["name"] != "" for m in json.load(sys.stdin)))') == 2 ]]; }
soon two_members
known_at_noodles() { noodles --json alliance members | grep -q 甜甜水果; }
soon known_at_noodles

fruit promotion create --title 面馆请你吃水果 --distributor 张记面馆=100 --redeemer 甜甜水果 \
    --earn-spend-min 20.00 --amount-off 3.00 --bounty 1.00 --budget 400.00 --runs-for 30d > /dev/null
promotion_arrived() { noodles --json promotion list | grep -q 面馆请你吃水果; }
soon promotion_arrived

code=$(noodles --json sale report --amount 28.00 | field vouchers.0.code)
voucher_arrived() { fruit --json voucher show "$code"; }
soon voucher_arrived
expect "discount in minor units" 300 "$(fruit --json voucher redeem "$code" --purchase 15.00 | field discount.minor)"
if fruit voucher redeem "$code" --purchase 15.00 2> "$PLACE/refused"; then fail "a voucher was used twice"; fi
grep -q VOUCHER_ALREADY_REDEEMED "$PLACE/refused" || fail "another refusal: $(cat "$PLACE/refused")"

expect "redemptions in the fruit shop's report" 1 "$(fruit --json report summary | field redemptions)"
used_at_noodles() { [[ $(noodles --json report summary | field vouchers_used) == 1 ]]; }
soon used_at_noodles
expect "what the noodle bar is owed" 100 "$(noodles --json report pairs | field 0.balance.minor)"
expect "redemptions in the fruit shop's metrics" 1 "$(metric fruit hutong_vouchers_redeemed)"
expect "redeem commands done" 1 "$(metric fruit hutong_commands_total 'command="redeem",outcome="done"')"
expect "refusals of the second use" 1 "$(metric fruit hutong_refusals_total VOUCHER_ALREADY_REDEEMED)"
expect "open vouchers in the noodle bar's metrics" 0 "$(metric noodles hutong_vouchers_open)"
expect "the doctor's word" true "$(fruit --json doctor | field healthy)"
echo "a stranger got through"
