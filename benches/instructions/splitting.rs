//! The splitter, with input from no newline at all to short lines.

use std::hint::black_box;

use manytail::testing::lines::split_lines;

use crate::Case;
use crate::callgrind::{Units, only_this_is_counted};

/// Bytes split in each case.
const BYTES: usize = 1024 * 1024;

pub(crate) const CASES: [Case; 4] = [
    Case { name: "split-never", run: || per_kib(BYTES + 1) },
    Case { name: "split-4096", run: || per_kib(4096) },
    Case { name: "split-100", run: || per_line(100) },
    Case { name: "split-20", run: || per_line(20) },
];

/// Splits lines of `len` bytes, newline included. Returns the number of lines.
fn split(len: usize) -> usize {
    let bytes: Vec<u8> = (1..=BYTES).map(|at| if at % len == 0 { b'\n' } else { b'a' }).collect();
    let mut lines = 0;
    only_this_is_counted(&mut || {
        for line in split_lines(black_box(&bytes), 0, BYTES) {
            black_box(&line);
            lines += 1;
        }
    });
    assert_eq!(lines, BYTES / len, "every line came");
    lines
}

fn per_kib(len: usize) -> Units {
    split(len);
    Units::new("KiB", BYTES / 1024)
}

fn per_line(len: usize) -> Units {
    Units::new("line", split(len))
}
