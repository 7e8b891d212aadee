# The programs that scripts/compare compares: the source of each, its settings, and how it is started.
# Call: not by itself; scripts/compare sources it after scripts/load.bash.
# shellcheck shell=bash disable=SC2154  # repository, work, tree, manytail: scripts/load.bash

debian=$tools/debian
python=$tools/python/bin/python
# The packages of the log daemons conflict with each other, and installing one may start it. Unpacking them avoids both.
unpacked=(env "LD_LIBRARY_PATH=$debian/usr/lib/$(uname -m)-linux-gnu:$debian/lib/$(uname -m)-linux-gnu:$debian/usr/lib/syslog-ng")
rsyslogd=("${unpacked[@]}" "$debian/usr/sbin/rsyslogd")
syslog_ng=("${unpacked[@]}" "$debian/usr/sbin/syslog-ng")

# unpack_package NAME: unpacks a Debian package and its dependencies that are not installed into $debian. Needs root only for missing lists.
unpack_package() {
    local name=$1 packages package
    [[ ! -e $debian/$name.unpacked ]] || return 0
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    if ! apt-cache show "$name" >/dev/null 2>&1 && ((EUID == 0)); then
        apt-get update -qq >&2
    fi
    packages=$(apt-get install --simulate --no-install-recommends "$name" | awk '$1 == "Inst" { print $2 }') || return 1
    mkdir -p "$debian/packages"
    (
        cd "$debian/packages" || exit 1
        # As root, apt says that its own user cannot write here; it then writes as root.
        # shellcheck disable=SC2086  # one word per package
        apt-get download -qq $packages "$name" 2>"$work/apt.err" >&2 || { cat "$work/apt.err" >&2 && exit 1; }
        for package in *.deb; do dpkg-deb --extract "$package" "$debian" || exit 1; done
        rm -f -- *.deb
    ) || return 1
    : >"$debian/$name.unpacked"
}

# make_python PACKAGE...: a virtual environment with these PyPI packages.
make_python() {
    if [[ ! -x $python ]]; then
        if ! python3 -c 'import ensurepip, venv' 2>/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
            apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv >&2 || return 1
        fi
        python3 -m venv "$tools/python" >&2 || return 1
    fi
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet "$@" >&2
}

# get_program NAME: makes it ready to start; fails if it is not available here.
get_program() {
    case $1 in
        manytail) ;;
        tail) command -v tail >/dev/null ;;
        rsyslog) unpack_package rsyslog ;;
        syslog-ng) unpack_package syslog-ng-core ;;
        python) make_python watchdog ;;
        *) fail "no such program: $1" ;;
    esac
}

# version_of NAME: its version in a few words.
version_of() {
    case $1 in
        manytail) "$manytail" --version ;;
        tail) tail --version | awk 'NR == 1 { print "GNU coreutils tail " $NF }' ;;
        rsyslog) "${rsyslogd[@]}" -v | awk 'NR == 1 { print "rsyslog " $2 " (imfile)" }' ;;
        syslog-ng) "${syslog_ng[@]}" --version | awk 'NR == 1 { gsub(/[()]/, "", $NF); print "syslog-ng " $NF " (wildcard-file)" }' ;;
        python) "$python" -c 'import importlib.metadata, platform; print("Python", platform.python_version(), "with watchdog", importlib.metadata.version("watchdog"))' ;;
    esac
}

# format_of NAME: the format that `joblogs` has to expect.
format_of() { if [[ $1 == tail ]]; then echo raw; else echo text; fi; }

# run_NAME: executes the program, which follows $tree from the end of its files; its output is standard output or $pipe.
run_manytail() { exec "$manytail" run --from end "$tree"; }

run_python() { exec "$python" "$repository/scripts/compare.d/follow.py" "$tree"; }

# -q: a header whenever the file changes would be a second line per line. Short names, so that more of them fit into the arguments.
run_tail() {
    local names
    ulimit -S -s "$(ulimit -H -s)" # arguments may fill a quarter of the stack limit, 6 MiB at most: execve(2)
    cd "$tree" || exit 1
    mapfile -d '' -t names < <(find . -name '*.log' -printf '%P\0')
    exec tail -q -F -n 0 -- "${names[@]}"
}

# Settings by the manual. "imfile: Text File Input Module": inotify is the mode it suggests, MaxLinesAtOnce does not exist there;
# freshStartTail starts at the end. "General Queue Parameters": a direct queue has no second thread and no limit of its own.
# "ompipe" writes whole lines, and "Actions": with resumeRetryCount -1 it keeps the line for which the pipe was full, and tries again
# after resumeInterval, a second at least. omfile, too, opens a FIFO non-blocking, and tears lines when it is full.
run_rsyslog() {
    mkdir -p "$state"
    cat >"$work/rsyslog.conf" <<END
global(workDirectory="$state" maxMessageSize="1m")
module(load="imfile" mode="inotify")
template(name="path-and-line" type="list") {
    property(name="\$!metadata!filename") constant(value="\t") property(name="rawmsg") constant(value="\n")
}
ruleset(name="out" queue.type="direct") {
    action(type="ompipe" pipe="$pipe" template="path-and-line" action.resumeRetryCount="-1" action.resumeInterval="1")
}
input(type="imfile" file="$tree/*/*.log" tag="job" ruleset="out" addMetadata="on" freshStartTail="on" reopenOnTruncate="on" maxSubmitAtOnce="1024")
END
    exec "${rsyslogd[@]}" -n -iNONE -f "$work/rsyslog.conf" -M "$debian/usr/lib/$(uname -m)-linux-gnu/rsyslog" >&2
}

# Settings by the Administration Guide. "wildcard-file() source options": max-files() at least the number of files; log-iw-size() is
# divided by max-files(). "Managing incoming and outgoing messages with flow-control": log-fifo-size() above the sum of the windows
# loses nothing. inotify finds new files; how often each known file is looked at is follow-freq(), a second by default.
run_syslog_ng() {
    local count
    mkdir -p "$state"
    count=$(($(find "$tree" -name '*.log' -printf x | wc -c) + 20000)) # and room for new ones
    cat >"$work/syslog-ng.conf" <<END
@version: 3.38
options { use-dns(no); dns-cache(no); stats-freq(0); log-msg-size(1048576); };
source jobs {
    wildcard-file(base-dir("$tree") filename-pattern("*.log") recursive(yes) monitor-method(inotify) follow-freq($follow_freq)
        max-files($count) log-fetch-limit(100) log-iw-size($((count * 100))) flags(no-parse));
};
destination out { pipe("$pipe" template("\${FILE_NAME}\t\${MESSAGE}\n") log-fifo-size($((count * 200))) flush-lines(100)); };
log { source(jobs); destination(out); flags(flow-control); };
END
    exec "${syslog_ng[@]}" -F --no-caps -e -f "$work/syslog-ng.conf" -R "$state/persist" -p "$state/pid" -c "$state/control" \
        --module-path="$debian/usr/lib/syslog-ng/3.38" >&2
}
