//! The screen of `manytail top`: a frame of a given size, made from the last answers.
//!
//! In: the last two states of a daemon, its files, and the size of the terminal. Out: lines.
//! Always holds: a frame has at most as many lines and columns as the terminal, and no control
//! characters.

use crate::record::printable;
use crate::status::Status;
use crate::status::numbers::{approximate, count, rounded, size};
use crate::status::top::Top;
use crate::tools::health::{Health, Rates};
use crate::tools::screen;
use crate::tools::text::{fit, fit_path, rate, seconds};

/// The last answers.
#[derive(Debug, Default)]
pub(in crate::tools) struct View {
    /// The last two states.
    pub(in crate::tools) before: Option<Status>,
    pub(in crate::tools) status: Option<Status>,
    pub(in crate::tools) top: Top,
    /// Why the last question has no answer.
    pub(in crate::tools) trouble: Option<String>,
    /// The age of the last answer, in seconds.
    pub(in crate::tools) age: f64,
}

/// The columns before a path: two sizes with their units.
const PATH_AT: usize = 26;

/// The room for the lists: the lines between the head and the foot.
struct Room {
    columns: usize,
    rows: usize,
}

/// The screen: at most `rows` lines of at most `columns` characters.
pub(in crate::tools) fn frame(view: &View, columns: usize, rows: usize) -> Vec<String> {
    let mut lines = head(view);
    let foot = "q quits";
    let room = Room { columns, rows: rows.saturating_sub(lines.len() + 1) };
    lines.extend(lists(&view.top, &room));
    lines.truncate(rows.saturating_sub(1));
    lines.resize(rows.saturating_sub(1), String::new());
    if rows > 0 {
        lines.push(foot.to_owned());
    }
    lines.iter().map(|line| printable(&fit(line, columns))).collect()
}

fn head(view: &View) -> Vec<String> {
    let Some(status) = &view.status else {
        return vec![
            "manytail".to_owned(),
            view.trouble.clone().unwrap_or_else(|| "asking ...".to_owned()),
        ];
    };
    let rates =
        view.before.as_ref().map_or_else(Rates::default, |before| Rates::between(before, status));
    let health = Health::new(status, &rates, &[]);
    let about = &status.about;
    let mut lines = vec![
        format!(
            "manytail {}, process {}, up {}: {}",
            about.version,
            about.pid,
            seconds(about.uptime),
            health.headline()
        ),
        format!(
            "{} lines/s, {}/s, {:.1}% CPU",
            rate(rates.records),
            size(rounded(rates.bytes)),
            rates.cpu * 100.0
        ),
        format!(
            "{} files known, {} wait, {} unread, the oldest for {}",
            count(status.files.known),
            count(status.backlog.files),
            size(status.backlog.unread_bytes),
            seconds(status.backlog.oldest_unread_seconds)
        ),
        screen::output(status),
    ];
    match &view.trouble {
        Some(trouble) => lines.push(format!("NO ANSWER for {}: {trouble}", seconds(view.age))),
        None => lines.extend(
            health.reasons.iter().chain(&health.troubles).next().map(|first| format!("! {first}")),
        ),
    }
    lines.push(String::new());
    lines
}

/// The two lists, which share the room: each gets what the other does not need.
fn lists(top: &Top, room: &Room) -> Vec<String> {
    // A line for each heading, and one between the lists.
    let entries = room.rows.saturating_sub(3);
    let behind = top
        .behind
        .len()
        .max(1)
        .min(entries.div_ceil(2).max(entries.saturating_sub(top.busiest.len().max(1))));
    let busy = entries - behind.min(entries);
    let wide = room.columns.saturating_sub(PATH_AT);
    let row = |first: String, second: String, path: &str| {
        format!("{first:>12} {second:>12} {}", fit_path(path, wide))
    };
    let looked = if top.looked_at < top.waiting_files {
        format!(" ({} of them looked at)", count(top.looked_at))
    } else {
        String::new()
    };
    let mut lines =
        vec![row("UNREAD".to_owned(), "OFFSET".to_owned(), &format!("FURTHEST BEHIND{looked}"))];
    for file in top.behind.iter().take(behind) {
        lines.push(row(size(file.unread_bytes), size(file.offset), &file.path.shown()));
    }
    if top.behind.is_empty() {
        lines.push(row("-".to_owned(), "-".to_owned(), "no file waits"));
    }
    lines.push(String::new());
    lines.push(row("BYTES/S".to_owned(), "LINES/S".to_owned(), "BUSIEST"));
    let per_second = |number: u64| {
        if top.interval_seconds > 0.0 { approximate(number) / top.interval_seconds } else { 0.0 }
    };
    for file in top.busiest.iter().take(busy) {
        lines.push(row(
            size(rounded(per_second(file.bytes))),
            rate(per_second(file.records)),
            &file.path.shown(),
        ));
    }
    if top.busiest.is_empty() {
        lines.push(row("-".to_owned(), "-".to_owned(), "no file is read"));
    }
    lines.truncate(room.rows);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::file::PathText;
    use crate::status::top::{BehindFile, BusyFile};

    fn view(files: usize) -> View {
        let path = |at: usize| {
            PathText::new(
                format!("/srv/grid/jobs/{at}/a\x1b[2J\u{9b}\u{65e5}{}.log", "x".repeat(at * 7))
                    .as_bytes(),
            )
        };
        let behind = (0..files).map(|at| BehindFile {
            path: path(at),
            unread_bytes: 1 << at.min(60),
            offset: u64::MAX,
        });
        let busiest =
            (0..files).map(|at| BusyFile { path: path(at), bytes: 1 << at.min(60), records: 7 });
        let mut status = Status::default();
        status.output.is_connected = true;
        status.about.output = "tcp:h:1".to_owned();
        View {
            status: Some(status),
            top: Top {
                behind: behind.collect(),
                busiest: busiest.collect(),
                waiting_files: files as u64,
                looked_at: files as u64,
                interval_seconds: 0.5,
            },
            ..View::default()
        }
    }

    #[test]
    fn a_frame_fits_any_terminal_and_holds_no_control_characters() {
        for files in [0, 1, 3, 64] {
            for trouble in [None, Some("a\x1btrouble".to_owned())] {
                let view = View { trouble, ..view(files) };
                for rows in 0..40 {
                    for columns in [0, 1, 2, 10, 25, 26, 27, 30, 80, 300] {
                        let lines = frame(&view, columns, rows);
                        assert_eq!(lines.len(), rows);
                        assert!(lines.iter().all(|line| line.chars().count() <= columns
                            && !line.chars().any(char::is_control)));
                    }
                }
            }
        }
    }

    #[test]
    fn both_lists_are_seen_on_a_small_terminal_and_use_the_room_of_a_large_one() {
        let on = |view: &View, rows, word: &str| {
            frame(view, 80, rows).iter().filter(|line| line.contains(word)).count()
        };
        assert_eq!(on(&view(64), 24, "/srv/grid"), 15);
        assert_eq!((on(&view(64), 24, "UNREAD"), on(&view(64), 24, "BUSIEST")), (1, 1));
        let mut one = view(64);
        one.top.behind.truncate(1);
        assert_eq!(on(&one, 24, "/srv/grid"), 15, "what one list does not need the other has");
        assert_eq!(on(&view(0), 24, "no file"), 2);
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_told_with_the_last_answer() {
        let mut silent = view(1);
        silent.trouble = Some("connection refused".to_owned());
        silent.age = 12.0;
        assert!(
            frame(&silent, 80, 24)
                .iter()
                .any(|line| line == "NO ANSWER for 12s: connection refused")
        );
        let never = View { trouble: Some("no manytail answers".to_owned()), ..View::default() };
        assert!(frame(&never, 80, 24).iter().any(|line| line == "no manytail answers"));
    }
}
