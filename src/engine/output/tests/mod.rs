//! A sink with a script, for the tests of the outbox and of the output file.

mod outbox;
mod output_file;

use std::io::ErrorKind;
use std::time::Instant;

use crate::sink::{FilePoint, Place, Receiver, Records, Sent, Sink, SinkError, SinkState, Wants};
use crate::sys::FileId;

/// The first file that the sink writes to; the next one has the next inode.
const FIRST_FILE: FileId = FileId { device: 1, inode: 10, inode_generation: 0 };

/// See the module.
struct FakeSink {
    /// Every byte that was taken, in the order in which it came.
    taken: Vec<u8>,
    /// Bytes that it takes before it blocks.
    room: usize,
    unacknowledged: u64,
    /// The receiver was lost: the next call says that so many bytes were not acknowledged.
    restart: Option<u64>,
    is_closed: bool,
    /// Whether it gives accepted bytes back, and how many it gave back.
    gives_back: bool,
    withdrawn: u64,
    /// The file that it writes to.
    file: FileId,
    place: Place,
    can_open: bool,
    /// The argument of the last `replace`.
    replaced_from: Option<Option<u64>>,
    owed: u64,
}

impl FakeSink {
    /// It takes and acknowledges everything.
    fn new() -> Self {
        FakeSink {
            taken: Vec::new(),
            room: usize::MAX,
            unacknowledged: 0,
            restart: None,
            is_closed: false,
            gives_back: false,
            withdrawn: 0,
            file: FIRST_FILE,
            place: Place::Here,
            can_open: true,
            replaced_from: None,
            owed: 0,
        }
    }

    fn open_next(&mut self) -> Result<(), SinkError> {
        if !self.can_open {
            return Err(SinkError {
                output: "file:out".to_owned(),
                action: "open",
                source: ErrorKind::PermissionDenied.into(),
            });
        }
        self.file.inode += 1;
        self.place = Place::Here;
        Ok(())
    }
}

impl Sink for FakeSink {
    fn send(&mut self, records: Records<'_>, _now: Instant) -> Result<Sent, SinkError> {
        let bytes = records.bytes;
        if self.is_closed {
            return Ok(Sent::Closed);
        }
        if let Some(unacknowledged) = self.restart.take() {
            return Ok(Sent::Restarted { unacknowledged });
        }
        let taken = bytes.len().min(self.room);
        if taken == 0 && !bytes.is_empty() {
            return Ok(Sent::Blocked);
        }
        self.taken.extend_from_slice(&bytes[..taken]);
        self.room -= taken;
        Ok(Sent::Accepted(taken))
    }

    fn wants(&self) -> Wants {
        Wants::Bytes
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        None
    }

    fn unacknowledged(&mut self) -> u64 {
        self.unacknowledged
    }

    fn ready(&mut self, _now: Instant) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn point(&mut self) -> Option<FilePoint> {
        Some(FilePoint { id: self.file, len: self.taken.len() as u64, file: None })
    }

    fn withdraw(&mut self, bytes: u64) -> bool {
        self.withdrawn = bytes;
        if self.gives_back {
            self.taken.truncate(self.taken.len() - bytes as usize);
        }
        self.gives_back
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        self.open_next()
    }

    fn place(&mut self) -> Place {
        self.place
    }

    fn replace(&mut self, from: Option<u64>) -> Result<(), SinkError> {
        self.open_next()?;
        self.replaced_from = Some(from);
        self.owed = 5;
        Ok(())
    }

    fn owed(&self) -> u64 {
        self.owed
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        Some((self.file.device, self.file.inode))
    }

    fn state(&self) -> SinkState {
        SinkState::sound()
    }
}
