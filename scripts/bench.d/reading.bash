# Parts of scripts/bench in which manytail reads everything and ends (--once), compared with cat(1) and find(1).
# Call: not by itself; scripts/bench sources it.
# shellcheck shell=bash disable=SC2153,SC2154 # scripts/bench and load.bash set what is not set here

# find_cat DIR: reads all bytes of all files with as few processes as possible.
find_cat() { find "$1" -type f -exec cat {} +; }

# find_sizes DIR: reads the data that show whether a file has changed.
find_sizes() { find "$1" -type f -printf '%i %s\n'; }

lines_of_tree() { value lines "$(<"$tree.made")"; }

part_start() {
    local pair who state=$work/state changed=$((START_FILES / 100))
    need_tree many "$START_FILES" hashed "$DIRS" --bytes 300
    timed 0 find_cat find_cat "$tree"
    for ((pair = 1; pair <= PAIRS; pair++)); do
        for who in $(in_turn "$pair" find_cat cold); do
            case $who in
                find_cat) timed "$pair" find_cat find_cat "$tree" ;;
                cold) timed_once "$pair" cold "$(lines_of_tree)" --format text "$tree" ;;
            esac
        done
    done
    timed_once 0 primed "$(lines_of_tree)" --state-dir "$state" "$tree"
    timed 0 find_sizes find_sizes "$tree"
    for ((pair = 1; pair <= PAIRS; pair++)); do
        for who in $(in_turn "$pair" find_sizes unchanged); do
            case $who in
                find_sizes) timed "$pair" find_sizes find_sizes "$tree" ;;
                unchanged)
                    timed_once "$pair" unchanged 0 --state-dir "$state" "$tree"
                    record load_ms "$pair" unchanged "$(load_ms)"
                    ;;
            esac
        done
        joblogs append "$tree" --lines "$changed" --seed "$pair" >"$work/written"
        timed_once "$pair" changed "$changed" --state-dir "$state" "$tree"
    done
    record journal_MB 1 unchanged "$(du -b -c "$state"/journal.* | awk 'END { printf "%.1f", $1 / 1e6 }')"
    rm -rf "$state"
    result "cold start, $START_FILES x 300 bytes: CPU / find -exec cat" ratio cpu_s cold find_cat "<=" 0.6
    result "cold start: wall / find -exec cat" ratio wall_s cold find_cat
    result "resume, nothing changed: CPU / find -printf" ratio cpu_s unchanged find_sizes "<=" 1.6
    result "resume, nothing changed: wall / find -printf" ratio wall_s unchanged find_sizes
    result "resume, 1 % changed: CPU / find -printf" ratio cpu_s changed find_sizes
    result "cold start: CPU, s" median cpu_s cold
    result "load of the journal, ms" median load_ms unchanged
    result "journal, MB" median journal_MB unchanged
}

# load_ms: how long the journal took to load, by the diagnostics of the last timed run.
load_ms() {
    local took
    took=$(sed -n 's/.*offsets loaded.*took[=:"]*\([^ ",}]*\).*/\1/p' "$work/timed.err" | head -n 1)
    [[ -n $took ]] || fail "manytail did not say how long the journal took to load"
    awk '{ number = $1 + 0; print $1 ~ /[0-9]ms$/ ? number : $1 ~ /[nµu]s$/ ? number / 1000 : number * 1000 }' <<<"$took"
}

part_bulk() {
    local size output=()
    size=$(bulk_bytes)
    need_tree large "$BULK_FILES" flat 1 --bytes "$size" --line-bytes 100
    local files=("$tree"/*.log)
    timed 0 cat cat "${files[@]}"
    read_pairs large "$PAIRS" "$(lines_of_tree)" cat "${files[@]}"
    # To a disk, one file has to suffice: its records have several times as many bytes.
    local one=$tree/job0000000.log
    read_to_disk large_disk $(($(lines_of_tree) / BULK_FILES)) cat "$one"
    drop_tree large # so that both trees need not be in the page cache at once
    need_tree tiny "$BULK_SMALL_FILES" hashed "$DIRS" --bytes 10240 --line-bytes 100
    timed 0 find_cat find_cat "$tree"
    read_pairs tiny "$PAIRS" "$(lines_of_tree)" find_cat "$tree"
    read_to_disk tiny_disk "$(lines_of_tree)" find_cat "$tree"
    local mib=$((size / 1048576)) small="$BULK_SMALL_FILES x 10 KiB"
    result "$BULK_FILES x $mib MiB to /dev/null: bytes/s of raw / cat" ratio speed raw@large cat@large ">=" 0.5
    result "$BULK_FILES x $mib MiB to /dev/null: text / cat" ratio speed text@large cat@large ">=" 0.3
    result "$BULK_FILES x $mib MiB to /dev/null: json / cat" ratio speed json@large cat@large ">=" 0.28
    result "lines/s: raw" median speed raw@large
    local who
    for who in raw text json; do
        result "1 x $mib MiB to a file: $who / cat to /dev/null" ratio speed "$who@large_disk" cat@large_disk
    done
    for who in raw text json; do
        result "$small to /dev/null: $who / find -exec cat" ratio speed "$who@tiny" find_cat@tiny
    done
    for who in raw text json; do
        result "$small to a file: $who / find -exec cat to /dev/null" ratio speed "$who@tiny_disk" find_cat@tiny_disk
    done
}

# bulk_bytes: of each large file, so that they fit into the page cache, and with a copy as json on the disk.
bulk_bytes() {
    local memory disk fits
    memory=$(awk '$1 == "MemAvailable:" { print $2 * 1024 }' /proc/meminfo)
    disk=$(df --output=avail -B1 "$work" | tail -n 1)
    fits=$(awk -v memory="$memory" -v disk="$disk" -v files="$BULK_FILES" -v wanted="$BULK_BYTES" 'BEGIN {
        fits = memory / 2 / files
        if (fits > disk / (files + 6)) fits = disk / (files + 6)
        fits = int(fits / 1048576) * 1048576
        printf "%.0f", fits < wanted ? fits : wanted
    }')
    ((fits >= 1048576)) || fail "no room for large files: $memory bytes of memory, $disk of disk"
    ((fits == BULK_BYTES)) || say "large files of $fits bytes instead of $BULK_BYTES: more do not fit into half of the memory, or the disk"
    printf '%s\n' "$fits"
}

# read_pairs NAME PAIRS LINES BASE FILE...: BASE and all formats by turns over the same files; records lines/s as `speed`. What `output`
# says is added to manytail's options.
read_pairs() {
    local name=$1 pairs=$2 lines=$3 base=$4 pair who
    shift 4
    for ((pair = 1; pair <= pairs; pair++)); do
        for who in $(in_turn "$pair" "$base" raw text json); do
            case $who in
                "$base") timed "$pair" "$who@$name" "$base" "$@" ;;
                *) timed_once "$pair" "$who@$name" "$lines" --format "$who" "${output[@]}" "$@" ;;
            esac
            record speed "$pair" "$who@$name" "$(awk '{ printf "%.0f", $1 / $2 }' <<<"$lines $wall")"
            rm -f "$work/bulk.out"
        done
    done
}

# read_to_disk NAME LINES BASE FILE...: as read_pairs, with manytail's output in a file.
read_to_disk() {
    local output=(--output "file:$work/bulk.out")
    read_pairs "$1" "$BULK_DISK_PAIRS" "${@:2}"
}
