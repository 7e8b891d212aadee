# Functions for the load scripts: built programs, a temporary work directory, a follower with its output in a pipe.
# Call: not by itself; `source "$(dirname "$0")/load.bash"` from a script that has set -euo pipefail.
# Settings by environment: MANYTAIL (another binary than the one built here), TMPDIR (where trees are made; ext4 is what counts),
# IDLE_TIMEOUT (seconds without a line after which a run has failed; 60).
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}/release
joblogs=$target/examples/joblogs
floor=$target/examples/floor
manytail=${MANYTAIL:-$target/manytail}
idle_timeout=${IDLE_TIMEOUT:-60}

work=$(mktemp -d "${TMPDIR:-/tmp}/manytail-load.XXXXXX")
pipe=$work/pipe
tree=$work/jobs
ledger=$work/jobs.ledger
canary=$tree/canary.log
follower=
receiver=

# at_end STATUS: runs when a script ends, before its work directory is removed. A script may define its own.
at_end() { :; }

clean_up() {
    local status=$?
    trap - EXIT
    local pid
    for pid in $follower $receiver $(jobs -p); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    (at_end "$status") || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The pipe stays open here, so that a follower does not lose its reader when the receiver has everything.
mkfifo "$pipe"
exec 9<>"$pipe"

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $*"
    if [[ -s $work/follower.err ]]; then
        say "The follower said:"
        tail -n 20 "$work/follower.err" >&2
    fi
    exit 1
}

# build [OPTIONS of cargo]
build() {
    say "Building ..."
    (cd "$repository" && cargo build --quiet --release --bin manytail --example joblogs --example floor "$@")
}

# start_follower COMMAND...: its output goes to the pipe.
start_follower() {
    "$@" >"$pipe" 2>"$work/follower.err" 9>&- </dev/null &
    follower=$!
}

# start_receiver OPTIONS...: `joblogs receive` on the pipe; its report goes to $work/received.
start_receiver() {
    # Emptied here: the background shell does it only later, and "ready" of the previous run would be taken for this one's.
    : >"$work/receiver.err"
    "$joblogs" receive --idle-timeout "$idle_timeout" "$@" <"$pipe" >"$work/received" 2>"$work/receiver.err" 9>&- &
    receiver=$!
}

# wait_until_ready: until the receiver had a canary from the follower, and the follower came to rest.
wait_until_ready() {
    until grep -q '^ready$' "$work/receiver.err"; do
        kill -0 "$follower" 2>/dev/null || fail "the follower ended before it was ready"
        kill -0 "$receiver" 2>/dev/null || fail "the follower was not ready in time: $(<"$work/receiver.err")"
        sleep 0.02
    done
}

# wait_for_receiver: until it has everything that it expects; its deadline is IDLE_TIMEOUT after the last line.
wait_for_receiver() {
    local status=0
    wait "$receiver" || status=$?
    receiver=
    ((status == 0)) || fail "not all lines came: $(cat "$work/received" "$work/receiver.err")"
}

# stop_follower: asks it to end, and gives it 10 s. A follower that does not end with 0 or by the signal has failed.
stop_follower() {
    local status=0 pid=$follower tries
    kill -TERM "$pid" 2>/dev/null || true
    for ((tries = 0; tries < 200; tries++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null && fail "the follower did not stop within 10 s of SIGTERM"
    wait "$pid" || status=$?
    follower=
    ((status == 0 || status == 143)) || fail "the follower ended with status $status"
}

# value KEY TEXT: the value of KEY in a line of key=value words.
value() {
    local word
    for word in $2; do
        if [[ $word == "$1="* ]]; then
            printf '%s\n' "${word#*=}"
            return
        fi
    done
    fail "no $1 in: $2"
}

# status_of PID KEY: a number of /proc/PID/status.
status_of() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }

# descriptors_of PID: how many it has open.
descriptors_of() { find "/proc/$1/fd" -mindepth 1 -maxdepth 1 | wc -l; }

# watches_of PID: of its inotify instances.
watches_of() { cat "/proc/$1"/fdinfo/* 2>/dev/null | grep -c '^inotify wd:' || true; } # 0 is an answer

# ticks_of PID: CPU time of all its threads in clock ticks: utime and stime of proc(5) stat.
ticks_of() { sed 's/^.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
