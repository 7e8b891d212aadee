//! argv -> exit code: 0 done or stopped by a signal, 1 failed, 2 bad usage; of `status` also 3, no daemon answers.
//!
//! SIGPIPE stays ignored, as the Rust runtime leaves it: a closed output is an ordinary error where it is written to.

use std::io::{self, Write};
use std::process::ExitCode;

use manytail::cli::{self, Command};
use manytail::insight::{self, InsightError, Outcome};
use manytail::progress::Progress;
use manytail::{daemon, doctor, offsets};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Err(refusal) => refusal.report(),
        Ok(Command::Run { config, diagnostics }) => {
            diagnostics.init();
            let progress = Progress::new(diagnostics.format, &config.output);
            match daemon::run(config, progress) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    // The whole chain in one line: what, where, why.
                    tracing::error!("{error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        Ok(Command::Doctor(request)) => match doctor::run(&request, &mut io::stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                writeln!(io::stderr(), "manytail: cannot write the answer to standard output: {error}").ok();
                ExitCode::FAILURE
            }
        },
        Ok(Command::Status(request)) => shown(insight::status(&request, &mut io::stdout().lock())),
        Ok(Command::Top(request)) => shown(insight::watch(&request).map_err(InsightError::from)),
        Ok(Command::Offsets(request)) => match offsets::run(&request, &mut io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Nobody is left to tell when stderr is closed.
                writeln!(io::stderr(), "manytail: {:#}", anyhow::Error::from(error)).ok();
                ExitCode::FAILURE
            }
        },
    }
}

/// The exit code of a question to a daemon.
fn shown(outcome: Result<Outcome, InsightError>) -> ExitCode {
    match outcome {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Trouble) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            writeln!(io::stderr(), "manytail: {error}").ok();
            if let InsightError::Write(_) = error { ExitCode::FAILURE } else { ExitCode::from(3) }
        }
    }
}
