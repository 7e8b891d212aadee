//! Counts the instructions of the hot path with callgrind: splitter, encoders, events, whole turns;
//! per line, KiB, event or read.
//!
//! In: `cargo bench`, or `cargo bench -- WORD...` for the cases whose names contain one of the
//! words. Out: a table on standard output; with `JSON=FILE` also an object, with `BASELINE=FILE`
//! (such an object of an earlier run) the ratio to that run. The profile of each case stays in
//! `target/tmp/instructions` for `callgrind_annotate`. It needs valgrind, and fails with a message
//! without it.
//! Always holds: each case runs in its own process under callgrind, which counts only the work: no
//! setup, no warm-up. So two runs of one build give the same numbers, except for the seeds of hash
//! tables. Numbers of two machines are comparable only with the same C library and the same vector
//! instructions of valgrind.

#![allow(clippy::disallowed_methods, reason = "a benchmark reaches the world without the seams")]

mod callgrind;
mod encoding;
mod engine;
mod memory;
mod report;
mod splitting;
#[path = "../../tests/taking/mod.rs"]
mod taking;

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use callgrind::Units;
use report::Report;

/// A case: a name, and the function that sets it up and runs it.
struct Case {
    name: &'static str,
    run: fn() -> Units,
}

fn all_cases() -> impl Iterator<Item = Case> {
    splitting::CASES.into_iter().chain(encoding::CASES).chain(engine::CASES)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == callgrind::CASE_FLAG
    {
        let case = all_cases().find(|case| case.name == name).context("no case has this name")?;
        return callgrind::run_as_child(case.run);
    }
    // Cargo passes --bench only for `cargo bench`: `cargo test --all-targets` does not need
    // valgrind.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("counted by `cargo bench` only");
        return Ok(());
    }
    let words: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let is_wanted =
        |case: &Case| words.is_empty() || words.iter().any(|word| case.name.contains(word));

    let mut report = Report::new(env::var_os("BASELINE"))?;
    callgrind::check()?;
    for case in all_cases().filter(is_wanted) {
        let (instructions, units) =
            callgrind::run(case.name).with_context(|| format!("case {}", case.name))?;
        report.add(case.name, instructions, &units);
    }
    if report.is_empty() {
        bail!("no case has {} in its name", words.join(" or "));
    }
    report.finish(env::var_os("JSON"))
}
