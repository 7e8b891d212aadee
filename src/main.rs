//! argv -> exit code: 0 done or stopped by a signal, 1 failed, 2 bad usage.
//!
//! SIGPIPE stays ignored, as the Rust runtime leaves it: a closed output is an ordinary error where it is written to.

use std::io::{self, Write};
use std::process::ExitCode;

use manytail::cli::{self, Command};
use manytail::{daemon, doctor, offsets};

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Err(refusal) => refusal.report(),
        Ok(Command::Run { config, diagnostics }) => {
            diagnostics.init();
            match daemon::run(config) {
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
