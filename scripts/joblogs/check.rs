//! `joblogs check`: compares an output with the ledger.
//!
//! Every line of each job must be there once, whole and in order. Missing lines that were deleted
//! or truncated after their grace period count as `excused`, not as lost. Canaries are ignored.

use crate::jobs::job_of_path;
use crate::latency::Latency;
use crate::ledger::Ledger;
use crate::line::{self, Line};
use crate::records::{Chunk, Format, Record, Records, split};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Options {
    /// The follower's output; - is standard input
    output: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The ledger of the tree
    #[arg(long)]
    ledger: PathBuf,
    /// The first line of each job that must be there; an earlier one counts as repeated
    #[arg(long, value_enum, default_value_t = From::Beginning)]
    from: From,
    /// Say how late lines were: by the records' own time (json), else by when they are read here
    /// (standard input only)
    #[arg(long)]
    latency: bool,
    /// Offenders that are shown
    #[arg(long, default_value_t = 10)]
    show: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// All that was ever written
    Beginning,
    /// What was appended after `make`
    EndOfMake,
    /// What the last `append` wrote
    LastAppend,
}

/// Returns whether the output is correct.
pub(crate) fn check(options: &Options) -> Result<bool> {
    let ledger = Ledger::read(&options.ledger)?;
    let mut checker = Checker::new(options, &ledger);
    let name = options.output.display();
    if options.output.as_os_str() == "-" {
        checker.read(io::stdin().lock())
    } else {
        checker.read(File::open(&options.output).with_context(|| format!("cannot open {name}"))?)
    }
    .with_context(|| format!("cannot read {name}"))?;
    checker.settle();
    let Checker { lost, repeated, torn, out_of_order, excused, lines, .. } = checker;
    let jobs = checker.jobs.iter().filter(|job| job.next > job.first).count();
    println!(
        "lost={lost} repeated={repeated} torn={torn} out_of_order={out_of_order} lines={lines} \
        jobs={jobs} excused={excused}"
    );
    if options.latency {
        println!("{}", checker.latency.report());
    }
    Ok(lost + repeated + torn + out_of_order == 0)
}

/// The state of one job's lines.
struct Seen {
    first: u32,
    /// The highest number seen, plus one.
    next: u32,
}

struct Checker<'a> {
    options: &'a Options,
    ledger: &'a Ledger,
    jobs: Vec<Seen>,
    /// Numbers below a job's `next` that were not seen: ranges, by job.
    missing: HashMap<u32, Vec<(u32, u32)>>,
    started_ns: u64,
    latency: Latency,
    shown: usize,
    lines: u64,
    lost: u64,
    excused: u64,
    repeated: u64,
    torn: u64,
    out_of_order: u64,
}

impl<'a> Checker<'a> {
    fn new(options: &'a Options, ledger: &'a Ledger) -> Self {
        let first = |job: &crate::ledger::Job| match options.from {
            From::Beginning => 1,
            From::EndOfMake => job.made + 1,
            From::LastAppend => job.base + 1,
        };
        Checker {
            options,
            ledger,
            jobs: ledger
                .jobs
                .iter()
                .map(|job| Seen { first: first(job), next: first(job) })
                .collect(),
            missing: HashMap::new(),
            started_ns: line::now_ns(),
            latency: Latency::new(),
            shown: 0,
            lines: 0,
            lost: 0,
            excused: 0,
            repeated: 0,
            torn: 0,
            out_of_order: 0,
        }
    }

    fn read(&mut self, input: impl Read) -> Result<()> {
        let mut records = Records::new(input);
        loop {
            match records.next()? {
                Chunk::Records(bytes) => {
                    let now_ns = line::now_ns();
                    split(bytes).for_each(|record| self.take(record, now_ns));
                }
                Chunk::End(rest) => {
                    if !rest.is_empty() {
                        self.torn += 1;
                        self.show("torn: the output ends in an unfinished record", rest);
                    }
                    return Ok(());
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8], now_ns: u64) {
        let record = self.options.format.record(bytes);
        if record.is_some_and(|record| line::is_canary(record.line)) {
            return;
        }
        self.lines += 1;
        let Some(record) = record else {
            self.torn += 1;
            return self.show("torn: not a record of this format", bytes);
        };
        let Some(line) = line::parse(record.line) else {
            self.torn += 1;
            return self.show("torn: not a whole line", bytes);
        };
        if record.path.is_some_and(|path| job_of_path(path) != Some(line.job)) {
            self.torn += 1;
            return self.show("torn: a line of another file", bytes);
        }
        if self
            .ledger
            .jobs
            .get(line.job as usize)
            .is_none_or(|job| line.seq > job.given || line.seq == 0)
        {
            self.torn += 1;
            return self.show("torn: a line that the ledger does not know", bytes);
        }
        self.count(line, bytes);
        if self.options.latency {
            self.time(record, line, now_ns);
        }
    }

    fn count(&mut self, line: Line, bytes: &[u8]) {
        let seen = &mut self.jobs[line.job as usize];
        if line.seq == seen.next {
            seen.next += 1;
        } else if line.seq > seen.next {
            self.missing.entry(line.job).or_default().push((seen.next, line.seq));
            seen.next = line.seq + 1;
        } else if take_from(self.missing.get_mut(&line.job), line.seq) {
            self.out_of_order += 1;
            self.show("out of order: after a later line", bytes);
        } else {
            self.repeated += 1;
            self.show("repeated", bytes);
        }
    }

    fn time(&mut self, record: Record<'_>, line: Line, now_ns: u64) {
        let taken_ns = match self.options.format {
            Format::Json => record.time.and_then(since_1970),
            Format::Raw | Format::Text if line.sent_ns >= self.started_ns => Some(now_ns),
            Format::Raw | Format::Text => None,
        };
        if let Some(taken_ns) = taken_ns {
            self.latency.add(taken_ns.saturating_sub(line.sent_ns) / 1000);
        }
    }

    /// Lines that are missing at the end are lost, or excused.
    fn settle(&mut self) {
        for job in 0..self.jobs.len() {
            let account = self.ledger.jobs[job];
            let mut missing = self.missing.remove(&(job as u32)).unwrap_or_default();
            missing.push((self.jobs[job].next, account.given + 1));
            for (from, to) in missing {
                let lost_from = from.max(account.gone.saturating_add(1)).min(to.max(from));
                self.excused += u64::from(lost_from - from);
                if lost_from < to {
                    self.lost += u64::from(to - lost_from);
                    let whose =
                        format!("job{job:07} lines {lost_from} to {} of {}", to - 1, account.given);
                    self.show("lost", whose.as_bytes());
                }
            }
        }
    }

    fn show(&mut self, what: &str, bytes: &[u8]) {
        self.shown += 1;
        if self.shown <= self.options.show {
            eprintln!("{what}: {}", bytes[..bytes.len().min(300)].escape_ascii());
        }
    }
}

/// Removes `seq` from the ranges. Returns whether it was there.
fn take_from(ranges: Option<&mut Vec<(u32, u32)>>, seq: u32) -> bool {
    let Some(ranges) = ranges else { return false };
    let Some(at) = ranges.iter().position(|(from, to)| (*from..*to).contains(&seq)) else {
        return false;
    };
    let (from, to) = ranges.swap_remove(at);
    ranges.extend([(from, seq), (seq + 1, to)].into_iter().filter(|(from, to)| from < to));
    true
}

/// Nanoseconds since 1970 of an RFC 3339 time stamp.
fn since_1970(time: &[u8]) -> Option<u64> {
    let time = humantime::parse_rfc3339(std::str::from_utf8(time).ok()?).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos() as u64)
}
