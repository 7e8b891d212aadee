//! The command line from outside: exit codes, and which of stdout and stderr is written to.

use std::process::{Command, Output, Stdio};

fn manytail(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_manytail"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    manytail(arguments).output().expect("the binary runs")
}

/// A pipe without a reader.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn help_and_version_go_to_stdout_and_exit_0() {
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"], &["help", "run"]] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(
        output(&["--version"]).stdout,
        format!("manytail {}\n", env!("CARGO_PKG_VERSION")).as_bytes()
    );
}

#[test]
fn bad_usage_goes_to_stderr_and_exits_2() {
    for arguments in [
        &[][..],
        &["run"],
        &["run", "--once", "--from", "end", "D"],
        &["run", "--max-line-bytes", "0", "D"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_closed_stdout_or_stderr_does_not_change_the_exit_code() {
    let status =
        manytail(&["run", "--help"]).stdout(broken_pipe()).status().expect("the binary runs");
    assert_eq!(status.code(), Some(0));
    for refused in [&["run"][..], &["run", "--include", "[", "D"]] {
        let status = manytail(refused).stderr(broken_pipe()).status().expect("the binary runs");
        assert_eq!(status.code(), Some(2));
    }
}
