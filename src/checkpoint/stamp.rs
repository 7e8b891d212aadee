//! The last commit that an output file has seen, stored on the file itself. It distinguishes the
//! end that a crash leaves from every other end.
//!
//! In: the position of a durable commit in the journal. Out: the value of the attribute
//! `user.manytail.commit`; at the next start, whether the bytes of the file beyond the journal's
//! last commit were written between two commits.
//! Always holds: a stamp is never ahead of the durable journal of its state directory, unless the
//! journal was restored to an earlier state. A run that ends cleanly notes that in the stamp, so
//! bytes behind it are another program's. Any bytes parse to a stamp or to none.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use crate::sys::attribute;

/// The name of the extended attribute.
const ATTRIBUTE: &CStr = c"user.manytail.commit";

/// Most bytes of a value: five words and the blanks between them.
const BYTES_MAX: usize = 128;

/// The commit that an output file has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The inode of the state directory; a copy of the directory has another one.
    pub directory: u64,
    /// N of `journal.N`, which grows and is never used twice in a state directory.
    pub journal: u64,
    /// The salt of that journal.
    pub salt: u64,
    /// The number of frames in that journal.
    pub frames: u64,
    /// The run ended cleanly after this commit, which covers everything it wrote.
    pub has_ended: bool,
}

/// Why a crash cannot have left the bytes of an output beyond the last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// There is no stamp: another program replaced the file, or the file system has no extended
    /// attributes.
    #[error(
        "the output does not tell which commit it belongs to (its extended attribute \
        user.manytail.commit is missing)"
    )]
    NoStamp,
    /// The run that wrote the output had committed all of it.
    #[error(
        "the run that made the last commit ended cleanly and had committed all its records: \
        another program wrote this, or a run that could not commit"
    )]
    HasEnded,
    /// The journal is older than the output, or of another state directory.
    #[error(
        "the output has seen a later commit than the last one of this state directory, which was \
        restored, copied or replaced"
    )]
    OtherState,
}

impl Stamp {
    /// Checks that a crash explains the bytes of an output with this stamp beyond the last commit,
    /// `last`.
    ///
    /// # Errors
    /// Why it does not.
    pub fn explain(found: Option<Stamp>, last: Option<Stamp>) -> Result<(), Unexplained> {
        let (Some(found), Some(last)) = (found, last) else { return Err(Unexplained::NoStamp) };
        // The crash may have come after a new journal was completed and before the output was
        // stamped.
        let is_not_ahead = if found.salt == last.salt {
            found.frames <= last.frames
        } else {
            found.journal < last.journal
        };
        match found {
            Stamp { directory, .. } if directory != last.directory || !is_not_ahead => {
                Err(Unexplained::OtherState)
            }
            Stamp { has_ended: true, .. } => Err(Unexplained::HasEnded),
            _ => Ok(()),
        }
    }

    /// The stamp of an open file, if it has one.
    ///
    /// # Errors
    /// Those of `fgetxattr(2)`.
    pub fn read(file: impl AsFd) -> io::Result<Option<Stamp>> {
        let mut buffer = [0; BYTES_MAX];
        Ok(attribute::get(file, ATTRIBUTE, &mut buffer)?.and_then(Stamp::parse))
    }

    /// Stamps an open file.
    ///
    /// # Errors
    /// Those of `fsetxattr(2)`.
    pub fn write(&self, file: impl AsFd) -> io::Result<()> {
        attribute::set(file, ATTRIBUTE, self.to_string().as_bytes())
    }

    /// Notes in the stamp of an open file that the run ended cleanly. Does nothing if there is no
    /// stamp.
    pub fn end(file: impl AsFd) {
        let stamped = Stamp::read(&file).and_then(|found| match found {
            Some(stamp) => Stamp { has_ended: true, ..stamp }.write(&file),
            None => Ok(()),
        });
        if let Err(error) = stamped {
            tracing::debug!(%error, "the end of the run cannot be noted in the output's stamp");
        }
    }

    fn parse(bytes: &[u8]) -> Option<Stamp> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let has_ended = match words.next()? {
            "running" => false,
            "ended" => true,
            _ => return None,
        };
        let mut number = || words.next()?.parse().ok();
        let stamp = Stamp {
            directory: number()?,
            journal: number()?,
            salt: number()?,
            frames: number()?,
            has_ended,
        };
        words.next().is_none().then_some(stamp)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stamp { directory, journal, salt, frames, has_ended } = self;
        let how = if *has_ended { "ended" } else { "running" };
        write!(to, "{how} {directory} {journal} {salt} {frames}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Stamp = Stamp { directory: 7, journal: 3, salt: 99, frames: 20, has_ended: false };

    #[test]
    fn a_stamp_comes_back_as_it_was_and_other_bytes_are_none() {
        let largest = Stamp {
            directory: u64::MAX,
            journal: u64::MAX,
            salt: u64::MAX,
            frames: u64::MAX,
            has_ended: true,
        };
        for stamp in [LAST, largest] {
            let text = stamp.to_string();
            assert!(text.len() <= BYTES_MAX);
            assert_eq!(Stamp::parse(text.as_bytes()), Some(stamp));
        }
        for other in [
            "",
            "running",
            "running 1 2 3",
            "running 1 2 3 4 5",
            "asleep 1 2 3 4",
            "running 1 2 3 -4",
            "running 1 2 3 x",
        ] {
            assert_eq!(Stamp::parse(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(Stamp::parse(b"running \xff 2 3 4"), None);
    }

    #[test]
    fn a_crash_explains_only_an_output_that_is_not_ahead_of_its_own_journal() {
        let of = |found| Stamp::explain(found, Some(LAST));
        for good in [
            LAST,
            // Commits that did not concern the output, and one before whose stamp the crash came.
            Stamp { frames: 12, ..LAST },
            // The same, with a new journal.
            Stamp { journal: 2, salt: 5, frames: 900, ..LAST },
        ] {
            assert_eq!(of(Some(good)), Ok(()), "{good:?}");
        }
        for (bad, why) in [
            (Some(Stamp { frames: 21, ..LAST }), Unexplained::OtherState),
            (Some(Stamp { journal: 4, salt: 5, frames: 1, ..LAST }), Unexplained::OtherState),
            (Some(Stamp { journal: 3, salt: 5, frames: 1, ..LAST }), Unexplained::OtherState),
            (Some(Stamp { directory: 8, ..LAST }), Unexplained::OtherState),
            (Some(Stamp { directory: 8, journal: 1, salt: 5, ..LAST }), Unexplained::OtherState),
            (Some(Stamp { has_ended: true, ..LAST }), Unexplained::HasEnded),
            (None, Unexplained::NoStamp),
        ] {
            assert_eq!(of(bad), Err(why), "{bad:?}");
        }
    }
}
