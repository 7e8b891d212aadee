# Functions for the parts of scripts/bench: trees, runs, their values, and the results that results.awk computes from the values.
# Call: not by itself; scripts/bench sources it after load.bash.
# shellcheck shell=bash disable=SC2153,SC2154 # scripts/bench and load.bash set what is not set here

missed=0
shown=
declare -A queues=()
tab=$'\t'
: >"$work/values"
: >"$work/results"
: >"$work/lost"

# record METRIC PAIR WHO VALUE: one value of the part that runs. Pair 0 is discarded: it warms caches.
record() {
    (($2 == 0)) || printf '%s\t%s\t%s\t%s\t%s\n' "$part" "$1" "$2" "$3" "$4" >>"$work/values"
}

# result WHAT KIND METRICS WHO [BASE [OPERATOR TARGET]]: one row of the table; what the kinds are is said in results.awk.
result() {
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$part" "$1" "$2" "$3" "$4" "${5:--}" "${6:--}" "${7:--}" >>"$work/results"
}

# show_results: the table on stdout, and JSON; counts the missed targets.
show_results() {
    local text name
    text=$(for name in "${settings[@]}" QUICK APPEND_ARGS MANYTAIL_ARGS; do printf '%s=%s;' "$name" "${!name:-}"; done)
    missed=0
    note_queue
    awk -F "$tab" -v json="${JSON:-}" -v quick="${QUICK:-}" -v settings="$text" -v host="$(uname -sr), $(nproc) cores, $(file_system), max_queued_events ${!queues[*]}" \
        -f "$here/bench.d/results.awk" "$work/values" "$work/results" || missed=$?
    ((missed < 100)) || fail "the results could not be worked out"
    shown=1
}

# note_queue: the length of the kernel's event queue, which decides about overflows; it may be changed meanwhile.
note_queue() { queues[$(</proc/sys/fs/inotify/max_queued_events)]=1; }

# at_end (see load.bash): prints what a run that ends early has measured.
at_end() {
    stop_clusters
    [[ $1 == 0 || ! -s $work/results || -n $shown ]] || show_results
}

file_system() { stat -f -c %T "$work"; }

# lose WHAT: the run continues, and fails at its end.
lose() {
    say "LOST LINES: $part: $*"
    printf '%s: %s\n' "$part" "$*" >>"$work/lost"
}

# joblogs ARGUMENTS...: in the background, so that a signal to this script need not wait for its end.
joblogs() {
    "$joblogs" "$@" 9>&- &
    wait "$!"
}

# use_tree NAME: sets the tree for load.bash.
use_tree() {
    tree=$work/$1
    ledger=$tree.ledger
    canary=$tree/canary.log
}

# need_tree NAME FILES LAYOUT DIRS [OPTIONS of joblogs make]: makes the tree if it is not there, and uses it.
need_tree() {
    use_tree "$1"
    [[ ! -d $tree ]] || return 0
    say "making $2 job logs, $3, in $4 directories ..."
    joblogs make "$tree" --files "$2" --layout "$3" --dirs "$4" "${@:5}" >"$tree.made"
    sync -f "$tree" # writing the tree back is no one's CPU
}

# warm_tree: gives every log of the tree a line, since the first line of a cold file costs more.
warm_tree() {
    [[ ! -e $tree.warm ]] || return 0
    : >"$canary"
    joblogs append "$tree" --lines "$(files_of_tree)" --seed 0 >"$tree.warm"
    sync -f "$tree"
}

files_of_tree() { value files "$(<"$tree.made")"; }

drop_tree() { rm -rf "${work:?}/$1" "$work/$1".*; }

# in_turn PAIR WHO...: the followers in an order that changes from pair to pair.
in_turn() {
    local pair=$1 at
    shift
    for ((at = 0; at < $#; at++)); do
        printf '%s\n' "${@:(pair + at) % $# + 1:1}"
    done
}

# choose WHO: sets `command` and `format`. What follows an @ only tells runs of the same follower apart.
choose() {
    local run=("$manytail" run --from end "${manytail_args[@]}")
    format=text
    case ${1%%@*} in
        floor) command=("$floor" "$tree") ;;
        text | default) command=("${run[@]}" --format text "$tree") ;;
        beginning) command=("$manytail" run "${manytail_args[@]}" "$tree") ;;
        json)
            format=json
            command=("${run[@]}" --format json "$tree")
            ;;
        unpaced) command=("${run[@]}" --format text --pace 0 "$tree") ;;
        closed) command=("${run[@]}" --format text --keep-open 0 "$tree") ;;
        open) command=("${run[@]}" --format text --keep-open 16384 "$tree") ;;
        state) command=("${run[@]}" --format text --state-dir "$work/state" "$tree") ;;
        tail | btail)
            format=raw
            mapfile -d '' -t logs < <(find "$tree" -type f -print0)
            command=(tail -q -n 0 -F "${logs[@]}")
            [[ $1 != btail* ]] || command=(chrt -b 0 "${command[@]}")
            ;;
        *) fail "no such follower: $1" ;;
    esac
}

# start_and_rest WHO: starts a follower on the tree in use, and waits until it knows the tree, has read its part and is at rest.
start_and_rest() {
    : >>"$canary"
    choose "$1"
    start_follower "${command[@]}"
    start_receiver --canary "$canary" --cpu-of "$follower" --expect 0
    wait_until_ready
    wait "$receiver" || true
    receiver=
}

# goodbye KEY: a number in the last diagnostic of manytail.
goodbye() {
    local last
    last=$(grep ' done ' "$1" | tail -n 1) || fail "manytail did not say what it did"
    value "$2" "$last"
}

# follow_once WHO PAIR LINES [OPTIONS of joblogs append]: one follower while LINES lines are written to the tree.
follow_once() {
    local who=$1 pair=$2 lines=$3 received written
    shift 3
    choose "$who"
    start_follower "${command[@]}"
    local options=(--latency --format "$format" --canary "$canary" --cpu-of "$follower" --expect "$lines")
    [[ -z ${CHECK:-} ]] || options+=(--tee "$work/output")
    start_receiver "${options[@]}"
    wait_until_ready
    joblogs append "$tree" --lines "$lines" --seed "$pair" "$@" >"$work/written"
    await_lines "$who" "$lines" || return 0
    if [[ $part/$who == latency/default@* ]]; then
        sleep 3 # the measure itself: nothing may be open after this time
        record logs_open "$pair" "$who" "$(find "/proc/$follower/fd" -lname "$tree/*" | wc -l)"
    fi
    written=$(<"$work/written")
    received=$(<"$work/received")
    stop_follower
    [[ -z ${CHECK:-} ]] || check_output "$who" "$format"
    record cpu "$pair" "$who" "$(value follower_cpu_us_per_line "$received")"
    record written_per_s "$pair" "$who" "$(value lines_per_s "$written")"
    record cpu_to_writer "$pair" "$who" \
        "$(awk '{ printf "%.3f", $1 / $2 }' <<<"$(value follower_cpu_us_per_line "$received") $(value cpu_us_per_line "$written")")"
    record lines_per_s "$pair" "$who" "$(value lines_per_s "$received")"
    record MB_per_s "$pair" "$who" "$(awk '{ printf "%.1f", $1 / $2 / 1e6 }' <<<"$(value bytes "$received") $(value seconds "$received")")"
    local key
    for key in p50 p99 p999; do
        record "$key" "$pair" "$who" "$(value "${key}_us" "$received")"
    done
    if [[ ${command[0]} == "$manytail" ]]; then
        record overflows "$pair" "$who" "$(goodbye "$work/follower.err" overflows)"
        record lines_per_open "$pair" "$who" \
            "$(awk '{ printf "%.2f", $1 / ($2 > 0 ? $2 : 1) }' <<<"$(goodbye "$work/follower.err" records) $(goodbye "$work/follower.err" opens)")"
    fi
    say "$(printf '%-9s %d  %-18s %8.2f us/line  p50 %6d us  p99 %6d us  %8d lines/s written  %8d delivered' "$part" "$pair" "$who" \
        "$(value follower_cpu_us_per_line "$received")" "$(value p50_us "$received")" "$(value p99_us "$received")" \
        "$(value lines_per_s "$written")" "$(value lines_per_s "$received")")"
}

# compare LINES "WHO ..." [OPTIONS of joblogs append]: all followers by turns, PAIRS times, on the tree in use.
compare() {
    local lines=$1 pair name followers
    read -ra followers <<<"$2"
    shift 2
    warm_tree
    follow_once "${followers[0]}" 0 "$lines" "$@"
    for ((pair = 1; pair <= PAIRS; pair++)); do
        for name in $(in_turn "$pair" "${followers[@]}"); do
            follow_once "$name" "$pair" "$lines" "$@"
        done
    done
}

# await_lines WHO LINES: until the receiver has them all; a follower that did not deliver them is ended, and 1 is returned.
await_lines() {
    local status=0
    wait "$receiver" || status=$?
    receiver=
    ((status != 0)) || return 0
    ((status == 1)) || fail "the receiver failed: $(cat "$work/receiver.err")"
    if kill -0 "$follower" 2>/dev/null; then
        stop_follower
    else
        wait "$follower" || true
        follower=
    fi
    lose "$1: $(value lines "$(<"$work/received")") of $2 lines came; it said: $(tail -n 1 "$work/follower.err")"
    [[ ! -s $work/output ]] || check_output "$1" "$format"
    return 1
}

# check_output WHO FORMAT: every line that the last `append` wrote has to be in $work/output, once.
check_output() {
    "$joblogs" check --format "$2" --ledger "$ledger" --from last-append "$work/output" >"$work/verdict" 2>"$work/offenders" ||
        lose "$1: $(<"$work/verdict")"$'\n'"$(<"$work/offenders")"
    rm -f "$work/output"
}

# timed PAIR WHO COMMAND...: runs it with stdout to /dev/null; records `cpu_s` (of its children, too) and `wall_s`;
# leaves the latter in `wall`.
timed() {
    local pair=$1 who=$2 TIMEFORMAT='%U %S %R' user system
    shift 2
    { time "$@" >/dev/null 2>"$work/timed.err" 9>&-; } 2>"$work/timed" || fail "$1 failed: $(tail -n 3 "$work/timed.err")"
    read -r user system wall <"$work/timed"
    local cpu
    cpu=$(awk '{ printf "%.3f", $1 + $2 }' <<<"$user $system")
    record cpu_s "$pair" "$who" "$cpu"
    record wall_s "$pair" "$who" "$wall"
    say "$(printf '%-9s %d  %-18s %8.3f s CPU  %8.3f s' "$part" "$pair" "$who" "$cpu" "$wall")"
}

# timed_once PAIR WHO LINES OPTIONS... PATH: `manytail run --once`, which has to deliver LINES lines.
timed_once() {
    local pair=$1 who=$2 lines=$3 records
    shift 3
    timed "$pair" "$who" "$manytail" run --once --log-level debug "${manytail_args[@]}" "$@" # at other levels it says nothing at its end
    records=$(goodbye "$work/timed.err" records)
    ((records == lines)) || lose "$who: $records records of $lines lines"
}
