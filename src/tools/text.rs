//! Rates and times for people, and lines that fit a screen.
//!
//! Always holds: [`fit`] and [`fit_path`] give at most as many characters as there are columns.

use crate::status::numbers::{count, rounded};

/// A rate, with tenths below ten.
pub(super) fn rate(number: f64) -> String {
    if number > 0.0 && number < 10.0 { format!("{number:.1}") } else { count(rounded(number)) }
}

/// A time, with tenths below ten seconds: `0.3s`, `42s`, `3m07s`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{:.1}s", seconds.max(0.0))
    } else {
        whole_seconds(rounded(seconds))
    }
}

/// A time: `3s`, `42s`, `3m07s`, `2h05m`, `5d03h`.
pub(super) fn whole_seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A line cut at its end to the number of columns.
pub(super) fn fit(line: &str, columns: usize) -> String {
    line.chars().take(columns).collect()
}

/// A path cut in the middle to the number of columns: the name at its end says most, then its
/// beginning.
pub(super) fn fit_path(path: &str, columns: usize) -> String {
    let len = path.chars().count();
    if len <= columns {
        return path.to_owned();
    }
    let Some(kept) = columns.checked_sub(3).filter(|&kept| kept >= 2) else {
        return fit(path, columns);
    };
    let front = kept / 3;
    let head: String = path.chars().take(front).collect();
    let tail: String = path.chars().skip(len - (kept - front)).collect();
    format!("{head}...{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_read_at_a_glance() {
        assert_eq!(
            [rate(0.0), rate(2.54), rate(10.4), rate(12_345.6)],
            ["0", "2.5", "10", "12,346"]
        );
        assert_eq!(
            [seconds(0.31), seconds(9.96), seconds(42.0), seconds(187.0)],
            ["0.3s", "10.0s", "42s", "3m07s"]
        );
        assert_eq!([seconds(7_500.0), seconds(442_800.0)], ["2h05m", "5d03h"]);
        assert_eq!([whole_seconds(5), whole_seconds(59)], ["5s", "59s"]);
    }

    #[test]
    fn a_path_is_cut_in_the_middle_and_never_too_long() {
        assert_eq!(fit_path("/srv/grid/jobs/d1/job7.log", 17), "/srv...1/job7.log");
        for columns in 0..40 {
            let cut = fit_path("/srv/grid/jobs/d1/j\u{f6}b7.log", columns);
            assert!(cut.chars().count() <= columns, "{columns}: {cut}");
        }
    }
}
