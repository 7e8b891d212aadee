# `scripts/compare brokers`: shippers into Kafka that are killed, with a broker, while lines are written and logs are rotated. Who repeats or
# loses lines, and what does a record cost?
# Call: scripts/compare brokers                 manytail, rsyslog (omkafka), Fluent Bit; about eight minutes, and the build
#       PROGRAMS="manytail rsyslog" KILLS=3 scripts/compare brokers
# FLUENT_BIT: that program, if it is not in the PATH; Debian has no package of it. KILLS: 10 of each shipper, LEADER_KILLS: 3 of a broker.
# KILL_FILES, KILL_RATE, ROTATE_EVERY: 500 logs, 1,000 lines/s, a rotation after 500 lines. COST_RATE, SECONDS_OF_LOAD: 2,000 lines/s for 10 s
# to the same logs, for the cost. Needs what scripts/brokers needs.
# shellcheck shell=bash disable=SC2034,SC2154 # scripts/compare, load.bash, cluster.bash and programs.bash set what is not set here

# get_shipper NAME: makes it ready to start; fails if it is not available here.
get_shipper() {
    case $1 in
        manytail) ;;
        rsyslog) unpack_package rsyslog-kafka ;;
        fluent-bit) fluent_bit=$(command -v "${FLUENT_BIT:-fluent-bit}") ;;
        *) fail "no such program: $1" ;;
    esac
}

shipper_version() {
    case $1 in
        manytail) "$manytail" --version ;;
        rsyslog) "${rsyslogd[@]}" -v | awk 'NR == 1 { print "rsyslog " $2 " (imfile, omkafka)" }' ;;
        fluent-bit) "$fluent_bit" --version | awk 'NR == 1 { print $1, $2, $3 " (tail, kafka)" }' ;;
    esac
}

# ship_NAME: executes the program; it reads $tree from the beginning, or from where it was, into $topic.
ship_manytail() { exec "$manytail" run --output "kafka:$topic" --brokers "$addresses" --state-dir "$state" "$tree"; }

# By the manuals of imfile ("persistStateInterval", "persistStateAfterSubmission": against losses in a crash) and omkafka ("resubmitOnFailure",
# "keepFailedMessages", "dynaKey"); confParam is librdkafka's. A direct queue holds nothing back in memory.
ship_rsyslog() {
    mkdir -p "$state"
    cat >"$work/rsyslog-kafka.conf" <<END
global(workDirectory="$state" maxMessageSize="1m")
module(load="imfile" mode="inotify")
module(load="omkafka")
template(name="record" type="list" option.jsonf="on") {
    property(outname="path" name="\$!metadata!filename" format="jsonf") property(outname="line" name="rawmsg" format="jsonf")
}
template(name="file" type="string" string="%\$!metadata!filename%")
ruleset(name="out" queue.type="direct") {
    action(type="omkafka" broker=["${addresses//,/'", "'}"] topic="$topic" template="record" key="file" dynaKey="on"
        confParam=["acks=all", "enable.idempotence=true", "linger.ms=5"] resubmitOnFailure="on" keepFailedMessages="on"
        failedMsgFile="$state/failed" action.resumeRetryCount="-1" action.resumeInterval="1")
}
input(type="imfile" file="$tree/*/*.log" tag="job" ruleset="out" addMetadata="on" reopenOnTruncate="on" maxSubmitAtOnce="1024"
    persistStateInterval="1" persistStateAfterSubmission="on")
END
    exec "${rsyslogd[@]}" -n -i "$state/pid" -f "$work/rsyslog-kafka.conf" -M "$debian/usr/lib/$(uname -m)-linux-gnu/rsyslog" >&2
}

# By its manual: "Tail" (`db` keeps offsets, `rotate_wait`), "Buffering & storage" (`storage.type filesystem` survives a restart), "Kafka"
# (`rdkafka.*` is librdkafka's, `queue_full_retries 0` and `retry_limit no_limits` never give up), one second from the line to the output.
ship_fluent_bit() {
    mkdir -p "$state/storage"
    cat >"$work/fluent-bit.conf" <<END
[SERVICE]
    flush 0.2
    log_level warn
    storage.path $state/storage
    storage.sync full
    scheduler.base 1
    scheduler.cap 5
[INPUT]
    name tail
    path $tree/*/*.log
    path_key path
    read_from_head on
    db $state/offsets.db
    db.sync full
    refresh_interval 1
    rotate_wait 30
    storage.type filesystem
[OUTPUT]
    name kafka
    match *
    brokers $addresses
    topics $topic
    format json
    message_key_field path
    queue_full_retries 0
    retry_limit no_limits
    rdkafka.enable.idempotence true
    rdkafka.acks all
    rdkafka.linger.ms 5
END
    exec "$fluent_bit" -c "$work/fluent-bit.conf" >&2
}

start_shipper() {
    "ship_${1//-/_}" >>"$work/follower.err" 2>&1 9>&- </dev/null &
    follower=$!
}

# kill_shipper NAME: and start it again, as systemd would.
kill_shipper() {
    kill -KILL "$follower" 2>/dev/null || say "$1 was gone before it was killed: $(tail -n 1 "$work/follower.err")"
    wait "$follower" 2>/dev/null || true
    start_shipper "$1"
}

# field_of NAME: where the line is in its records.
field_of() { if [[ $1 == fluent-bit ]]; then echo log; else echo line; fi; }

# new_tree: empty logs, known to none of the programs.
new_tree() {
    rm -rf "$tree" "$ledger" "$state"
    : >"$work/follower.err"
    "$joblogs" make "$tree" --ledger "$ledger" --files "$kill_files" --layout hashed --dirs 20 --empty >/dev/null
    new_topic
}

# cost_of NAME: sets $cost, CPU per record while nothing is killed; the first line of each log is not measured.
cost_of() {
    local before lines=$((cost_rate * load_seconds)) field
    field=$(field_of "$1")
    new_tree
    start_shipper "$1"
    start_consumer --field "$field" --expect "$kill_files" --quiet "$start_timeout"
    "$joblogs" append "$tree" --ledger "$ledger" --lines "$kill_files" --seed 0 >/dev/null
    await_consumer
    start_consumer --field "$field" --from end --expect "$lines" --quiet 30 --isolation read_uncommitted
    before=$(spent_ns "$follower")
    "$joblogs" append "$tree" --ledger "$ledger" --lines "$lines" --rate "$cost_rate" >/dev/null
    await_consumer
    cost=$(awk '{ printf "%.1f", ($1 - $2) / 1000 / $3 }' <<<"$(spent_ns "$follower") $before $lines")
    say "$1: $cost us of CPU per record; $(<"$work/received")"
    stop
}

# survive NAME: sets $verdict (its order says nothing: what a log gets after a rotation may be in another partition), after kills of the program and of brokers while lines are written and logs are rotated.
survive() {
    local writer kill leader seconds=$((4 * kills + 10))
    new_tree
    start_shipper "$1"
    "$joblogs" append "$tree" --ledger "$ledger" --seconds "$seconds" --rate "$kill_rate" --rotate-every "$rotate_every" --keep 1000 >"$work/written" &
    writer=$!
    for ((kill = 1; kill <= kills; kill++)); do
        sleep "$((RANDOM % 3 + 1)).$((RANDOM % 10))" # at any moment of what it does
        leader=
        if ((kill * leader_kills / kills > (kill - 1) * leader_kills / kills)); then
            leader=$("$brokers" leader "$cluster" "$topic" $((RANDOM % 8)))
            "$brokers" kill "$cluster" "$leader"
        fi
        kill_shipper "$1"
        [[ -z $leader ]] || { sleep 3 && "$brokers" up "$cluster" "$leader"; }
    done
    wait "$writer"
    start_consumer --field "$(field_of "$1")" --lines "$work/output" --quiet 30
    await_consumer
    verdict=$("$joblogs" check --format raw --ledger "$ledger" "$work/output" 2>"$work/offenders") || true # 1: it found something
    [[ -n $verdict ]] || fail "no verdict: $(<"$work/offenders")"
    say "$1: $(<"$work/written")"
    say "$1: $verdict"
    stop
}

compare_brokers() {
    local there=() names=() program cost verdict
    local kills=${KILLS:-10} leader_kills=${LEADER_KILLS:-3} kill_files=${KILL_FILES:-500} kill_rate=${KILL_RATE:-1000}
    local rotate_every=${ROTATE_EVERY:-500} cost_rate=${COST_RATE:-2000}
    read -ra names <<<"${PROGRAMS:-manytail rsyslog fluent-bit}"
    build --features kafka,nats
    for program in "${names[@]}"; do
        if get_shipper "$program"; then there+=("$program"); else say "$program is left out: it is not here and cannot be fetched."; fi
    done
    start_cluster kafka
    {
        echo "| program | lines | shipper killed | leader killed | lost | repeated | torn | CPU per record |"
        echo "|---|---:|---:|---:|---:|---:|---:|---:|"
    } >"$work/table"
    for program in "${there[@]}"; do
        cost_of "$program"
        survive "$program"
        printf '| %s | %s | %s | %s | %s | %s | %s | %s us |\n' "$(shipper_version "$program")" "$(value lines "$(<"$work/written")")" "$kills" \
            "$leader_kills" "$(value lost "$verdict")" "$(value repeated "$verdict")" "$(value torn "$verdict")" "$cost" >>"$work/table"
    done
    cat "$work/table"
}
