# Parts of scripts/bench about the resources of manytail: at rest, while jobs come and go, and after the kernel lost events.
# Call: not by itself; scripts/bench sources it.
# shellcheck shell=bash disable=SC2153,SC2154 # scripts/bench and load.bash set what is not set here

# switches_of PID: the number of its context switches, voluntary or not.
switches_of() { awk '/ctxt_switches:/ { sum += $2 } END { print sum }' "/proc/$1/status"; }

part_idle() { idle empty "$START_FILES" 112; }

# idle TREE FILES BYTES: what a follower of so many files costs at rest; so many bytes of memory for each at most.
idle() {
    local tree_name=$1 files=$2 bytes_max=$3 none_kib rss_kib ticks switches spent_ns
    mkdir -p "$work/none"
    use_tree none
    start_and_rest beginning
    none_kib=$(status_of "$follower" VmRSS)
    stop_follower
    local content
    read -ra content <<<"$IDLE_CONTENT"
    need_tree "$tree_name" "$files" "$IDLE_LAYOUT" "$DIRS" "${content[@]}"
    start_and_rest beginning
    rss_kib=$(status_of "$follower" VmRSS)
    record bytes_per_file 1 manytail "$(awk '{ printf "%.1f", ($1 - $2) * 1024 / $3 }' <<<"$rss_kib $none_kib $files")"
    record rss_MiB 1 manytail $((rss_kib / 1024))
    record peak_MiB 1 manytail $(($(status_of "$follower" VmHWM) / 1024))
    sleep 3 # files that were just read stay open for two seconds
    say "at rest for $SECONDS_AT_REST s ..."
    ticks=$(ticks_of "$follower")
    switches=$(switches_of "$follower")
    spent_ns=$(cut -d ' ' -f 1 "/proc/$follower/schedstat")
    sleep "$SECONDS_AT_REST" # the measure itself: nothing may happen in this time
    record ticks 1 manytail $(($(ticks_of "$follower") - ticks))
    record wakeups 1 manytail $(($(switches_of "$follower") - switches))
    record cpu_us 1 manytail $((($(cut -d ' ' -f 1 "/proc/$follower/schedstat") - spent_ns) / 1000))
    record descriptors 1 manytail "$(descriptors_of "$follower")"
    record threads 1 manytail "$(status_of "$follower" Threads)"
    stop_follower
    result "RSS per file, bytes; $files files, names of 14 bytes" median bytes_per_file manytail - "<=" "$bytes_max"
    result "RSS / its peak, MiB" medians "rss_MiB peak_MiB" manytail
    result "CPU ticks in $SECONDS_AT_REST s" median ticks manytail - "<=" 0
    result "wake-ups / CPU us in $SECONDS_AT_REST s" medians "wakeups cpu_us" manytail
    result "descriptors" median descriptors manytail - "<=" 16
    result "threads" median threads manytail - "<=" 2 # the loop, and what stores offsets
}

# part_million: cost at rest, and the cost of a line compared with few files if none of them stays open.
part_million() {
    idle million "$MILLION_FILES" 105
    warm_tree
    need_tree small "$SMALL_FILES" hashed "$DIRS" --bytes 300
    warm_tree
    growth closed million "$MILLION_FILES" 1.2
    # The kernel's share of that: the floor stores only a name per file.
    growth floor million "$MILLION_FILES"
}

part_churn() {
    local lines=$((2 * CHURN_RATE * CHURN_SECONDS))
    churn "$lines"
    result "lines lost, of $lines" max lost manytail - "<=" 0
    result "jobs/s that came, were written and deleted" median jobs_per_s manytail
    result "watches left over when all jobs are deleted" max watches manytail - "<=" 0
    result "RSS above that with $CHURN_FILES jobs before, KiB" median grown_KiB manytail - "<=" "$CHURN_KIB"
    result "RSS at its peak above that, KiB" median peak_KiB manytail
    result "CPU per line, us / p99, us / kernel overflows / opens" medians "cpu p99 overflows opens" manytail
}

# churn LINES: every second line goes to a job that exists; after each such line one job begins with a line, and another gets no more and
# is deleted after the grace. A tenth of them take a directory with them.
churn() {
    local lines=$1 rss_kib watches written verdict
    need_tree churn "$CHURN_FILES" own "$DIRS"
    start_and_rest beginning
    rss_kib=$(status_of "$follower" VmRSS)
    watches=$((DIRS + 1)) # without any job
    start_receiver --latency --cpu-of "$follower" --expect "$lines" --tee "$work/output"
    say "$CHURN_RATE jobs/s come and go for $CHURN_SECONDS s ..."
    joblogs append "$tree" --lines "$lines" --rate $((2 * CHURN_RATE)) --create-every 2 --delete-every 2 --grace "$CHURN_GRACE" \
        >"$work/written"
    await_lines manytail "$lines" || return 0
    written=$(<"$work/written")
    verdict=$("$joblogs" check --ledger "$ledger" --from last-append "$work/output" 2>"$work/offenders") ||
        lose "$verdict"$'\n'"$(<"$work/offenders")"
    rm -f "$work/output"
    # A line that was there for the grace has to come, also if its log is gone by now.
    record lost 1 manytail $(($(value lost "$verdict") + $(value excused "$verdict")))
    record jobs_per_s 1 manytail "$(awk '{ printf "%.0f", $1 / $2 }' <<<"$(value deleted "$written") $(value seconds "$written")")"
    record cpu 1 manytail "$(value follower_cpu_us_per_line "$(<"$work/received")")"
    record p99 1 manytail "$(value p99_us "$(<"$work/received")")"
    record peak_KiB 1 manytail $(($(status_of "$follower" VmHWM) - rss_kib))
    find "$tree" -mindepth 2 -delete # all jobs and their directories
    settle_watches "$watches"
    record watches 1 manytail $(($(watches_of "$follower") - watches))
    record grown_KiB 1 manytail $(($(status_of "$follower" VmRSS) - rss_kib))
    stop_follower
    record overflows 1 manytail "$(goodbye "$work/follower.err" overflows)"
    record opens 1 manytail "$(goodbye "$work/follower.err" opens)"
}

# settle_watches COUNT: waits until the follower has so many watches and is at rest, at most 10 s.
settle_watches() {
    local tries ticks=-1 now
    for ((tries = 0; tries < 20; tries++)); do
        now=$(ticks_of "$follower")
        (($(watches_of "$follower") != $1 || now != ticks)) || return 0
        ticks=$now
        sleep 0.5
    done
}

part_overflow() {
    local pair queue lines=$OVERFLOW_LINES continued
    queue=$(</proc/sys/fs/inotify/max_queued_events)
    ((lines >= 2 * queue)) || lines=$((2 * queue))
    need_jobs
    for ((pair = 1; pair <= PAIRS; pair++)); do
        choose text
        start_follower "${command[@]}"
        start_receiver --canary "$canary" --cpu-of "$follower" --expect "$lines" --tee "$work/output"
        wait_until_ready
        kill -STOP "$follower"
        joblogs append "$tree" --lines "$lines" --seed "$pair" >"$work/written"
        continued=$EPOCHREALTIME
        kill -CONT "$follower"
        await_lines text "$lines" || continue
        check_output text text
        stop_follower
        record recovery_s "$pair" text "$(awk '{ printf "%.3f", $1 - $2 }' <<<"$(value last_at "$(<"$work/received")") $continued")"
        record overflows "$pair" text "$(goodbye "$work/follower.err" overflows)"
        say "$(printf '%-9s %d  all there after %s s' "$part" "$pair" "$(tail -n 2 "$work/values" | awk -F "$tab" 'NR == 1 { print $5 }')")"
    done
    result "$FILES files, $lines lines while stopped: s until all are there" max recovery_s text - "<=" 2
    result "kernel overflows in each run" median overflows text - ">=" 1
}

# part_stall: activity in many files must not delay the lines of a few others.
part_stall() {
    local stirs="out in out_again in_again chmods appends snapshot reload scrape all_out all_in" stir
    need_tree few "$FEW_FILES" hashed "$FEW_DIRS"
    warm_tree
    need_tree many "$START_FILES" hashed "$DIRS" --bytes 300
    local crowd=$work/crowd
    # A tenth of the directories come and go; a fifth of the other files are changed.
    mkdir -p "$crowd/rest" "$crowd/tenth" "$work/outside"
    mv "$work/many" "$crowd/rest/jobs"
    mapfile -t some < <(find "$crowd/rest/jobs" -mindepth 1 -maxdepth 1 -type d | sort | head -n $(((DIRS + 9) / 10)))
    mv "${some[@]}" "$crowd/tenth/"
    find "$crowd/rest" -type f -name "*[05].log" >"$work/fifth"
    use_tree few
    write_stall_settings ""
    start_follower "$manytail" run --config "$work/stall.toml" "${manytail_args[@]}" --state-dir "$work/state" --control-socket "$work/control"
    start_receiver --canary "$canary" --cpu-of "$follower" --expect 0
    wait_until_ready
    wait "$receiver" || true
    receiver=
    for stir in $stirs; do
        stir_up "$stir" "stall_${stir%_again}"
    done
    stop_follower
    rm -rf "$crowd" "$work/outside" "$work/state" "$work/many.ledger"
    result "turns over 50 ms, of any stir" max long_turns "$stirs" - "<=" 0
    result "latest line of others, ms" max latest_ms "$stirs" - "<=" 100
    for stir in $stirs; do
        result "$stir: turns > 20 ms, > 50 ms / latest line, ms / took, s" medians "slow_turns long_turns latest_ms seconds" "$stir"
    done
}

# write_stall_settings RULES: writes settings with these rules for the many files.
write_stall_settings() {
    printf '[[input]]\npaths = ["%s"]\nfrom = "end"\n[[input]]\npaths = ["%s"]\nfrom = "end"\n%s\n' "$work/few" "$work/crowd" "$1" \
        >"$work/stall.toml"
}

# turns_over INDEX: how many turns took longer than that bound of the histogram (src/status/histogram.rs) so far.
turns_over() {
    # It exits with 1 if something needs attention: here files that are moved out unread.
    { "$manytail" status --control-socket "$work/control" --format json || true; } | sed 's/.*"turns":{"counts":\[\([^]]*\).*/\1/' |
        awk -F , -v from="$1" '{ for (i = from + 2; i <= NF; i++) sum += $i; print sum + 0 }'
}

# stir_up NAME COMMAND: others get lines before, during and after it.
stir_up() {
    local slow long latest_us began lines=$((1000 * STALL_SECONDS)) writer
    slow=$(turns_over 10) # 20 ms
    long=$(turns_over 11) # 50 ms
    start_receiver --latency --cpu-of "$follower" --expect "$lines" --only "$work/few"
    joblogs append "$tree" --lines "$lines" --rate 1000 --seed 7 >"$work/written" &
    writer=$!
    sleep 0.5
    began=$EPOCHREALTIME
    "$2"
    record seconds 1 "$1" "$(awk '{ printf "%.2f", $1 - $2 }' <<<"$EPOCHREALTIME $began")"
    wait "$writer"
    await_lines "$1" "$lines" || return 0
    slow=$(($(turns_over 10) - slow))
    long=$(($(turns_over 11) - long))
    latest_us=$(value max_us "$(<"$work/received")")
    record slow_turns 1 "$1" "$slow"
    record long_turns 1 "$1" "$long"
    record latest_ms 1 "$1" "$(awk '{ printf "%.1f", $1 / 1000 }' <<<"$latest_us")"
    say "$(printf '%-9s %-10s turns over 20 ms: %d, over 50 ms: %d; latest line %d us' "$part" "$1" "$slow" "$long" "$latest_us")"
}

stall_out() { mv "$work/crowd/tenth" "$work/outside/"; }
stall_in() { mv "$work/outside/tenth" "$work/crowd/"; }
stall_all_out() { mv "$work/crowd/rest" "$work/outside/"; }
stall_all_in() { mv "$work/outside/rest" "$work/crowd/"; }
stall_chmods() { xargs chmod 640 <"$work/fifth"; }
stall_appends() { xargs truncate -s +10 <"$work/fifth"; }
# A new journal of everything that is known.
stall_snapshot() {
    rm -rf "$work/state"
    sleep 2
}
stall_reload() {
    write_stall_settings 'exclude = ["*.nothing"]'
    kill -HUP "$follower"
    sleep 1
}
stall_scrape() {
    local number
    for ((number = 0; number < 10; number++)); do "$manytail" status --control-socket "$work/control" >/dev/null || true; done
}
