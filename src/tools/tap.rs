//! `manytail tap`: records as they pass.
//!
//! In: where the daemon listens, how many records and for how long. Out: the records, as the output
//! gets them; for a terminal without what it would obey.
//! Always holds: it ends by itself, and the daemon copies nothing a moment later.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::record::printable;
use crate::status::numbers::count;
use crate::sys::clock;
use crate::tools::client::ask;
use crate::tools::{ANSWER_WITHIN, Outcome, ToolError};

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(200);

/// What `tap` is asked for.
#[derive(Debug)]
pub struct TapRequest {
    /// The daemon's control socket.
    pub socket: PathBuf,
    /// Records at most.
    pub records: u64,
    /// For how long at most.
    pub lasts: Duration,
}

/// Copies records to `out` until there are enough or the time is over. [`Outcome::Trouble`]: none
/// passed.
///
/// # Errors
/// When no daemon answers, or `out` takes nothing.
pub fn tap(request: &TapRequest, out: &mut impl Write) -> Result<Outcome, ToolError> {
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
        // Nobody is left to tell when stderr is closed.
        writeln!(
            io::stderr(),
            "manytail: {} more records passed than could be copied",
            count(missed)
        )
        .ok();
    }
    Ok(if left < request.records { Outcome::Well } else { Outcome::Trouble })
}
