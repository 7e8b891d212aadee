//! [`Status`] -> the text format of Prometheus, version 0.0.4.
//!
//! In: a status. Out: a text with a HELP and a TYPE line for each metric.
//! Always holds: names begin with `manytail_` or `process_`, units are seconds and bytes, counters
//! end in `_total`, no label's values grow with the number of files.

use std::fmt::{Display, Write};

use crate::status::Status;
use crate::status::histogram::Histogram;

/// Writes all metrics.
#[must_use]
pub fn text(status: &Status) -> String {
    let mut text = Text(String::with_capacity(16 * 1024));
    run(&mut text, status);
    read(&mut text, status);
    events(&mut text, status);
    losses(&mut text, status);
    files(&mut text, status);
    backlog(&mut text, status);
    directories(&mut text, status);
    output(&mut text, status);
    commits(&mut text, status);
    diagnostics(&mut text, status);
    process(&mut text, status);
    text.0
}

fn run(text: &mut Text, status: &Status) {
    text.family("manytail_build_info", Kind::Gauge, "Always 1; tells the version.");
    text.sample("manytail_build_info", &[("version", &status.about.version)], 1);
    text.gauge(
        "manytail_settings_bad",
        "1 if the settings could not be read again at the last SIGHUP: those of before hold, and a \
        restart would refuse.",
        u8::from(status.about.bad_settings.is_some()),
    );
    text.histogram(
        "manytail_turn_seconds",
        "What a turn of the loop took, waiting not included.",
        &status.turns,
    );
}

fn read(text: &mut Text, status: &Status) {
    let counters = &status.counters;
    text.counter(
        "manytail_lines_total",
        "Records that a newline ended: whole lines, and last pieces of long ones.",
        counters.lines(),
    );
    text.counter(
        "manytail_records_total",
        "Records encoded: lines and pieces of lines.",
        counters.records,
    );
    text.counter(
        "manytail_read_bytes_total",
        "Bytes of files that became records.",
        counters.bytes,
    );
    text.counter("manytail_opens_total", "Files opened for reading.", counters.opens);
    text.histogram(
        "manytail_delivery_latency_seconds",
        "From the turn in which the kernel told of a change to the end of the turn in which the \
        output acknowledged the last byte read \
         for it; one observation per part of a file that was read at once. Not in it: the time in \
         the kernel's queue before that turn, and \
         what the receiver does afterwards. For what a listing brought up it begins with the \
         listing; all parts of a file that takes several \
         turns to read to its end count from the first.",
        &status.deliveries,
    );
}

fn events(text: &mut Text, status: &Status) {
    let counters = &status.counters;
    let name = "manytail_events_total";
    text.family(
        name,
        Kind::Counter,
        "Events that the kernel told, by kind; modified: bytes were added to a file, or written \
        over.",
    );
    text.sample(name, &[("kind", "modified")], counters.modified_events());
    for (kind, count) in counters.other_events.by_kind() {
        text.sample(name, &[("kind", kind)], count);
    }
    text.counter(
        "manytail_overflows_total",
        "Times that the kernel's queue of events was full and events were lost; raise \
        fs.inotify.max_queued_events.",
        counters.overflows,
    );
    let name = "manytail_rescans_total";
    text.family(
        name,
        Kind::Counter,
        "Passes over all files: after an overflow, after a doubt about what a link led to, by the \
        sweep, after settings were read again.",
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
        "Times that a file's content began anew: truncated, or overwritten in place.",
        counters.truncations,
    );
    let name = "manytail_lost_bytes_total";
    text.family(
        name,
        Kind::Counter,
        "Bytes known to be lost: of unfinished lines that were read and then truncated, deleted or \
        moved away with their file. Bytes that \
         were never read are not known.",
    );
    text.sample(name, &[("cause", "truncated")], counters.lost_truncated_bytes);
    let deleted = counters.lost_bytes - counters.lost_truncated_bytes - counters.lost_moved_bytes;
    text.sample(name, &[("cause", "deleted")], deleted);
    text.sample(name, &[("cause", "moved")], counters.lost_moved_bytes);
    text.counter(
        "manytail_files_deleted_unread_total",
        "Files that were deleted while they may have had bytes that were not read.",
        counters.deleted_unread,
    );
    text.counter(
        "manytail_files_moved_unread_total",
        "Files that were moved to where nothing is watched while they may have had bytes that were \
        not read.",
        counters.moved_unread,
    );
    text.counter(
        "manytail_files_vanished_total",
        "Files that were gone before they could be looked at for the first time, with whatever was \
        written to them.",
        counters.vanished,
    );
    text.counter(
        "manytail_files_ignored_older_total",
        "Files that were started at their end because they had not been modified for as long as \
        --ignore-older says.",
        counters.old_files,
    );
    text.counter(
        "manytail_binary_files_total",
        "Times a file was left out because its first block is binary (binary = \"skip\").",
        counters.binary_files,
    );
    text.counter(
        "manytail_skipped_nul_bytes_total",
        "NUL bytes passed over: holes, and what a truncation leaves before a writer's position.",
        counters.skipped_nul_bytes,
    );
}

fn files(text: &mut Text, status: &Status) {
    let name = "manytail_files";
    text.family(
        name,
        Kind::Gauge,
        "Known files by what is going on with them. idle: read to the end; queued, blocked (the \
        output takes nothing), cooling \
         (--coalesce), waiting (for a predecessor, a listing or the journal): to be read; \
         in_doubt: to be looked at; new, leaving: in \
         between; finishing: deleted and held open; parked: gone, remembered for ten minutes; \
         ignored: never read. More than 262,144 files are \
         counted by the turns after a scrape, for the next one.",
    );
    for (state, count) in status.files.by_state() {
        text.sample(name, &[("state", state)], count);
    }
    text.gauge(
        "manytail_held_files",
        "Files held open without being read, so that deleting them loses nothing.",
        status.files.held,
    );
}

fn backlog(text: &mut Text, status: &Status) {
    let backlog = &status.backlog;
    text.gauge("manytail_unread_files", "Files that wait to be read.", backlog.files);
    text.gauge(
        "manytail_unread_bytes",
        "Bytes in them that were not read. At a scrape at most 1,024 of these files are looked at, \
        spread over the queue, fewer if that \
         takes long; the others are taken for like them.",
        backlog.unread_bytes,
    );
    text.gauge(
        "manytail_oldest_unread_seconds",
        "How long ago the kernel told of the file that has been waiting longest to be read; 0 if \
        none waits.",
        backlog.oldest_unread_seconds,
    );
}

fn directories(text: &mut Text, status: &Status) {
    let directories = &status.directories;
    text.gauge("manytail_directories", "Directories that are followed.", directories.known);
    text.gauge(
        "manytail_polled_directories",
        "Directories listed every second, because there is no watch to be had or they could not be \
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
        "PATHs at which nothing is found: they are waited for.",
        status.missing.len(),
    );
    text.gauge(
        "manytail_inputs_without_files",
        "Inputs that never had a file since the start though their PATHs are there: nothing is in \
        them, or no glob matches.",
        status.without_files.len(),
    );
    text.gauge("manytail_watches", "inotify watches in use.", directories.watches);
    text.gauge(
        "manytail_watches_limit",
        "inotify watches that all processes of this user can have together \
        (fs.inotify.max_user_watches, or less in a user namespace); 0 if it is not known.",
        directories.watches_max,
    );
}

fn output(text: &mut Text, status: &Status) {
    let output = &status.output;
    text.family("manytail_output_info", Kind::Gauge, "Always 1; tells the kind of output.");
    text.sample("manytail_output_info", &[("kind", &output.kind)], 1);
    text.gauge(
        "manytail_output_connected",
        "1 if the receiver is there, as far as is known.",
        u8::from(output.is_connected),
    );
    text.gauge(
        "manytail_output_misplaced",
        "1 while the path of a file: output leads to another file or to none, or a SIGHUP that \
        asked for it to be opened anew cannot be obeyed.",
        u8::from(output.misplaced.is_some()),
    );
    text.counter(
        "manytail_output_files_replaced_total",
        "Times that another file took the place of an output file that was deleted.",
        status.counters.outputs_replaced,
    );
    text.counter(
        "manytail_output_truncations_total",
        "Times that somebody else truncated the output file.",
        output.truncations,
    );
    text.counter(
        "manytail_output_errors_total",
        "Attempts to connect, open or write that failed.",
        output.errors,
    );
    text.counter(
        "manytail_output_reconnects_total",
        "Times that a receiver was there again after one was lost.",
        output.reconnects,
    );
    text.gauge(
        "manytail_output_blocked_seconds",
        "How long records have been waiting without any being taken; 0 if none wait or they are \
        taken.",
        output.blocked_seconds,
    );
    text.counter(
        "manytail_output_blocked_seconds_total",
        "The same, of all such times together.",
        output.blocked_seconds_total,
    );
    text.counter(
        "manytail_output_bytes_total",
        "Bytes of records that the output acknowledged.",
        status.counters.acknowledged_bytes,
    );
    text.gauge(
        "manytail_output_pending_bytes",
        "Bytes of records that it did not acknowledge yet.",
        output.unacknowledged_bytes,
    );
    text.gauge(
        "manytail_oldest_unacknowledged_seconds",
        "How long ago the kernel told of the oldest bytes that were read and not acknowledged; 0 \
        if there are none.",
        output.oldest_unacknowledged_seconds,
    );
}

fn commits(text: &mut Text, status: &Status) {
    let commits = &status.commits;
    text.gauge(
        "manytail_offsets_kept",
        "1 if there is a state directory.",
        u8::from(commits.is_kept),
    );
    text.counter(
        "manytail_commits_total",
        "Times that acknowledged offsets became durable.",
        status.counters.commits,
    );
    text.counter(
        "manytail_commit_failures_total",
        "Times that they could not.",
        status.counters.commit_failures,
    );
    text.gauge(
        "manytail_commits_failing",
        "1 while offsets cannot be stored.",
        u8::from(commits.is_failing),
    );
    text.gauge(
        "manytail_commit_age_seconds",
        "How long there has been something to commit; 0 if there is nothing, or no state \
        directory.",
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
        "Warnings and notes on stderr, by cause; each cause is limited.",
    );
    status.diagnostics.iter().for_each(|of| text.sample(name, &[("cause", &of.cause)], of.said));
    let name = "manytail_diagnostics_suppressed_total";
    text.family(
        name,
        Kind::Counter,
        "Those that were not said, because their cause or their file had been said enough.",
    );
    status
        .diagnostics
        .iter()
        .for_each(|of| text.sample(name, &[("cause", &of.cause)], of.suppressed));
}

fn process(text: &mut Text, status: &Status) {
    let process = &status.process;
    text.counter("process_cpu_seconds_total", "User and system CPU time.", process.cpu_seconds);
    text.gauge("process_resident_memory_bytes", "Resident memory.", process.resident_bytes);
    text.gauge("process_virtual_memory_bytes", "Mapped memory.", process.virtual_bytes);
    text.gauge("process_open_fds", "Open file descriptors.", process.open_fds);
    text.gauge("process_max_fds", "Their limit.", process.max_fds);
    text.gauge("process_threads", "Threads.", process.threads);
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
