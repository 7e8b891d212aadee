# The part of scripts/bench that writes to message brokers: three nodes of Kafka, and of NATS, on this machine.
# Call: not by itself; scripts/bench sources it after scripts/cluster.bash.
# shellcheck shell=bash disable=SC2153,SC2154 # scripts/bench, load.bash, cluster.bash and measure.bash set what is not set here

socket=$work/control.sock

# build_peer: librdkafka's performance tool, with the library that manytail was built with. Sets `peer`.
build_peer() {
    local out
    out=$(find "$target/build" -path '*/rdkafka-sys-*/out/src/librdkafka.a' -printf '%T@ %h\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
    [[ -n $out ]] || fail "librdkafka was not built below $target"
    peer=$work/rdkafka_performance
    cc -O2 -w -I "$out" "${out%/src}/examples/rdkafka_performance.c" "$out/librdkafka.a" -lpthread -ldl -lm -lrt -o "$peer"
}

part_brokers() {
    local peer
    need_tree hot1000 "$BROKER_FILES" hashed "$DIRS" --bytes $((BROKER_LINES / BROKER_FILES * 100)) --line-bytes 100
    start_cluster nats
    stream_rate
    stop_clusters
    start_cluster kafka
    build_peer
    topic_rate
    costs
    delays kafka 8
    delays spread 3
    commits
    stop_clusters
    result "CPU per record: to Kafka less to a pipe, us; $BROKER_FILES hot files" difference cost kafka pipe "<=" 2.5
    result "CPU per record, us: to Kafka" median cost kafka
    result "CPU per record, us: to a pipe" median cost pipe
    result "records/s: to Kafka / librdkafka's tool from memory" ratio speed kafka rdkafka ">=" 0.8
    result "records/s to Kafka, three copies" median speed kafka
    result "records/s to JetStream, three copies" median speed nats - ">=" 40000
    result "p50 at 1,000 lines/s, to a read_uncommitted reader, us" median p50 kafka - "<=" 10000
    result "p99 / p99.9 there, us" medians "p99 p999" kafka
    result "p50 of a topic with a partition for each broker instead of 8, us" median p50 spread
    result "wake-ups/s at rest, connected to Kafka" median wakeups kafka - "<" 10
    result "CPU us/s / threads at rest, connected to Kafka" medians "cpu_us threads" kafka
    result "transactions/s that three nodes end for 32 producers" median transactions kafka
    result "p50 / p99 of their ends, us" medians "end_p50 end_p99" kafka
}

# rate PAIR WHO LINES: records `speed` of the last `timed`.
rate() { record speed "$1" "$2" "$(awk '{ printf "%.0f", $1 / $2 }' <<<"$3 $wall")"; }

# stream_rate: all files from the beginning into a stream with three copies.
stream_rate() {
    local pair lines servers=${addresses//,/'", "nats://'}
    lines=$(lines_of_tree)
    for ((pair = 0; pair <= PAIRS; pair++)); do
        rm -rf "$work/state"
        printf '[nats]\nservers = ["nats://%s"]\nstream = "BENCH%d"\ncreate = true\n' "$servers" "$pair" >"$work/nats.toml"
        timed_once "$pair" nats "$lines" --config "$work/nats.toml" --output "nats:bench$pair.node" --state-dir "$work/state" "$tree"
        rate "$pair" nats "$lines"
    done
}

# topic_rate: all files from the beginning in transactions, against as many records of the same size from memory. librdkafka's tool knows
# no transactions; the rest is the same: idempotence, all copies, batches, no compression.
topic_rate() {
    local pair lines bytes who
    lines=$(lines_of_tree)
    bytes=$(($("$manytail" run --once --format json --host "$tree" | wc -c) / lines))
    for ((pair = 0; pair <= PAIRS; pair++)); do
        for who in $(in_turn $((pair > 0 ? pair - 1 : 0)) kafka rdkafka); do
            new_topic
            if [[ $who == kafka ]]; then
                rm -rf "$work/state"
                timed_once "$pair" kafka "$lines" --output "kafka:$topic" --brokers "$addresses" --state-dir "$work/state" "$tree"
            else
                timed "$pair" rdkafka "$peer" -P -q -t "$topic" -b "$addresses" -s "$bytes" -c "$lines" -a -1 -X enable.idempotence=true \
                    -X linger.ms=5 -X queue.buffering.max.kbytes=65536 -X queue.buffering.max.messages=500000
            fi
            rate "$pair" "$who" "$lines"
        done
    done
}

# number KEY: a whole number, or a truth, in what manytail says of itself.
number() {
    "$manytail" status --format json --control-socket "$socket" 2>/dev/null | grep -oP "\"$1\":\K([0-9]+|true|false)(?=[,}])" | head -n 1
}

# follow WHO: starts manytail at the end of the tree, and returns when it knows all files and is connected.
follow() {
    local output=() files
    rm -rf "$work/state"
    [[ $1 == pipe ]] || output=(--output "kafka:$topic" --brokers "$addresses")
    files=$(find "$tree" -type f | wc -l)
    start_follower "$manytail" run --from end --format json --state-dir "$work/state" --control-socket "$socket" "${manytail_args[@]}" \
        "${output[@]}" "$tree"
    until [[ $(number is_connected) == true && $(number idle) == "$files" ]]; do
        kill -0 "$follower" || fail "the follower ended before it was ready"
        sleep 0.1
    done
}

# await_records COUNT: until the output has acknowledged so many.
await_records() {
    local tries
    for ((tries = 0; tries < idle_timeout * 10; tries++)); do
        (($(number records) < $1 || $(number unacknowledged_bytes) > 0)) || return 0
        sleep 0.1
    done
    fail "$(number records) of $1 records were read, $(number unacknowledged_bytes) bytes are not acknowledged"
}

# costs: of a record while jobs write, with the same format and a state directory in both cases.
costs() {
    local pair who lines=$((BROKER_RATE * BROKER_SECONDS)) before
    for ((pair = 0; pair <= PAIRS; pair++)); do
        for who in $(in_turn "$pair" kafka pipe); do
            [[ $who == pipe ]] || new_topic
            follow "$who"
            cat <"$pipe" >/dev/null 9>&- &
            receiver=$!
            before=$(spent_ns "$follower")
            joblogs append "$tree" --lines "$lines" --rate "$BROKER_RATE" --keep-open --lines-per-write "$LINES_PER_WRITE" --line-bytes 100 \
                --seed "$pair" >"$work/written"
            await_records "$lines"
            before=$(awk '{ printf "%.3f", ($1 - $2) / 1000 / $3 }' <<<"$(spent_ns "$follower") $before $lines")
            record cost "$pair" "$who" "$before"
            say "$(printf '%-9s %d  %-8s %8.2f us/record  %8d lines/s written' "$part" "$pair" "$who" "$before" "$(value lines_per_s "$(<"$work/written")")")"
            stop_follower
            kill "$receiver"
            wait "$receiver" || true
            receiver=
        done
    done
}

# delays WHO PARTITIONS: from the write to a reader that does not wait for commits, with few lines; then rest. A broker answers the requests
# of a connection one after the other, and the client library makes one for each partition.
delays() {
    local pair key received lines=$((1000 * BROKER_SECONDS))
    for ((pair = 1; pair <= PAIRS; pair++)); do
        new_topic "$2"
        follow kafka
        start_consumer --isolation read_uncommitted --from end --expect "$lines" --quiet "$idle_timeout"
        joblogs append "$tree" --lines "$lines" --rate 1000 --seed "$pair" >"$work/written"
        await_consumer
        received=$(<"$work/received")
        (($(value records "$received") == lines)) || lose "kafka: $received of $lines records"
        for key in p50 p99 p999; do record "$key" "$pair" "$1" "$(value "${key}_us" "$received")"; done
        say "$(printf '%-9s %d  %-8s %s' "$part" "$pair" "$1" "$received")"
        [[ $pair != 1 || $1 != kafka ]] || rest "$lines"
        stop_follower
    done
}

# rest LINES: what an idle follower does that is connected.
rest() {
    local before spent
    await_records "$1"
    sleep 3 # files that were just read stay open for two seconds, and the last commit is confirmed after one
    before=$(sleeps_of "$follower")
    spent=$(spent_ns "$follower")
    sleep "$SECONDS_AT_REST" # the measure itself: nothing may happen in this time
    record wakeups 1 kafka "$(awk '{ printf "%.2f", ($1 - $2) / $3 }' <<<"$(sleeps_of "$follower") $before $SECONDS_AT_REST")"
    record cpu_us 1 kafka "$(awk '{ printf "%.0f", ($1 - $2) / 1000 / $3 }' <<<"$(spent_ns "$follower") $spent $SECONDS_AT_REST")"
    record threads 1 kafka "$(status_of "$follower" Threads)"
}

# sleeps_of PID: how often its threads went to sleep.
sleeps_of() { cat "/proc/$1"/task/*/status | awk '$1 == "voluntary_ctxt_switches:" { sum += $2 } END { print sum }'; }

# commits: what the coordinators of this cluster take. Each transaction is small, and has the offset of a group, as those of manytail.
commits() {
    local told
    new_topic
    told=$("$clients" -B "$repository/scripts/brokers.d/transactions.py" "$addresses" "$topic" 32 "$BROKER_SECONDS")
    say "$told"
    record transactions 1 kafka "$(value per_s "$told")"
    record end_p50 1 kafka "$(value p50_us "$told")"
    record end_p99 1 kafka "$(value p99_us "$told")"
}
