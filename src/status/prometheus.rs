//! [`Status`] -> the text format of Prometheus, version 0.0.4.
//!
//! In: a status. Out: a text with a HELP and a TYPE line for each metric.
//! Always holds: names begin with `manytail_` or `process_`, units are seconds and bytes, counters
//! end in `_total`, the values of a label do not grow with the number of files, and a HELP text can
//! be understood alone.

mod output;

use std::fmt::{Display, Write};

use crate::status::Status;
use crate::status::histogram::Histogram;

/// Writes all metrics.
#[must_use]
pub(crate) fn text(status: &Status) -> String {
    let mut text = Text(String::with_capacity(16 * 1024));
    run(&mut text, status);
    read(&mut text, status);
    events(&mut text, status);
    losses(&mut text, status);
    jobs(&mut text, status);
    files(&mut text, status);
    backlog(&mut text, status);
    directories(&mut text, status);
    output::output(&mut text, status);
    commits(&mut text, status);
    diagnostics(&mut text, status);
    process(&mut text, status);
    text.0
}

fn run(text: &mut Text, status: &Status) {
    text.family(
        "manytail_build_info",
        Kind::Gauge,
        "Always 1; the label is the version of manytail.",
    );
    text.sample("manytail_build_info", &[("version", &status.about.version)], 1);
    text.gauge(
        "manytail_settings_bad",
        "1 if the last SIGHUP could not reload the settings: the previous ones stay in force, and \
        a restart would fail.",
        u8::from(status.about.bad_settings.is_some()),
    );
    text.histogram(
        "manytail_turn_seconds",
        "Duration of a turn of the main loop, without waiting.",
        &status.turns,
    );
}

fn read(text: &mut Text, status: &Status) {
    let counters = &status.counters;
    text.counter(
        "manytail_lines_total",
        "Records that end with a newline: whole lines, and last pieces of long lines.",
        counters.lines(),
    );
    text.counter(
        "manytail_records_total",
        "Records encoded: lines and pieces of lines.",
        counters.records,
    );
    text.counter(
        "manytail_read_bytes_total",
        "Bytes of followed files that became records.",
        counters.bytes,
    );
    text.counter("manytail_opens_total", "Files opened for reading.", counters.opens);
    text.histogram(
        "manytail_delivery_latency_seconds",
        "Time from the turn that received the event of a change to the end of the turn in which \
        the output acknowledged the last byte read for it; one observation per part of a file that \
        was read at once. It does not include the time in the kernel's queue before that turn, nor \
        the work of the receiver. For files that a listing found it begins with the listing; if a \
        file takes several turns to read, all parts count from the first.",
        &status.deliveries,
    );
}

fn events(text: &mut Text, status: &Status) {
    let counters = &status.counters;
    let name = "manytail_events_total";
    text.family(
        name,
        Kind::Counter,
        "Events from the kernel, by kind; modified: bytes of a file were appended or overwritten.",
    );
    text.sample(name, &[("kind", "modified")], counters.modified_events());
    for (kind, count) in counters.other_events.by_kind() {
        text.sample(name, &[("kind", kind)], count);
    }
    text.counter(
        "manytail_overflows_total",
        "How often the kernel's event queue was full and events were lost; raise \
        fs.inotify.max_queued_events.",
        counters.overflows,
    );
    let name = "manytail_rescans_total";
    text.family(
        name,
        Kind::Counter,
        "Passes over all files, by cause: an overflow, a doubt about the target of a link, the \
        periodic sweep, a reload of the settings.",
    );
    text.sample(name, &[("cause", "overflow")], counters.overflow_rescans);
    text.sample(
        name,
        &[("cause", "doubt")],
        counters.rescans.saturating_sub(counters.overflow_rescans),
    );
    text.sample(name, &[("cause", "sweep")], status.directories.sweeps);
    text.sample(name, &[("cause", "reload")], counters.reload_rescans);
}

fn losses(text: &mut Text, status: &Status) {
    let counters = &status.counters;
    text.counter(
        "manytail_truncations_total",
        "How often the content of a file restarted: it was truncated, or overwritten in place.",
        counters.truncations,
    );
    let name = "manytail_lost_bytes_total";
    text.family(
        name,
        Kind::Counter,
        "Bytes known to be lost: unfinished lines that were read, and then truncated, deleted or \
        moved away with their file. Bytes that were never read are not counted.",
    );
    text.sample(name, &[("cause", "truncated")], counters.lost_truncated_bytes);
    let deleted = counters.lost_bytes - counters.lost_truncated_bytes - counters.lost_moved_bytes;
    text.sample(name, &[("cause", "deleted")], deleted);
    text.sample(name, &[("cause", "moved")], counters.lost_moved_bytes);
    text.counter(
        "manytail_files_deleted_unread_total",
        "Files that were deleted while they may have had unread bytes.",
        counters.deleted_unread,
    );
    text.counter(
        "manytail_files_moved_unread_total",
        "Files that were moved out of the watched trees while they may have had unread bytes.",
        counters.moved_unread,
    );
    text.counter(
        "manytail_files_vanished_total",
        "Files that were gone before they could be examined for the first time, with their \
        contents.",
        counters.vanished,
    );
    text.counter(
        "manytail_files_ignored_older_total",
        "Files read from their end because they had not been modified for the time of \
        --ignore-older.",
        counters.old_files,
    );
    text.counter(
        "manytail_binary_files_total",
        "How often a file was excluded because its first block is binary (binary = \"skip\").",
        counters.binary_files,
    );
    text.counter(
        "manytail_skipped_nul_bytes_total",
        "NUL bytes that were skipped: holes, and those that a truncation leaves before a writer's \
        position.",
        counters.skipped_nul_bytes,
    );
    text.counter(
        "manytail_superseded_segments_total",
        "Parts of lines between carriage returns that were left out because a later part of the \
        same read replaces them (carriage_return = \"latest\").",
        counters.superseded_segments,
    );
    text.counter(
        "manytail_filtered_records_total",
        "Records that were left out by the filters of their input (`keep`, `drop`).",
        counters.filtered_records,
    );
}

fn jobs(text: &mut Text, status: &Status) {
    text.counter(
        "manytail_log_ends_total",
        "Records that told that a log is over (`end`, `end_idle`).",
        status.counters.ends,
    );
    text.counter(
        "manytail_untold_events_total",
        "Ends of logs and losses that no record told, because the output took nothing for long or \
        too many files went away at once.",
        status.counters.untold_events,
    );
    let name = "manytail_job_mismatches_total";
    if !status.jobs.is_empty() {
        text.family(
            name,
            Kind::Counter,
            "Reads of files whose names the pattern of `job` does not match: their records have no \
            fields of it. By the PATHs of the input; only with such a pattern.",
        );
    }
    for input in &status.jobs {
        text.sample(name, &[("input", &input.input)], input.mismatches);
    }
}

fn files(text: &mut Text, status: &Status) {
    let name = "manytail_files";
    text.family(
        name,
        Kind::Gauge,
        "Known files by state. idle: read to the end; queued, blocked (the output takes nothing), \
        cooling (--coalesce), waiting (for a predecessor, a listing or the journal): to be read; \
        in_doubt: name to be resolved; new: not examined yet; leaving: lost its name a moment ago; \
        finishing: deleted and held open; parked: gone, remembered for ten minutes; ignored: never \
        read. More than 262,144 files are counted by the turns after a scrape, for the next \
        scrape.",
    );
    for (state, count) in status.files.by_state() {
        text.sample(name, &[("state", state)], count);
    }
    text.gauge(
        "manytail_held_files",
        "Files held open between reads, so that no data is lost if they are deleted.",
        status.files.held,
    );
}

fn backlog(text: &mut Text, status: &Status) {
    let backlog = &status.backlog;
    text.gauge("manytail_unread_files", "Files that wait to be read.", backlog.files);
    text.gauge(
        "manytail_unread_bytes",
        "Unread bytes of the files that wait to be read. A scrape examines at most 1,024 of these \
        files, spread over the queue, fewer if that takes long, and extrapolates to the others.",
        backlog.unread_bytes,
    );
    text.gauge(
        "manytail_oldest_unread_seconds",
        "Time since the event of the file that has waited longest to be read; 0 if no file waits.",
        backlog.oldest_unread_seconds,
    );
}

fn directories(text: &mut Text, status: &Status) {
    let directories = &status.directories;
    text.gauge("manytail_directories", "Directories that are followed.", directories.known);
    text.gauge(
        "manytail_polled_directories",
        "Directories that are listed every second, because they have no watch or could not be \
        listed.",
        directories.polled,
    );
    text.gauge(
        "manytail_unreadable_directories",
        "Directories that cannot be read.",
        directories.unreadable,
    );
    text.gauge(
        "manytail_missing_paths",
        "PATHs that do not exist; the run waits for them.",
        status.missing.len(),
    );
    text.gauge(
        "manytail_inputs_without_files",
        "Inputs that have had no file since the start although their PATHs exist: nothing is in \
        them, or no glob matches.",
        status.without_files.len(),
    );
    text.gauge("manytail_watches", "inotify watches in use.", directories.watches);
    text.gauge(
        "manytail_watches_limit",
        "Limit of inotify watches for all processes of this user together \
        (fs.inotify.max_user_watches, or less in a user namespace); 0 if it is not known.",
        directories.watches_max,
    );
}

fn commits(text: &mut Text, status: &Status) {
    let commits = &status.commits;
    text.gauge(
        "manytail_offsets_kept",
        "1 if offsets are stored in a state directory.",
        u8::from(commits.is_kept),
    );
    text.counter(
        "manytail_commits_total",
        "Commits of acknowledged offsets that succeeded.",
        status.counters.commits,
    );
    text.counter(
        "manytail_commit_failures_total",
        "Commits of acknowledged offsets that failed.",
        status.counters.commit_failures,
    );
    text.gauge(
        "manytail_commits_failing",
        "1 while offsets cannot be stored in the state directory.",
        u8::from(commits.is_failing),
    );
    text.gauge(
        "manytail_commit_age_seconds",
        "How long acknowledged offsets have waited for a commit; 0 if none wait, or without a \
        state directory.",
        commits.age_seconds,
    );
    text.gauge(
        "manytail_journal_bytes",
        "Length of the journal in the state directory.",
        commits.journal_bytes,
    );
}

fn diagnostics(text: &mut Text, status: &Status) {
    let name = "manytail_diagnostics_total";
    text.family(
        name,
        Kind::Counter,
        "Warnings and notes on stderr, by cause; each cause is rate-limited.",
    );
    status.diagnostics.iter().for_each(|of| text.sample(name, &[("cause", &of.cause)], of.said));
    let name = "manytail_diagnostics_suppressed_total";
    text.family(
        name,
        Kind::Counter,
        "Warnings and notes that were suppressed, because their cause or their file was logged \
        often enough.",
    );
    status
        .diagnostics
        .iter()
        .for_each(|of| text.sample(name, &[("cause", &of.cause)], of.suppressed));
}

fn process(text: &mut Text, status: &Status) {
    let process = &status.process;
    text.counter(
        "process_cpu_seconds_total",
        "User and system CPU time of the process.",
        process.cpu_seconds,
    );
    text.gauge(
        "process_resident_memory_bytes",
        "Resident memory of the process.",
        process.resident_bytes,
    );
    text.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory of the process.",
        process.virtual_bytes,
    );
    text.gauge("process_open_fds", "Open file descriptors of the process.", process.open_fds);
    text.gauge("process_max_fds", "Limit of open file descriptors.", process.max_fds);
    text.gauge("process_threads", "Threads of the process.", process.threads);
    text.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        status.about.start_time,
    );
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A text that grows metric by metric.
struct Text(String);

impl Text {
    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        self.0.write_fmt(what).expect("a string takes it");
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.put(format_args!("{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' }));
        }
        self.put(format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, Kind::Histogram, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulated() {
            self.sample(&bucket, &[("le", &bound.to_string())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], histogram.sum_seconds());
        self.sample(&format!("{name}_count"), &[], histogram.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Diagnostic;
    use std::time::Duration;

    #[test]
    fn each_metric_is_told_once_with_its_help_and_its_kind() {
        let diagnostics = vec![Diagnostic { cause: "overflow".to_owned(), said: 1, suppressed: 0 }];
        let text = text(&Status { diagnostics, ..Status::default() });
        let mut names = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(rest) = line.strip_prefix("# HELP ") else { continue };
            let (name, help) = rest.split_once(' ').unwrap();
            let kind = lines
                .next()
                .and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")))
                .unwrap();
            assert!(help.ends_with('.') && !help.contains('\\'), "{name}: {help}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(lines.peek().is_some_and(|line| line.starts_with(name)), "{name} has a value");
            names.push(name);
        }
        assert!(names.len() > 40, "{}", names.len());
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "no name comes twice");
    }

    #[test]
    fn buckets_grow_and_end_with_the_count() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_micros(15), 2);
        histogram.observe(Duration::from_secs(1_000), 1);
        let mut text = Text(String::new());
        text.histogram("x", "Help.", &histogram);
        assert!(
            text.0.contains("x_bucket{le=\"0.00001\"} 0\nx_bucket{le=\"0.00002\"} 2\n"),
            "{}",
            text.0
        );
        assert!(
            text.0.contains(
                "x_bucket{le=\"100\"} 2\nx_bucket{le=\"+Inf\"} 3\nx_sum 1000.00003\nx_count 3\n"
            ),
            "{}",
            text.0
        );
    }

    #[test]
    fn what_a_label_cannot_hold_is_escaped() {
        let mut text = Text(String::new());
        text.sample("x", &[("a", "b\"c\\\n"), ("d", "e")], 1);
        assert_eq!(text.0, "x{a=\"b\\\"c\\\\\\n\",d=\"e\"} 1\n");
    }
}
