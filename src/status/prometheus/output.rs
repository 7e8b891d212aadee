//! The metrics of the output.
//!
//! In: a status. Out: the part of the text that is about the output.
//! Always holds: an output has all of them, also those that it never counts.

use super::{Kind, Text};
use crate::status::Status;

/// What happened to the output's files, commits and records.
fn output_history(text: &mut Text, status: &Status) {
    let output = &status.output;
    text.counter(
        "manytail_output_files_replaced_total",
        "How often a new file replaced an output file that was deleted.",
        status.counters.outputs_replaced,
    );
    text.counter(
        "manytail_output_commits_total",
        "Commits that the output made: transactions of Kafka.",
        status.counters.output_commits,
    );
    text.counter(
        "manytail_output_recoveries_total",
        "How often the output was asked whether it made a commit, or lost what it had accepted.",
        status.counters.output_recoveries,
    );
    text.counter(
        "manytail_output_resent_bytes_total",
        "Bytes of records that were offered again after that.",
        status.counters.resent_bytes,
    );
    text.counter(
        "manytail_output_truncations_total",
        "How often another process truncated the output file.",
        output.truncations,
    );
    text.counter(
        "manytail_output_refused_records_total",
        "Records that were left out because the receiver will never take them (on_refused = skip).",
        output.refused,
    );
}

pub(super) fn output(text: &mut Text, status: &Status) {
    let output = &status.output;
    text.family(
        "manytail_output_info",
        Kind::Gauge,
        "Always 1; the label is the kind of the output.",
    );
    text.sample("manytail_output_info", &[("kind", &output.kind)], 1);
    text.gauge(
        "manytail_output_connected",
        "1 if the receiver of the output is connected, as far as is known.",
        u8::from(output.is_connected),
    );
    text.gauge(
        "manytail_output_misplaced",
        "1 while the path of a file: output leads to another file or to none, or a SIGHUP could \
        not reopen the output.",
        u8::from(output.misplaced.is_some()),
    );
    output_history(text, status);
    broker(text, status);
    text.counter(
        "manytail_output_errors_total",
        "Failed attempts to connect to, open or write to the output.",
        output.errors,
    );
    text.counter(
        "manytail_output_reconnects_total",
        "How often a receiver of the output came back after one was lost.",
        output.reconnects,
    );
    text.gauge(
        "manytail_output_blocked_seconds",
        "How long records have waited while the output took none; 0 if no record waits or the \
        output takes records.",
        output.blocked_seconds,
    );
    text.counter(
        "manytail_output_blocked_seconds_total",
        "Total time for which records waited while the output took none.",
        output.blocked_seconds_total,
    );
    text.counter(
        "manytail_output_bytes_total",
        "Bytes of records that the output acknowledged.",
        status.counters.acknowledged_bytes,
    );
    text.gauge(
        "manytail_output_pending_bytes",
        "Bytes of records that the output has not acknowledged yet.",
        output.unacknowledged_bytes,
    );
    text.gauge(
        "manytail_oldest_unacknowledged_seconds",
        "Time since the event of the oldest bytes that were read and not acknowledged by the \
        output; 0 if there are none.",
        output.oldest_unacknowledged_seconds,
    );
}

fn broker(text: &mut Text, status: &Status) {
    text.gauge(
        "manytail_output_in_flight_records",
        "Records that were sent to the broker and are not confirmed yet.",
        status.output.in_flight,
    );
    text.counter(
        "manytail_output_batches_total",
        "Batches of records that the stream of NATS stored.",
        status.output.batches,
    );
    text.gauge(
        "manytail_output_in_doubt",
        "1 while the output is asked whether it made the last commit, or what it has: nothing is \
        sent meanwhile.",
        u8::from(status.commits.question.is_some()),
    );
    text.histogram(
        "manytail_output_commit_seconds",
        "Time that a commit of the output took, from the moment when it was due until the output \
        had made it.",
        &status.settlements,
    );
}
