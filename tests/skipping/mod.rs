//! Skips tests that this machine cannot run: with a message on stderr, and a line in a file that
//! counts them.
//!
//! In: the reason. Out: `skipped: TEST: REASON` past the capture of the test runner; and
//! `TEST<TAB>REASON` at the end of the file that the environment variable [`FILE`] names.
//! `scripts/ci` sets it, lists the skipped tests, and fails on those that are not allowed.
//! Always holds: a test that ends early without a result reports it here and nowhere else;
//! `tests/tidy.rs` checks that.

use std::io::Write as _;

/// Names the file that skipped tests are appended to.
const FILE: &str = "SKIPPED_TESTS_FILE";

/// This machine cannot do what the test needs.
pub(crate) fn skip(reason: &str) {
    // The thread of a test has the test's name.
    let test = std::thread::current().name().unwrap_or("a thread of a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
    let Some(path) = std::env::var_os(FILE) else { return };
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    // One write: tests of several processes append at the same time.
    let line = format!("{test}\t{}\n", reason.replace(['\n', '\t'], " "));
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| {
        panic!("cannot count a skipped test in {}: {error}", path.display())
    });
}
