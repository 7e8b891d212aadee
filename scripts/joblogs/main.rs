//! Load for manytail: makes trees of synthetic job logs, appends to them as schedulers do, and
//! checks the output.
//!
//! `joblogs make` writes a tree and its ledger, `joblogs append` appends lines, `joblogs check`
//! reports lost, repeated, torn or reordered lines of an output, `joblogs receive` measures an
//! output as it arrives. Every line names its job, its number within the job (from 1, across
//! rotations) and its time, and ends in a checksum; so a check needs only the lines and the ledger.
//! Call: `cargo run --release --example joblogs -- make --help`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load generator keeps its own clock and files"
)]

mod append;
mod check;
mod jobs;
mod latency;
mod ledger;
mod line;
mod make;
mod random;
mod receive;
mod records;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    about = "Makes job logs, appends to them, and checks and measures what a follower delivers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a tree of job logs and its ledger
    Make(make::Options),
    /// Append lines to a tree, one open, write and close for each
    Append(append::Options),
    /// Compare a follower's output with the ledger; exit 1 if lines are lost, repeated, torn or out
    /// of order
    Check(check::Options),
    /// Take a follower's output as it comes, count it and measure how late it is
    Receive(receive::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Make(options) => make::make(&options).map(|()| true),
        Command::Append(options) => append::append(&options).map(|()| true),
        Command::Check(options) => check::check(&options),
        Command::Receive(options) => receive::receive(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("joblogs: {error:#}");
            ExitCode::from(2)
        }
    }
}
