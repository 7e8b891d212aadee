# Parts of scripts/bench in which lines are written while a follower runs: their cost and latency.
# Call: not by itself; scripts/bench sources it.
# shellcheck shell=bash disable=SC2153,SC2154 # scripts/bench and load.bash set what is not set here

# need_jobs: the tree that most parts use.
need_jobs() {
    need_tree jobs "$FILES" hashed "$DIRS"
    warm_tree
}

part_scatter() {
    need_jobs
    compare "$LINES_AT_FULL_SPEED" "floor text json unpaced" "${append_args[@]}"
    result "CPU per line: text / floor" ratio cpu text floor "<=" 0.90
    result "CPU per line: json / floor, which writes text" ratio cpu json floor "<=" 1.25
    result "CPU per line: text with --pace 0 / floor" ratio cpu unpaced floor
    result "CPU per line: text / the writer's own" median cpu_to_writer text
    result "kernel overflows" max overflows "text json unpaced" - "<=" 0
    result "p50 / p99 / p99.9, text, us" medians "p50 p99 p999" text
    result "p50 / p99 / p99.9, floor, us" medians "p50 p99 p999" floor
    result "lines/s, written / delivered as text" medians "written_per_s lines_per_s" text
}

part_growth() {
    need_tree many "$START_FILES" hashed "$DIRS" --bytes 300
    warm_tree
    need_tree small "$SMALL_FILES" hashed "$DIRS" --bytes 300
    warm_tree
    growth text many "$START_FILES" 1.3
}

# growth WHO TREE FILES [RATIO_MAX]: CPU per line at full speed with so many files against that with the few of the tree `small`.
growth() {
    local who=$1 large=$2 files=$3 ratio_max=${4:-} pair size
    for ((pair = 0; pair <= PAIRS; pair++)); do
        for size in $(in_turn "$pair" "$large" small); do
            use_tree "$size"
            follow_once "$who@$size" "$pair" "$LINES_AT_FULL_SPEED"
        done
    done
    result "CPU per line, $who: $files files / $SMALL_FILES files" ratio cpu "$who@$large" "$who@small" ${ratio_max:+"<=" "$ratio_max"}
    [[ $who == floor ]] || result "kernel overflows" max overflows "$who@$large $who@small" - "<=" 0
}

part_flat() {
    need_tree flat "$FLAT_FILES" flat 1
    shape
}

part_deep() {
    need_tree deep $((DEEP_DIRS * 10)) hashed "$DEEP_DIRS"
    shape
}

# shape: text against the floor on the tree in use.
shape() {
    compare "$LINES_AT_FULL_SPEED" "floor text"
    result "CPU per line: text / floor" ratio cpu text floor "<=" 1.15
    result "kernel overflows" max overflows text - "<=" 0
}

# can_tail: whether tail(1) can follow the tree in use. It keeps a descriptor for each file.
can_tail() {
    command -v tail >/dev/null || return 1
    local needed=$(($(files_of_tree) + 100))
    [[ $(ulimit -n) == unlimited ]] || (($(ulimit -n) >= needed)) || ulimit -S -n "$needed" 2>/dev/null
}

# compare_at SIZE LINES "WHO ..." [OPTIONS of joblogs append]: as `compare`; SIZE tells the values of several runs apart.
compare_at() {
    local followers
    read -ra followers <<<"$3"
    compare "$2" "${followers[*]/%/@$1}" "${@:4}"
}

# against BASE@SIZE WHO CPU P50 P99: one row each for a follower's ratios, with their targets (- for none).
against() {
    local base=$1 who=$2@${1#*@} metric
    shift 2
    for metric in cpu p50 p99; do
        if [[ $1 == - ]]; then
            result "${base#*@}: $metric: $who / $base" ratio "$metric" "$who" "$base"
        else
            result "${base#*@}: $metric: $who / $base" ratio "$metric" "$who" "$base" "<=" "$1"
        fi
        shift
    done
}

# need_tailed NAME FILES DIRS: a tree that tail(1) can follow.
need_tailed() {
    need_tree "$1" "$2" hashed "$3"
    can_tail || fail "tail -F of $2 files: it is missing, or may not have as many descriptors"
}

part_latency() {
    local size lines=$((RATE * RATE_SECONDS))
    for size in few more; do
        if [[ $size == few ]]; then need_tailed few "$FEW_FILES" "$FEW_DIRS"; else need_tailed more "$LATENCY_FILES" "$DIRS"; fi
        compare_at "$size" "$lines" "tail default open btail floor" --rate "$RATE"
        against "tail@$size" default 0.80 1.40 1.0
        against "tail@$size" open 0.60 1.10 1.10
        against "btail@$size" open 1.0 1.2 1.1
        against "floor@$size" default - - -
        for who in default open tail floor; do
            result "$size: CPU per line, p50, p99, p99.9, us: $who" medians "cpu p50 p99 p999" "$who@$size"
        done
        result "$size: logs that are open 3 s after the last line" max logs_open "default@$size" - "<=" 0
    done
    need_jobs
    compare_at jobs "$lines" "floor default" --rate "$RATE"
    against floor@jobs default 0.80 1.7 1.5
}

# part_busy: beside one program per processor that never sleeps.
part_busy() {
    local size=few programs=() number
    need_tailed few "$FEW_FILES" "$FEW_DIRS"
    warm_tree
    for ((number = 0; number < $(nproc); number++)); do
        (while :; do :; done) 9>&- &
        programs+=("$!")
    done
    compare_at "$size" $((RATE * RATE_SECONDS)) "tail default" --rate "$RATE"
    kill "${programs[@]}"
    against "tail@$size" default 0.80 1.0 1.1
}

# part_seldom: lines that come one by one.
part_seldom() {
    local rate
    need_tailed few "$FEW_FILES" "$FEW_DIRS"
    for rate in 100 1000; do
        compare_at "$rate-per-s" $((rate * RATE_SECONDS)) "tail default" --rate "$rate"
        against "tail@$rate-per-s" default - 1.2 -
    done
}

part_hot() {
    local pair who
    need_jobs
    need_tree hot "$HOT_FILES" flat 1
    warm_tree
    for ((pair = 0; pair <= PAIRS; pair++)); do
        for who in $(in_turn "$pair" text@hot floor@hot text@scatter); do
            if [[ $who == *@scatter ]]; then
                use_tree jobs
                follow_once "$who" "$pair" "$LINES_AT_FULL_SPEED"
            else
                use_tree hot
                follow_once "$who" "$pair" "$HOT_LINES" --rate "$HOT_RATE" --keep-open --lines-per-write "$LINES_PER_WRITE"
            fi
        done
    done
    result "lines per open" median lines_per_open text@hot - ">=" 20
    result "CPU per line: hot / scatter" ratio cpu text@hot text@scatter "<=" 0.25
    result "kernel overflows" max overflows text@hot - "<=" 0
    result "lines/s, written (asked for: $HOT_RATE) / delivered" medians "written_per_s lines_per_s" text@hot
    result "MB/s of text records" median MB_per_s text@hot
    result "CPU per line: text / floor" ratio cpu text@hot floor@hot
    result "p50 / p99 / p99.9, text, us" medians "p50 p99 p999" text@hot
}

# prime: makes a state that knows the tree, so that a run is measured, not its first scan.
prime() {
    rm -rf "$work/state"
    start_and_rest state
    stop_follower
}

part_state() {
    local pair who
    [[ $(file_system) != tmpfs ]] || fail "TMPDIR is on tmpfs: what a commit costs there says nothing"
    need_jobs
    for ((pair = 0; pair <= PAIRS; pair++)); do
        for who in $(in_turn "$pair" text state); do
            if [[ $who == state ]]; then prime; fi
            follow_once "$who@full" "$pair" "$STATE_LINES"
            if [[ $who == state ]]; then prime; fi
            follow_once "$who@steady" "$pair" $((RATE * STATE_SECONDS)) --rate "$RATE"
        done
    done
    rm -rf "$work/state"
    result "CPU per line at full speed: with --state-dir / without" ratio cpu state@full text@full "<=" 1.05
    result "p99 at $RATE lines/s: with --state-dir / without" ratio p99 state@steady text@steady "<=" 1.10
    result "p50 / p99 / p99.9 at $RATE lines/s, with --state-dir, us" medians "p50 p99 p999" state@steady
    result "p50 / p99 / p99.9 at $RATE lines/s, without, us" medians "p50 p99 p999" text@steady
}
