//! `manytail status`: the state of a daemon on one screen, and the status of a file in words.
//!
//! In: a [`Status`] with rates and health, or a [`FileStatus`]. Out: text, one line per subject.

use crate::record::printable;
use crate::status::file::FileStatus;
use crate::status::numbers::{count, counted, rounded, size};
use crate::status::{Files, InputStatus, Status};
use crate::tools::health::{Health, Rates};
use crate::tools::text::{rate, seconds};

/// The state of a daemon, on one screen.
pub(super) fn status(status: &Status, rates: &Rates, health: &Health) -> String {
    let about = &status.about;
    let (version, up) = (&about.version, seconds(about.uptime));
    let mut lines = vec![
        format!("manytail {version}, process {}, up {up}: {}", about.pid, health.headline()),
        String::new(),
    ];
    lines.extend(
        health.reasons.iter().chain(&health.troubles).map(|reason| format!("  !  {reason}")),
    );
    if !health.is_well() {
        lines.push(String::new());
    }
    if status.inputs.len() > 1 {
        let inputs = status.inputs.iter().zip(1..);
        lines.extend(
            inputs.map(|(of, number)| format!("{:<12} {}", format!("input {number}"), input(of))),
        );
    }
    for (subject, text) in [
        ("inputs", if status.inputs.len() > 1 { String::new() } else { about.inputs.join(" ") }),
        ("rates", rates_in_words(rates)),
        ("backlog", backlog(status)),
        ("files", files(&status.files)),
        ("directories", directories(status)),
        ("output", output(status)),
        ("delivery", delivery(status)),
        ("offsets", offsets(status)),
        ("lost", lost(status)),
        ("jobs", jobs(status)),
        ("so far", so_far(status)),
        ("process", process(status)),
    ] {
        if !text.is_empty() {
            lines.push(format!("{subject:<12} {text}"));
        }
    }
    text(&lines)
}

/// One of several inputs.
fn input(of: &InputStatus) -> String {
    let paths = of.paths.join(" ");
    if !of.has_had_files {
        return format!("{paths}: no file so far");
    }
    let files = of.files.map_or(String::new(), |files| counted(files, "file", "files") + ", ");
    format!("{paths}: {files}{}, {}", counted(of.records, "line", "lines"), size(of.bytes))
}

fn rates_in_words(rates: &Rates) -> String {
    format!(
        "{} lines/s, {}/s, {} events/s, {} reads/s, {:.1}% CPU (over {})",
        rate(rates.records),
        size(rounded(rates.bytes)),
        rate(rates.events),
        rate(rates.opens),
        rates.cpu * 100.0,
        seconds(rates.over_seconds)
    )
}

fn backlog(status: &Status) -> String {
    let backlog = &status.backlog;
    let files = counted(backlog.files, "file waits", "files wait");
    let unread = size(backlog.unread_bytes);
    let oldest = if backlog.files == 0 {
        String::new()
    } else {
        format!(", the oldest for {}", seconds(backlog.oldest_unread_seconds))
    };
    format!("{files}, {unread} unread{oldest}")
}

fn directories(status: &Status) -> String {
    let directories = &status.directories;
    let (known, watches) = (count(directories.known), count(directories.watches));
    let limit =
        if directories.watches_max == 0 { "?".to_owned() } else { count(directories.watches_max) };
    let polled = if directories.polled == 0 {
        String::new()
    } else {
        format!(", {} polled", count(directories.polled))
    };
    format!("{known} known, {watches} watches of {limit}{polled}")
}

fn delivery(status: &Status) -> String {
    let within = |q| status.deliveries.quantile(q).map_or("-".to_owned(), latency);
    format!("half within {}, 99% within {} (of all so far)", within(0.5), within(0.99))
}

fn lost(status: &Status) -> String {
    let counters = &status.counters;
    format!(
        "{} bytes; {} files deleted and {} moved away perhaps unread, {} gone before they were \
        read; {} truncations, {} NULs skipped",
        count(counters.lost_bytes),
        count(counters.deleted_unread),
        count(counters.moved_unread),
        count(counters.vanished),
        count(counters.truncations),
        count(counters.skipped_nul_bytes)
    )
}

/// What the patterns for jobs do not match; empty if they match all, or there are none.
fn jobs(status: &Status) -> String {
    let some = status.jobs.iter().filter(|input| input.mismatches > 0).map(|input| {
        let reads = counted(input.mismatches, "read", "reads");
        let example = input.example.as_deref().unwrap_or_default();
        format!("no match in {reads} below {}, the last one of {example}", input.input)
    });
    some.collect::<Vec<_>>().join("; ")
}

fn so_far(status: &Status) -> String {
    let counters = &status.counters;
    format!(
        "{}, {}, {}, {}, {}",
        counted(counters.records, "line", "lines"),
        size(counters.bytes),
        counted(counters.events, "event", "events"),
        counted(counters.overflows, "overflow", "overflows"),
        counted(counters.rescans, "rescan", "rescans")
    )
}

fn process(status: &Status) -> String {
    let process = &status.process;
    let (open, max) = (count(process.open_fds), count(process.max_fds));
    format!("{} resident, {open} descriptors of {max}", size(process.resident_bytes))
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| printable(line) + "\n").collect()
}

fn offsets(status: &Status) -> String {
    let Status { about, counters, commits, .. } = status;
    match about.state_directory.as_deref().filter(|_| commits.is_kept) {
        None => "in memory only: no --state-dir".to_owned(),
        Some(directory) => format!(
            "in {directory}, {}, {} failed, journal {}, {} uncommitted",
            counted(counters.commits, "commit", "commits"),
            count(counters.commit_failures),
            size(commits.journal_bytes),
            seconds(commits.age_seconds)
        ),
    }
}

/// `1,234 known: 1,230 idle, 4 queued`.
fn files(files: &Files) -> String {
    let states = files.by_state();
    let some = states
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(state, number)| format!("{} {}", count(*number), state.replace('_', " ")));
    let some = some.collect::<Vec<_>>().join(", ");
    if some.is_empty() {
        format!("{} known", count(files.known))
    } else {
        format!("{} known: {some}", count(files.known))
    }
}

/// The output in one line.
pub(super) fn output(status: &Status) -> String {
    let output = &status.output;
    let state = if let Some(question) = &status.commits.question {
        format!("is asked: {question}")
    } else if !output.is_connected {
        if output.failure.is_some() { "fails" } else { "not there" }.to_owned()
    } else if output.blocked_seconds > 0.0 {
        format!("takes nothing for {}", seconds(output.blocked_seconds))
    } else {
        "takes records".to_owned()
    };
    format!(
        "{}: {state}; {} on the way, blocked for {} in all, {}, {}{}{}{}",
        status.about.output,
        size(output.unacknowledged_bytes),
        seconds(output.blocked_seconds_total),
        counted(output.errors, "error", "errors"),
        counted(output.reconnects, "reconnect", "reconnects"),
        lost_files(status),
        refused(status),
        committed(status)
    )
}

/// Commits that the output made, if it makes some.
fn committed(status: &Status) -> String {
    let (commits, counters) = (&status.commits, &status.counters);
    let Some(ago) = commits.made_seconds else { return String::new() };
    format!(
        ", commit {} made {} ago, {}, {} in flight",
        commits.number,
        seconds(ago),
        counted(counters.output_recoveries, "recovery", "recoveries"),
        counted(status.output.in_flight, "record", "records")
    )
}

/// How often other processes deleted or truncated an output file, if they did.
fn lost_files(status: &Status) -> String {
    let (replaced, truncated) = (status.counters.outputs_replaced, status.output.truncations);
    let all = [(replaced, "deleted and replaced"), (truncated, "truncated")];
    let words = all
        .iter()
        .filter(|(times, _)| *times > 0)
        .map(|(times, what)| format!(", {what} {}", counted(*times, "time", "times")));
    words.collect()
}

/// How many records the receiver refused for good, if it did.
fn refused(status: &Status) -> String {
    match status.output.refused {
        0 => String::new(),
        refused => format!(", {} left out", counted(refused, "record", "records")),
    }
}

/// A duration from a bucket of a histogram.
fn latency(seconds: f64) -> String {
    match seconds {
        _ if seconds.is_infinite() => "more than all buckets".to_owned(),
        _ if seconds >= 1.0 => format!("{seconds:.0} s"),
        _ if seconds >= 0.001 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{:.0} us", seconds * 1e6),
    }
}

/// The status of a file, in a few lines.
pub(super) fn file(file: &FileStatus) -> String {
    let mut lines = vec![file.path.shown()];
    let mut say = |subject: &str, text: String| lines.push(format!("  {subject:<10} {text}"));
    if let Some(asked) = &file.asked {
        say("asked for", format!("{} (another name or spelling of it)", asked.shown()));
    }
    say("state", file.why.clone());
    if let Some(offset) = file.offset {
        let of = file.size.map_or(String::new(), |size| format!(" of {} bytes", count(size)));
        say("offset", format!("{}{of}", count(offset)));
    } else if let Some(bytes) = file.size {
        say("size", format!("{} bytes", count(bytes)));
    }
    if let Some(unread) = file.unread_bytes {
        let unfinished = file
            .unfinished_bytes
            .map_or(String::new(), |bytes| format!(" ({} of an unfinished line)", count(bytes)));
        say("unread", format!("{} bytes{unfinished}", count(unread)));
    }
    if let Some(modified) = &file.modified {
        say("modified", modified.clone());
    }
    if let Some(read) = &file.read_to_end {
        say("read", format!("to its end at {read}"));
    }
    if file.started_at_end {
        say(
            "started",
            "at its end: what was there before is not read (--from end, or --ignore-older)"
                .to_owned(),
        );
    }
    if let Some(id) = &file.file {
        say("file", id.clone());
    }
    if let Some(number) = file.input {
        say("input", number.to_string());
    }
    for (subject, pairs) in [("labels", Some(&file.labels)), ("job", file.job.as_ref())] {
        let pairs = pairs.into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
        let words = pairs.collect::<Vec<_>>().join(" ");
        if !words.is_empty() {
            say(subject, words);
        }
    }
    if let Some(uid) = file.uid {
        say("owner", format!("uid {uid}"));
    }
    text(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_commits_shows_its_last_commit_and_what_it_is_asked() {
        let mut of = Status::default();
        of.about.output = "kafka:jobs".to_owned();
        of.output.is_connected = true;
        assert!(!output(&of).contains("commit"), "{}", output(&of));
        (of.commits.number, of.commits.made_seconds) = (7, Some(2.0));
        (of.output.in_flight, of.counters.output_recoveries) = (3, 1);
        let shown = output(&of);
        let made = "commit 7 made 2.0s ago, 1 recovery, 3 records in flight";
        assert!(
            shown.starts_with("kafka:jobs: takes records;") && shown.ends_with(made),
            "{shown}"
        );
        of.commits.question = Some("was commit 8 made?".to_owned());
        assert!(output(&of).starts_with("kafka:jobs: is asked: was commit 8 made?;"));
    }

    #[test]
    fn no_name_of_a_path_or_an_output_is_obeyed_by_a_terminal() {
        let mut of = Status::default();
        of.about.inputs = vec!["/home/\x1b[2J\n".to_owned()];
        of.about.output = "unix:/\x1b]0;x\x07\u{9b}".to_owned();
        of.about.state_directory = Some("\x1b".to_owned());
        of.commits.is_kept = true;
        let rates = Rates::default();
        let shown = status(&of, &rates, &Health::new(&of, &rates, &[]));
        assert!(
            shown.contains("/home/?[2J?")
                && shown.contains("unix:/?]0;x??")
                && shown.contains("in ?,"),
            "{shown}"
        );
        assert!(!shown.replace('\n', "").contains(char::is_control), "{shown}");
    }
}
