//! Rows of jobs as text or JSON.
//!
//! In: jobs with their last lines. Out: lines on a writer.
//! Always holds: text has no control character of a log in it; json has the bytes of each path.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use serde_json::{Map, Value, json};

use super::Job;
use super::last_line::LastLine;
use crate::record::{printable, push_json_path, push_second};
use crate::status::numbers::size;
use crate::sys::user::name_of_user;
use crate::tools::style::Style;

/// The heads of the columns before the last one.
const HEADS: [&str; 5] = ["JOB", "TASK", "USER", "AGE", "SIZE"];

/// A user.
struct User {
    /// If this system knows it.
    name: Option<String>,
    /// The name for people, or else the number.
    shown: String,
}

/// Writes rows.
pub(super) struct Report {
    style: Style,
    columns: Option<usize>,
    now: SystemTime,
    /// The widths of all columns but the last one.
    widths: [usize; HEADS.len()],
    users: HashMap<u32, User>,
    has_head: bool,
}

impl Report {
    pub(super) fn new(
        style: Style,
        columns: Option<usize>,
        now: SystemTime,
        jobs: &[Job],
    ) -> Report {
        // Of ages and sizes, the longest.
        let [job, task, user, ..] = HEADS.map(str::len);
        let mut report = Report {
            style,
            columns,
            now,
            widths: [job, task, user, "23h59m".len(), "1023 KiB".len()],
            users: HashMap::new(),
            has_head: false,
        };
        for job in jobs {
            let user = report.user(job.owner).chars().count();
            let widths = [job.id().chars().count(), job.part().chars().count(), user];
            for (width, cell) in report.widths.iter_mut().zip(widths) {
                *width = (*width).max(cell);
            }
        }
        report
    }

    /// Writes the row of a job.
    pub(super) fn row(
        &mut self,
        job: &Job,
        last: &Result<LastLine, String>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match self.style {
            Style::Text => self.text(job, last, out),
            Style::Json => self.json(job, last, out),
        }
    }

    fn text(
        &mut self,
        job: &Job,
        last: &Result<LastLine, String>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_head, true) {
            self.line(&HEADS.map(str::to_owned), "LAST LINE", out)?;
        }
        let last = match last {
            Ok(LastLine { bytes, is_cut }) => {
                let line = printable(&String::from_utf8_lossy(bytes));
                if *is_cut { format!("...{line}") } else { line }
            }
            Err(why) => format!("(cannot be read: {why})"),
        };
        let cells = self.cells(job);
        self.line(&cells, &last, out)
    }

    fn line(
        &self,
        cells: &[String; HEADS.len()],
        last: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), head) in cells.iter().zip(self.widths).zip(HEADS) {
            // Numbers end in a column; names begin in one.
            let fill = " ".repeat(width.saturating_sub(cell.chars().count()));
            line += &match head {
                "JOB" | "USER" => format!("{cell}{fill}  "),
                _ => format!("{fill}{cell}  "),
            };
        }
        line += last;
        let shown: Cow<'_, str> = match self.columns {
            Some(columns) if line.chars().count() > columns => {
                line.chars().take(columns).collect::<String>().into()
            }
            _ => line.into(),
        };
        writeln!(out, "{}", shown.trim_end())
    }

    fn cells(&mut self, job: &Job) -> [String; HEADS.len()] {
        let user = self.user(job.owner).to_owned();
        [printable(job.id()), printable(job.part()), user, age(self.age_of(job)), size(job.bytes)]
    }

    fn json(
        &mut self,
        job: &Job,
        last: &Result<LastLine, String>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let mut path = vec![b'{'];
        push_json_path(&job.newest.path, &mut path);
        path.push(b'}');
        let mut row: Map<String, Value> = Map::new();
        let fields = job.fields.iter().map(|(name, value)| (name.clone(), json!(value)));
        row.insert("job".to_owned(), fields.collect::<Map<_, _>>().into());
        row.insert("uid".to_owned(), json!(job.owner));
        self.user(job.owner);
        row.insert("user".to_owned(), json!(self.users[&job.owner].name));
        row.extend(serde_json::from_slice::<Map<String, Value>>(&path).map_err(io::Error::from)?);
        row.insert("files".to_owned(), json!(job.files));
        row.insert("size".to_owned(), json!(job.bytes));
        row.insert("modified".to_owned(), json!(second(job.newest.modified)));
        row.insert("age_seconds".to_owned(), json!(self.age_of(job)));
        match last {
            Ok(LastLine { bytes, is_cut }) => {
                row.insert("line".to_owned(), json!(String::from_utf8_lossy(bytes)));
                if str::from_utf8(bytes).is_err() {
                    row.insert("bytes".to_owned(), json!(STANDARD.encode(bytes)));
                }
                if *is_cut {
                    row.insert("cut".to_owned(), json!(true));
                }
            }
            Err(why) => {
                row.insert("line".to_owned(), Value::Null);
                row.insert("error".to_owned(), json!(why));
            }
        }
        serde_json::to_writer(&mut *out, &row)?;
        writeln!(out)
    }

    /// The name of a user, or the number.
    fn user(&mut self, owner: u32) -> &str {
        let known = self.users.entry(owner).or_insert_with(|| match name_of_user(owner) {
            Some(name) => User { shown: printable(&name), name: Some(name) },
            None => User { shown: owner.to_string(), name: None },
        });
        &known.shown
    }

    /// Whole seconds since the last modification.
    fn age_of(&self, job: &Job) -> u64 {
        self.now.duration_since(job.newest.modified).map_or(0, |age| age.as_secs())
    }
}

/// A time as in records, by the second.
fn second(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut text = Vec::new();
    push_second(since, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// In the two largest units that say something: `42s`, `3h12m`, `5d4h`.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m{}s", seconds % 60),
        () if days == 0 => format!("{hours}h{}m", minutes % 60),
        () => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        let ages = [0, 59, 60, 3599, 3600, 86399, 86400, 450_000].map(age);
        assert_eq!(ages, ["0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d0h", "5d5h"]);
    }
}
