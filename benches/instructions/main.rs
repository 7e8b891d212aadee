//! Instructions of the hot path: splitter, encoders, events, whole turns; counted by callgrind, per
//! line, KiB, event or read.
//!
//! In: `cargo bench`, or `cargo bench -- WORD...` for the cases whose names contain one of the
//! words. Out: a table on standard output; with `JSON=FILE` the same as an object, with
//! `BASELINE=FILE` (such an object of an earlier run) the ratio of now to then. The profile of each
//! case stays in `target/tmp/instructions` for `callgrind_annotate`. Needs valgrind; fails, and
//! says so, without it.
//! Always holds: each case runs in a process of its own under callgrind, which counts nothing but
//! the work: no setup, no warm-up. So two runs of one build give the same numbers, but for the
//! seeds of hash tables. Numbers of two machines compare only if the C library and the vector
//! instructions that valgrind offers are the same.

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

/// What is measured: a name, and what sets it up and runs it.
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
    // Cargo says --bench for `cargo bench` alone: `cargo test --all-targets` gets by without
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
