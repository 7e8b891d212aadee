# Parts of scripts/bench in which lines are written while a follower runs: what they cost, and how late they come.
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
    result "CPU per line: text / floor" ratio cpu text floor "<=" 1.15
    result "CPU per line: json / floor, which writes text" ratio cpu json floor "<=" 1.25
    result "CPU per line: text with --pace 0 / floor" ratio cpu unpaced floor
    result "CPU per line: text / the writer's own" median cpu_to_writer text
    result "kernel overflows" max overflows "text json unpaced" - "<=" 0
    result "p50 / p99 / p99.9, text, us" medians "p50 p99 p999" text
    result "p50 / p99 / p99.9, floor, us" medians "p50 p99 p999" floor
    result "lines/s, written / delivered as text" medians "written_per_s lines_per_s" text
}

part_growth() {
    local pair size
    need_tree many "$START_FILES" hashed "$DIRS" --bytes 300
    warm_tree
    need_tree small "$SMALL_FILES" hashed "$DIRS" --bytes 300
    warm_tree
    for ((pair = 0; pair <= PAIRS; pair++)); do
        for size in $(in_turn "$pair" many small); do
            use_tree "$size"
            follow_once "text@$size" "$pair" "$LINES_AT_FULL_SPEED"
        done
    done
    result "CPU per line: $START_FILES files / $SMALL_FILES files" ratio cpu text@many text@small "<=" 1.3
    result "kernel overflows" max overflows "text@many text@small" - "<=" 0
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

part_latency() {
    need_tree few "$LATENCY_FILES" hashed "$DIRS"
    local followers="floor prompt default paced careful" lines=$((RATE * RATE_SECONDS))
    if can_tail; then followers+=" tail"; else say "no tail -F of all files: it is missing, or may not have as many descriptors"; fi
    compare "$lines" "$followers" --rate "$RATE"
    result "p50 at $RATE lines/s: --pace 0 --coalesce 0 / floor" ratio p50 prompt floor "<=" 1.2
    result "p99: --pace 0 --coalesce 0 / floor" ratio p99 prompt floor "<=" 1.5
    result "p50, default settings, us" median p50 default - "<" 1000
    result "p99, default settings, us" median p99 default - "<" 5000
    result "CPU per line: default / floor" ratio cpu default floor "<" 1.0
    result "CPU per line: default / floor, paced and careful" ratio cpu default careful
    result "CPU per line: floor, paced and careful / paced" ratio cpu careful paced
    if [[ $followers == *tail ]]; then
        result "CPU per line: default / tail -F of all files" ratio cpu default tail "<" 1.0
        result "p50 / p99 / p99.9, tail -F, us" medians "p50 p99 p999" tail
    fi
    result "p50 / p99 / p99.9, floor, us" medians "p50 p99 p999" floor
    result "p50 / p99 / p99.9, --pace 0 --coalesce 0, us" medians "p50 p99 p999" prompt
    result "p50 / p99 / p99.9, default, us" medians "p50 p99 p999" default
    sweep_pace "$lines"
}

# sweep_pace LINES: what each --pace costs and what it delays, at a steady rate (LINES) and at full speed; the floor paces nothing.
sweep_pace() {
    local pair paces pace load names=()
    read -ra paces <<<"$PACES"
    for pace in "${paces[@]}"; do names+=("pace=$pace"); done
    names+=(floor)
    for ((pair = 1; pair <= SWEEP_PAIRS; pair++)); do
        for pace in $(in_turn "$pair" "${names[@]}"); do
            follow_once "$pace@steady" "$pair" "$1" --rate "$RATE"
            follow_once "$pace@full" "$pair" "$LINES_AT_FULL_SPEED"
        done
    done
    for load in steady full; do
        for pace in "${paces[@]}"; do
            result "--pace $pace, $load: CPU per line / floor" ratio cpu "pace=$pace@$load" "floor@$load"
        done
        for pace in "${paces[@]}"; do
            result "--pace $pace, $load: CPU per line, p50, p99, us" medians "cpu p50 p99" "pace=$pace@$load"
        done
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

# prime: a state that knows the tree, so that what is measured is a run, not its first scan.
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
