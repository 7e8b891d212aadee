//! argv -> exit code: 0 done or stopped by a signal, 1 failed, 2 bad usage; of `status` and `tap`
//! also 3, no daemon answers.
//!
//! A command that prints fails if standard output was closed at the start. SIGPIPE stays ignored,
//! as the Rust runtime leaves it: writing to a closed output is an ordinary error.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{self, Command, Settings};
use crate::daemon;
use crate::sys::disk::DiskError;
use crate::sys::{clock, descriptor, resolver, signal};
use crate::tools::progress::{self, Progress};
use crate::tools::style::Style;
use crate::tools::{Outcome, ToolError, doctor, jobs, offsets, placement, status, tap, top};

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    resolver::use_built_in_resolver();
    if std::env::args_os().nth(1).is_some_and(|command| command == "run") {
        signal::hold_back_requests();
    }
    match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Err(refusal) if refusal.is_answer() && descriptor::was_closed(1) => nowhere(),
        Err(refusal) => refusal.report(),
        Ok(Command::Run(settings)) => {
            settings.diagnostics.init(progress::cleared_stderr);
            let progress = Progress::new(settings.diagnostics.format, &settings.config.output);
            match daemon::run(*settings, progress) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    // The whole chain in one line: what, where, why.
                    tracing::error!("{error:#}");
                    let is_of_settings =
                        error.downcast_ref::<DiskError>().is_some_and(DiskError::is_of_settings);
                    if is_of_settings { ExitCode::from(2) } else { ExitCode::FAILURE }
                }
            }
        }
        // All other commands print to standard output.
        Ok(_) if descriptor::was_closed(1) => nowhere(),
        Ok(Command::Check(settings, style, connects, paths)) => {
            check(&settings, style, connects, &paths)
        }
        Ok(Command::Doctor(call)) => match call.request() {
            Err(refusal) => refusal.report(),
            Ok(request) => answered(doctor::run(&request, &mut io::stdout().lock())),
        },
        Ok(Command::Status(request)) => shown(status::status(&request, &mut io::stdout().lock())),
        Ok(Command::Jobs(request)) => {
            let mut out = BufWriter::new(io::stdout().lock());
            answered(jobs::run(&request, clock::now().wall, &mut out, &mut io::stderr()))
        }
        Ok(Command::Tap(request)) => shown(tap::tap(&request, &mut io::stdout().lock())),
        Ok(Command::Top(request)) => shown(top::watch(&request).map_err(ToolError::from)),
        Ok(Command::Offsets(request)) => match offsets::run(&request, &mut io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&format!("{:#}", anyhow::Error::from(error)));
                ExitCode::FAILURE
            }
        },
        Ok(Command::Print(text)) => print(&text),
    }
}

/// Writes a line to stderr. If that is closed, the exit code alone tells.
fn complain(what: &str) {
    writeln!(io::stderr(), "manytail: {what}").ok();
}

/// There is no standard output: the runtime would accept everything and discard it.
fn nowhere() -> ExitCode {
    complain("cannot write to standard output: it was closed when manytail was started");
    ExitCode::FAILURE
}

fn print(text: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The exit code of a command that answers by itself.
fn answered(outcome: io::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("cannot write the answer to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints the settings to stdout, or what becomes of `paths`, and warnings about likely mistakes to
/// stderr. With `connects`, tries the output, too.
fn check(settings: &Settings, style: Style, connects: bool, paths: &[PathBuf]) -> ExitCode {
    for warning in &settings.origin.warnings {
        complain(&format!("warning: {warning}"));
    }
    let mut out = io::stdout().lock();
    let written = match style {
        _ if !paths.is_empty() => {
            let sources = settings.origin.effective.sources_of_inputs();
            placement::write(&settings.config.engine, &sources, paths, style, &mut out)
        }
        Style::Text => settings.origin.effective.write_toml(&mut out).map(|()| true),
        Style::Json => settings.origin.effective.write_json(&mut out).map(|()| true),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write the answer: {error}"));
            ExitCode::FAILURE
        }
        Ok(false) => ExitCode::FAILURE,
        _ if connects
            && !doctor::try_output(&settings.config, &mut io::stderr()).unwrap_or(false) =>
        {
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The exit code of a command that asks a daemon.
fn shown(outcome: Result<Outcome, ToolError>) -> ExitCode {
    match outcome {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Trouble) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("{error}"));
            if let ToolError::Write(_) = error { ExitCode::FAILURE } else { ExitCode::from(3) }
        }
    }
}
