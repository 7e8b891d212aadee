//! How much of the last record the receiver has: those bytes are offered again to a new receiver,
//! or cut off a file.
//!
//! In: the bytes that the receiver accepts. Out: how many of them belong to an unfinished record.
//! Always holds: after a newline it is none.

/// Counts the bytes accepted since the last record boundary. A record ends with `\n` and contains
/// no other.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    torn: u64,
    has_taken: bool,
}

impl Boundary {
    /// The receiver accepted these bytes.
    pub(super) fn took(&mut self, bytes: &[u8]) {
        self.has_taken |= !bytes.is_empty();
        self.torn = match memchr::memrchr(b'\n', bytes) {
            Some(at) => (bytes.len() - at - 1) as u64,
            None => self.torn + bytes.len() as u64,
        };
    }

    /// Bytes of an unfinished record at the end of what was accepted.
    pub(super) fn torn(&self) -> u64 {
        self.torn
    }

    /// Whether the present receiver has accepted anything.
    pub(super) fn has_taken(&self) -> bool {
        self.has_taken
    }

    /// The next byte goes to another receiver or another position, and starts a record.
    pub(super) fn restart(&mut self) {
        *self = Boundary::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_bytes_are_those_after_the_last_newline_of_all_that_was_taken() {
        let mut boundary = Boundary::default();
        for (bytes, torn) in
            [("", 0), ("ab", 2), ("c", 3), ("d\n", 0), ("e\nfg", 2), ("\n\n", 0), ("h", 1)]
        {
            boundary.took(bytes.as_bytes());
            assert_eq!(boundary.torn(), torn, "after {bytes:?}");
        }
        assert!(boundary.has_taken());
        boundary.restart();
        assert!(!boundary.has_taken());
        assert_eq!(boundary.torn(), 0);
    }
}
