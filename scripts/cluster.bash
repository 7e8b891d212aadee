# Functions for scripts that write to brokers: clusters on this machine (scripts/brokers), topics, a consumer.
# Call: not by itself; source it after load.bash. Who does calls stop_clusters at its end.
# shellcheck shell=bash disable=SC2154 # load.bash sets what is not set here

brokers=$repository/scripts/brokers
cluster=
addresses=
topic=
topics=0

# start_cluster kafka|nats: sets `addresses`, and `clients`, the Python that can talk to them.
start_cluster() {
    "$brokers" get kafka nats
    clients=$("$brokers" python)
    cluster=$work/cluster.$1
    say "starting three nodes of $1 ..."
    addresses=$("$brokers" start "$1" "$cluster" | tail -n 1)
    [[ -n $addresses ]] || fail "no cluster of $1"
}

stop_clusters() {
    local each
    for each in "$work"/cluster.*; do
        [[ ! -e $each/kind ]] || "$brokers" stop "$each"
    done
}

# new_topic [PARTITIONS]: with 8 of them and three copies; sets `topic`. Each run has one of its own, so that none reads what another wrote.
new_topic() {
    topic=run$((++topics))
    "$brokers" topic "$cluster" "$topic" "$@"
}

# start_consumer OPTIONS...: of consume.py, on the topic; returns when it knows where it begins. Its report goes to $work/received.
start_consumer() {
    : >"$work/receiver.err"
    "$clients" -B "$repository/scripts/brokers.d/consume.py" "$addresses" "$topic" "$@" >"$work/received" 2>"$work/receiver.err" 9>&- &
    receiver=$!
    until grep -q '^ready$' "$work/receiver.err"; do
        kill -0 "$receiver" 2>/dev/null || fail "no consumer: $(<"$work/receiver.err")"
        sleep 0.05
    done
}

# await_consumer: until it has what it expects; without an expectation, until nothing comes.
await_consumer() {
    wait "$receiver" || fail "the consumer failed: $(<"$work/receiver.err")"
    receiver=
}

# spent_ns PID: CPU time of all its threads.
spent_ns() { cat "/proc/$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }
