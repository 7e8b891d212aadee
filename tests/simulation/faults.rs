//! Seeded errors on the engine's calls, until the world goes quiet.
//!
//! In: a call. Out: nothing, or an errno; how many of the available bytes a read gives.
//! Always holds: each seed has its own few kinds of fault, so that none hides another; once they
//! have ended, faults never come back.

use nix::errno::Errno;

use crate::random::Random;

/// The calls of [`manytail::testing::sys::FileSystem`] that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Stat,
    FileSystem,
    Open,
    StatFile,
    ReadAt,
    Seek,
    List,
    NextEntry,
    Watch,
    Unwatch,
    ReadEvents,
    Canonical,
}

/// How often each fault comes: once in this many calls, 0 = never.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates {
    pub(crate) interrupted: u32,
    pub(crate) descriptors: u32,
    pub(crate) input_output: u32,
    /// Nothing reports the end of a refusal: only for runs with a sweep.
    pub(crate) refused: u32,
    pub(crate) short_read: u32,
    pub(crate) no_watch: u32,
    /// Directory entries whose kind the listing does not give.
    pub(crate) unknown_kind: u32,
}

#[derive(Debug)]
pub(crate) struct Faults {
    random: Random,
    rates: Rates,
    active: bool,
    /// How many further opens fail in this period without descriptors.
    descriptors_spell: usize,
    pub(crate) count: u64,
}

impl Faults {
    pub(crate) fn new(random: Random, rates: Rates) -> Self {
        Faults { random, rates, active: true, descriptors_spell: 0, count: 0 }
    }

    pub(crate) fn end(&mut self) {
        self.active = false;
    }

    /// The errno with which this call fails, if it does.
    pub(crate) fn check(&mut self, call: Call) -> Result<(), Errno> {
        if !self.active {
            return Ok(());
        }
        let errno = match call {
            // A read that cannot block is never interrupted, and lseek(2) asks what is in memory.
            Call::Unwatch | Call::ReadEvents | Call::Seek => None,
            Call::Open | Call::List => self.fault_on_open(),
            Call::ReadAt | Call::NextEntry | Call::Stat | Call::FileSystem | Call::StatFile => {
                if self.random.one_in(self.rates.input_output) {
                    Some(Errno::EIO)
                } else {
                    self.interrupted()
                }
            }
            Call::Watch if self.random.one_in(self.rates.no_watch) => Some(Errno::ENOSPC),
            Call::Watch | Call::Canonical => self.interrupted(),
        };
        self.count += u64::from(errno.is_some());
        errno.map_or(Ok(()), Err)
    }

    fn interrupted(&mut self) -> Option<Errno> {
        self.random.one_in(self.rates.interrupted).then_some(Errno::EINTR)
    }

    fn fault_on_open(&mut self) -> Option<Errno> {
        if self.descriptors_spell > 0 {
            self.descriptors_spell -= 1;
            return Some(Errno::EMFILE);
        }
        if self.random.one_in(self.rates.descriptors) {
            self.descriptors_spell = self.random.below(20);
            return Some(Errno::EMFILE);
        }
        if self.random.one_in(self.rates.refused) {
            return Some(Errno::EACCES);
        }
        self.interrupted()
    }

    /// How many of `available` bytes a read gives: at least one.
    pub(crate) fn shorten(&mut self, available: usize) -> usize {
        if self.active && available > 1 && self.random.one_in(self.rates.short_read) {
            self.count += 1;
            return self.random.between(1, available - 1);
        }
        available
    }

    pub(crate) fn hides_kind(&mut self) -> bool {
        self.random.one_in(self.rates.unknown_kind)
    }
}
