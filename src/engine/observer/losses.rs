//! Bytes that were lost: the last losses, with the reason of each.
//!
//! In: a loss. Out: pages of them.
//! Always holds: at most [`LOSSES_MAX`] losses and [`LOSS_PATH_BYTES_MAX`] bytes of paths are
//! remembered, apart from the last one; how many were forgotten is known.

use std::collections::VecDeque;
use std::time::Instant;

use crate::status::file::{Listed, ListedPage, PathText};

/// Losses in one page at most.
const LOSSES_PER_PAGE: usize = 64;

/// Losses that are remembered at most, and bytes of their paths.
const LOSSES_MAX: usize = 1024;
const LOSS_PATH_BYTES_MAX: usize = 256 * 1024;

/// Bytes that were not delivered and never will be.
#[derive(Debug)]
struct Loss {
    at: Instant,
    path: Box<[u8]>,
    what: &'static str,
    /// Bytes of an unfinished line, as far as they are known.
    unfinished: u64,
}

/// The last ones, oldest first.
#[derive(Debug, Default)]
pub(in crate::engine) struct Losses {
    last: VecDeque<Loss>,
    path_bytes: usize,
    /// The number of earlier ones.
    forgotten: u64,
}

impl Losses {
    pub(in crate::engine) fn note(
        &mut self,
        path: &[u8],
        what: &'static str,
        unfinished: u64,
        at: Instant,
    ) {
        self.last.push_back(Loss { at, path: path.into(), what, unfinished });
        self.path_bytes += path.len();
        while self.last.len() > LOSSES_MAX
            || (self.path_bytes > LOSS_PATH_BYTES_MAX && self.last.len() > 1)
        {
            let Some(oldest) = self.last.pop_front() else { break };
            self.path_bytes -= oldest.path.len();
            self.forgotten += 1;
        }
    }

    /// A page that begins with the `cursor`th loss of the run.
    pub(super) fn page(&self, cursor: u64, now: Instant) -> ListedPage {
        let skipped = usize::try_from(cursor.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let entry = |loss: &Loss| {
            let ago = now.saturating_duration_since(loss.at).as_secs();
            let of = if loss.unfinished > 0 {
                format!(" ({} bytes of an unfinished line)", loss.unfinished)
            } else {
                String::new()
            };
            Listed {
                path: PathText::new(&loss.path),
                why: format!("{ago} s ago: {}{of}", loss.what),
            }
        };
        let entries: Vec<Listed> =
            self.last.iter().skip(skipped).take(LOSSES_PER_PAGE).map(entry).collect();
        let end = self.forgotten + (skipped + entries.len()) as u64;
        let is_end = end >= self.forgotten + self.last.len() as u64;
        ListedPage { entries, next: (!is_end).then_some(end), forgotten: self.forgotten }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_paged_and_the_oldest_make_room() {
        let mut losses = Losses::default();
        let now = crate::sys::clock::now().instant;
        for number in 0..LOSSES_MAX + 10 {
            losses.note(format!("/t/{number}").as_bytes(), "deleted", 0, now);
        }
        let (mut cursor, mut paths) = (0, Vec::new());
        loop {
            let page = losses.page(cursor, now);
            assert_eq!(page.forgotten, 10);
            paths.extend(page.entries.into_iter().map(|entry| entry.path.path));
            match page.next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        let wanted: Vec<String> =
            (10..LOSSES_MAX + 10).map(|number| format!("/t/{number}")).collect();
        assert_eq!(paths, wanted);
        let long = vec![b'x'; 4_000];
        (0..100).for_each(|_| losses.note(&long, "deleted", 7, now));
        assert!(losses.path_bytes <= LOSS_PATH_BYTES_MAX);
        assert_eq!(
            losses.path_bytes,
            losses.last.iter().map(|loss| loss.path.len()).sum::<usize>()
        );
        assert!(losses.page(u64::MAX, now).entries.is_empty());
    }
}
