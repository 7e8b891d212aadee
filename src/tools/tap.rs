//! `manytail tap`: copies records as they pass.
//!
//! In: the control socket, the number of records, and the longest time. Out: the records as the
//! output gets them; on a terminal, without misleading characters.
//! Always holds: it ends by itself, and a moment later the daemon stops copying.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::record::printable;
use crate::status::numbers::count;
use crate::sys::clock;
use crate::tools::client::ask;
use crate::tools::{ANSWER_WITHIN, Outcome, ToolError};

/// The time between two questions.
const INTERVAL: Duration = Duration::from_millis(200);

/// The arguments of `tap`.
#[derive(Debug)]
pub struct TapRequest {
    /// The daemon's control socket.
    pub socket: PathBuf,
    /// The most records to copy.
    pub records: u64,
    /// The longest time to run.
    pub lasts: Duration,
}

/// Copies records to `out` until there are enough or the time is over. [`Outcome::Trouble`]: no
/// record passed.
///
/// # Errors
/// When no daemon answers, or `out` takes nothing.
pub(crate) fn tap(request: &TapRequest, out: &mut impl Write) -> Result<Outcome, ToolError> {
    let is_terminal = io::stdout().is_terminal();
    let end = clock::now().instant + request.lasts;
    let (mut left, mut missed) = (request.records, 0);
    loop {
        let answer = ask(&request.socket, "/tap", ANSWER_WITHIN)?;
        let head = memchr::memchr(b'\n', &answer).unwrap_or(answer.len());
        missed += str::from_utf8(&answer[..head])
            .ok()
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0);
        let records = answer.get(head + 1..).unwrap_or_default();
        for record in records
            .split_inclusive(|&byte| byte == b'\n')
            .take(usize::try_from(left).unwrap_or(usize::MAX))
        {
            if is_terminal {
                writeln!(
                    out,
                    "{}",
                    printable(String::from_utf8_lossy(record).trim_end_matches('\n'))
                )?;
            } else {
                out.write_all(record)?;
            }
            left -= 1;
        }
        out.flush()?;
        let now = clock::now().instant;
        if left == 0 || now >= end {
            break;
        }
        clock::pause(INTERVAL.min(end - now));
    }
    if missed > 0 {
        // If stderr is closed, nobody can be told.
        writeln!(
            io::stderr(),
            "manytail: {} more records passed than could be copied",
            count(missed)
        )
        .ok();
    }
    Ok(if left < request.records { Outcome::Well } else { Outcome::Trouble })
}
