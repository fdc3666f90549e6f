#!/bin/bash
# Runs every example in its own language against two nodes that it starts, and checks that what they say agrees with the
# nodes' own books. Prints one line of JSON for each example; the last line counts.
# usage: tests/partner/run.sh PATH-TO-HUTONG [WORK-FOLDER]
# Needs cargo, Python 3.11 with venv, node 20 with npm, and package indexes for both. Without chromium the page's code
# runs under Node's fetch instead; without Debian's grpc-java there is no example in Java. Either is said.
set -euo pipefail

readonly HUTONG=$(realpath "${1:?usage: run.sh PATH-TO-HUTONG [WORK-FOLDER]}")
readonly HERE=$(realpath "$(dirname "$0")")
readonly ROOT=$(realpath "$HERE/../..")
mkdir -p "${2:-$ROOT/target/partner}"
readonly WORK=$(realpath "${2:-$ROOT/target/partner}")
readonly TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
readonly SALES=5
# Where Debian's packages put grpc-java and what it needs.
readonly JAVA_FOLDER=${HUTONG_JAVA_JARS:-/usr/share/java}
readonly JAVA_JARS=(grpc-api grpc-context grpc-core grpc-netty grpc-protobuf grpc-protobuf-lite grpc-stub gson guava
    netty-buffer netty-codec netty-codec-http netty-codec-http2 netty-common netty-handler netty-handler-proxy
    netty-resolver netty-transport netty-transport-native-unix-common opencensus-api perfmark-api proto-google-common-protos protobuf)
# How often a thing that is bound to happen is looked for, and for how long.
readonly LOOKS=300
readonly LOOK_SECONDS=0.2

started=()
results="$WORK/results.jsonl"

stop_all() {
    local process
    for process in "${started[@]}"; do kill "$process" 2> /dev/null || true; done
    wait
}
trap stop_all EXIT

until_true() {
    local what=$1 look
    shift
    for ((look = 0; look < LOOKS; look++)); do
        if "$@" > /dev/null 2>&1; then return; fi
        sleep "$LOOK_SECONDS"
    done
    echo "in vain: $what" >&2
    return 1
}

# A value in the JSON on standard input.
field() {
    python3 -c 'import json, sys; print(eval("told" + sys.argv[1], {"told": json.load(sys.stdin)}))' "$1"
}

at() {
    local shop=$1
    shift
    "$HUTONG" --lang en --json --data "$WORK/$shop" "$@"
}

install_languages() {
    if ! cmp --silent "$HERE/python/requirements.txt" "$WORK/installed.txt"; then
        rm -rf "$WORK/venv"
        python3 -m venv "$WORK/venv"
        "$WORK/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
            -r "$HERE/python/requirements.txt"
        cp "$HERE/python/requirements.txt" "$WORK/installed.txt"
    fi
    rm -rf "$WORK/python"
    mkdir -p "$WORK/python"
    "$WORK/venv/bin/python" -m grpc_tools.protoc -I "$ROOT/proto" --python_out="$WORK/python" \
        --grpc_python_out="$WORK/python" "$ROOT"/proto/hutong/merchant/v1/*.proto
    mkdir -p "$WORK/node"
    cp "$HERE"/node/* "$WORK/node"
    npm install --prefix "$WORK/node" --no-audit --no-fund --loglevel=error > /dev/null
    # The whole workspace, so that what its tests were built from serves here, too.
    cargo build --quiet --locked --manifest-path "$ROOT/Cargo.toml" --workspace --examples
}

start_shop() {
    local shop=$1
    at "$shop" init --name "$shop" --category food --peer-listen 127.0.0.1:0 --merchant-listen 127.0.0.1:0 > /dev/null
    HUTONG_MERCHANT__CORS_ORIGINS="http://localhost:$PAGE_PORT" \
        "$HUTONG" --data "$WORK/$shop" serve > "$WORK/$shop.log" 2>&1 &
    started+=($!)
    until_true "$shop answers" at "$shop" status
}

token() {
    local shop=$1 name=$2 scope scopes=()
    shift 2
    for scope in "$@"; do scopes+=(--scope "$scope"); done
    at "$shop" token create --name "$name" --expires 1d --rate 1000 "${scopes[@]}" | field '["secret"]'
}

knows_promotion() {
    [[ "$(at baozi promotion list | field '.__len__()')" == 1 ]]
}

start_street() {
    rm -rf "$WORK/baozi" "$WORK/teahouse" "$WORK/receiver"
    PAGE_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    start_shop baozi
    start_shop teahouse
    at baozi alliance create --name street > /dev/null
    at teahouse alliance join "$(at baozi alliance invite | field '["link"]')" > /dev/null
    until_true "the shops know each other" at teahouse promotion create --title "包子换茶" --distributor baozi=1000 \
        --redeemer teahouse --amount-off 5.00 --earn-spend-min 30.00 --bounty 1.00 --budget 6000.00 --voucher-validity 7d --runs-for 7d
    until_true "the promotion arrives" knows_promotion
    HUTONG_GIVER="http://$(cat "$WORK/baozi/merchant.addr")"
    HUTONG_REDEEMER="http://$(cat "$WORK/teahouse/merchant.addr")"
    HUTONG_GIVER_TOKEN=$(token baozi POS sale.write)
    HUTONG_REDEEMER_TOKEN=$(token teahouse POS voucher.redeem)
    HUTONG_BOT_TOKEN=$(token baozi 小二 promotion.read touch.write event.read)
    HUTONG_EXPORT_TOKEN=$(token teahouse export voucher.read report.read event.read)
    HUTONG_SALES=$SALES
    HUTONG_PROTO="$ROOT/proto"
    HUTONG_OUT="$WORK/export.jsonl"
    export HUTONG_GIVER HUTONG_REDEEMER HUTONG_GIVER_TOKEN HUTONG_REDEEMER_TOKEN HUTONG_BOT_TOKEN \
        HUTONG_EXPORT_TOKEN HUTONG_SALES HUTONG_PROTO HUTONG_OUT
}

start_receiver() {
    mkdir -p "$WORK/receiver"
    python3 "$HERE/python/receiver.py" "$WORK/receiver" &
    started+=($!)
    until_true "the receiver listens" test -s "$WORK/receiver/port"
    at teahouse webhook add --url "http://127.0.0.1:$(cat "$WORK/receiver/port")/" --event voucher_redeemed |
        field '["secret"]' > "$WORK/receiver/secret"
}

# Runs an example, and keeps the line that it prints.
example() {
    "$@" | tee -a "$results"
}

run_page() {
    local browser
    browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
    if [[ -z "$browser" ]]; then
        echo "no browser here: the page's code runs under Node's fetch alone" >&2
        example node "$HERE/browser/fetch.mjs"
        return
    fi
    rm -rf "$WORK/page.json" "$WORK/profile"
    python3 "$HERE/browser/serve.py" "$PAGE_PORT" "$WORK/page.json" &
    started+=($!)
    until_true "the page is served" curl --silent --fail "http://localhost:$PAGE_PORT/page.html"
    "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$WORK/profile" \
        "http://localhost:$PAGE_PORT/page.html#endpoint=$HUTONG_GIVER&token=$HUTONG_BOT_TOKEN" \
        > "$WORK/browser.log" 2>&1 &
    started+=($!)
    until_true "the page tells" test -s "$WORK/page.json"
    example cat "$WORK/page.json"
    grep -q '"browser/bot"' "$WORK/page.json"
}

run_java() {
    local jar path=""
    for jar in "${JAVA_JARS[@]}"; do
        if ! command -v javac > /dev/null || [[ ! -e "$JAVA_FOLDER/$jar.jar" ]]; then
            echo "no example in Java: it needs a JDK and Debian's libgrpc-java with $jar.jar" >&2
            return
        fi
        path="$path:$JAVA_FOLDER/$jar.jar"
    done
    mkdir -p "$WORK/java"
    javac -nowarn -cp "$path" -d "$WORK/java" "$HERE/java/Pos.java"
    example java -cp "$WORK/java$path" Pos "$ROOT/crates/wire/src/generated/descriptor.bin"
}

# What the README shows first: a call with nothing generated.
call_by_reflection() {
    "$WORK/venv/bin/python" "$HERE/python/first_call.py" "$(cat "$WORK/baozi/merchant.addr")" \
        "$WORK/baozi/merchant.token" NodeService/GetStatus '{}' | field '["alliances"][0]["name"]' | grep -qx street
}

run_examples() {
    : > "$results"
    call_by_reflection
    example "$TARGET/debug/examples/pos"
    example env PYTHONPATH="$WORK/python" "$WORK/venv/bin/python" "$HERE/python/pos.py"
    example node "$WORK/node/pos.mjs"
    run_java
    example "$TARGET/debug/examples/bot"
    example env PYTHONPATH="$WORK/python" "$WORK/venv/bin/python" "$HERE/python/bot.py"
    example node "$WORK/node/bot.mjs"
    run_page
    until_true "the issuer's records arrive" books_agree
    example "$TARGET/debug/examples/export"
    example env PYTHONPATH="$WORK/python" "$WORK/venv/bin/python" "$HERE/python/export.py"
    example node "$WORK/node/export.mjs"
}

# What the examples say in all.
said() {
    python3 -c 'import json, sys
print(sum(json.loads(line).get(sys.argv[2], 0) for line in open(sys.argv[1]) if "/pos" in line))' "$results" "$1"
}

books_agree() {
    [[ "$(at baozi report summary | field '["sales"]')" == "$(said sales)" ]] &&
        [[ "$(at teahouse report summary | field '["redemptions"]')" == "$(said redeemed)" ]] &&
        [[ "$(at teahouse report summary | field '["double_redemptions"]')" == 0 ]]
}

webhooks_agree() {
    python3 - "$WORK/receiver/told.json" "$(said redeemed)" << 'PYTHON'
import json, sys
told = json.load(open(sys.argv[1]))
assert told["forged"] == 0 and told["refused"] == 3, told
assert len(told["messages"]) == int(sys.argv[2]) and set(told["messages"].values()) == {"voucher_redeemed"}, told
PYTHON
}

# A till's file, twice: the second time nothing is new.
import_sales() {
    local now
    now=$(date -u +%Y-%m-%dT%H:%M)
    printf 'time,paid,no\n%s:01Z,¥12.5,T-1\n%s:02Z,8.00,T-2\n' "$now" "$now" > "$WORK/sales.csv"
    printf 'source = "till"\ntime = { column = "time" }\namount = { column = "paid" }\nreference = { column = "no" }\n' \
        > "$WORK/mapping.toml"
    for _ in first second; do
        at baozi sale import --input "$WORK/sales.csv" --mapping "$WORK/mapping.toml" > "$WORK/import.json"
        [[ "$(field '["accepted"]' < "$WORK/import.json")" == 2 ]]
    done
    [[ "$(at baozi report summary | field '["sales"]')" == $(($(said sales) + 2)) ]]
}

main() {
    install_languages
    start_street
    start_receiver
    run_examples
    until_true "every redemption is posted" webhooks_agree
    import_sales
    at teahouse token audit --limit 100000 --filter 'code = PERMISSION_DENIED' > /dev/null
    printf '{"examples": %d, "sales": %d, "redeemed": %d, "webhook_posts": %d, "imported": 2}\n' \
        "$(wc -l < "$results")" "$(said sales)" "$(said redeemed)" "$(field '["posts"]' < "$WORK/receiver/told.json")"
}

main
