#!/bin/bash
# PostgreSQL: a table of one cluster to another by logical replication on the loopback, unsigned and in clear. The
# subscriber lags by the records, then may go on; it commits to its disk before it says so.
#
#     postgresql.sh FOLDER RECORDS BYTES RUNS        as an ordinary user: PostgreSQL does not run as root
set -euo pipefail
readonly folder=$1 records=$2 bytes=$3 runs=$4
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
readonly bin publisher="$folder/publisher" subscriber="$folder/subscriber"
free_ports=$(python3 -c '
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*[s.getsockname()[1] for s in held])')
read -r publisher_port subscriber_port <<< "$free_ports"

ask() { # ask PORT SQL
    "$bin/psql" -X -q -t -A -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$1" -U bench -d postgres -c "$2"
}

stop() {
    "$bin/pg_ctl" -D "$subscriber" -m immediate stop > /dev/null 2>&1 || true
    "$bin/pg_ctl" -D "$publisher" -m immediate stop > /dev/null 2>&1 || true
}
trap stop EXIT

start() { # start FOLDER PORT
    "$bin/initdb" -D "$1" -U bench -A trust --no-sync > /dev/null
    cat >> "$1/postgresql.conf" << SETTINGS
port = $2
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = logical
shared_buffers = 32MB
autovacuum = off
wal_retrieve_retry_interval = 1ms
SETTINGS
    "$bin/pg_ctl" -D "$1" -w -l "$1.log" start > /dev/null
}

# Bytes that walked over the publisher's connection to the subscriber so far, both ways.
wire() {
    ss -tinH "sport = :$publisher_port" | tr ' ' '\n' |
        awk -F: '$1 == "bytes_sent" || $1 == "bytes_received" { sum += $2 } END { print sum + 0 }'
}

# Peak resident memory of all processes of a cluster. What they share is counted once for each.
memory() {
    local sum=0 pid
    for pid in $(head -1 "$subscriber/postmaster.pid") $(pgrep -P "$(head -1 "$subscriber/postmaster.pid")"); do
        sum=$((sum + $(awk '/VmHWM/ { print $2 }' "/proc/$pid/status") * 1024))
    done
    echo "$sum"
}

start "$publisher" "$publisher_port"
start "$subscriber" "$subscriber_port"
for port in "$publisher_port" "$subscriber_port"; do
    ask "$port" "CREATE TABLE record (sequence bigint PRIMARY KEY, body bytea NOT NULL)"
done
ask "$publisher_port" "CREATE PUBLICATION street FOR TABLE record"
ask "$subscriber_port" "CREATE SUBSCRIPTION street CONNECTION 'host=127.0.0.1 port=$publisher_port user=bench dbname=postgres'
    PUBLICATION street WITH (copy_data = false, binary = true, synchronous_commit = 'on')" 2> /dev/null
# Lets the subscriber go on, and tells how long the last row took. All within the server: a client for each look would
# cost more than the replication.
ask "$subscriber_port" "
    CREATE PROCEDURE arrival(want bigint, INOUT took float8) LANGUAGE plpgsql AS \$\$
    DECLARE start timestamptz := clock_timestamp();
    BEGIN
        ALTER SUBSCRIPTION street ENABLE;
        COMMIT;
        LOOP
            EXIT WHEN EXISTS (SELECT FROM record WHERE sequence = want);
            COMMIT;
            PERFORM pg_sleep(0.002);
        END LOOP;
        took := extract(epoch FROM clock_timestamp() - start);
    END \$\$"

seconds=() wires=()
for ((run = 0; run < runs; run++)); do
    ask "$subscriber_port" "ALTER SUBSCRIPTION street DISABLE"
    while [[ -n $(ask "$subscriber_port" "SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL") ]]; do
        sleep 0.05
    done
    ask "$publisher_port" "INSERT INTO record SELECT $run::bigint * $records + n,
        decode(string_agg(md5(random()::text || n || part), ''), 'hex')
        FROM generate_series(1, $records) n, generate_series(1, ($bytes + 15) / 16) part GROUP BY n"
    want=$(((run + 1) * records))
    took=$(ask "$subscriber_port" "CALL arrival($want, 0)")
    [[ $(ask "$subscriber_port" "SELECT count(*) FROM record") == "$want" ]]
    seconds+=("$took")
    wires+=("$(wire)")
done

version=$("$bin/postgres" --version | awk '{ print $3 }')
join() { local IFS=,; echo "$*"; }
echo "{\"peer\": \"PostgreSQL $version, logical replication\", \"verifies\": \"nothing (unsigned, in clear)\"," \
    "\"durable\": \"fsync at commit\", \"seconds\": [$(join "${seconds[@]}")]," \
    "\"wire_bytes\": [$(join "${wires[@]}")], \"memory_bytes\": $(memory), \"memory_of\": \"receiver\"}"
