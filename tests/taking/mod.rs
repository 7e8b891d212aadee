//! An output that takes everything at once, for tests and benchmarks of an engine without a process
//! around it.

use std::time::Instant;

use manytail::testing::sink::{
    FilePoint, Place, Receiver, Records, Sent, Sink, SinkError, SinkState, Wants,
};

/// Passes everything on to a function, and acknowledges it at once.
pub(crate) struct Taking(Box<Take>);

type Take = dyn FnMut(&[u8]);

impl Taking {
    pub(crate) fn new(take: impl FnMut(&[u8]) + 'static) -> Taking {
        Taking(Box::new(take))
    }
}

impl Sink for Taking {
    fn send(&mut self, records: Records<'_>, _now: Instant) -> Result<Sent, SinkError> {
        let bytes = records.bytes;
        (self.0)(bytes);
        Ok(Sent::Accepted(bytes.len()))
    }

    fn wants(&self) -> Wants {
        Wants::Bytes
    }

    fn receiver(&mut self) -> Option<&mut dyn Receiver> {
        None
    }

    fn unacknowledged(&mut self) -> u64 {
        0
    }

    fn ready(&mut self, _now: Instant) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn point(&mut self) -> Option<FilePoint> {
        None
    }

    fn withdraw(&mut self, _bytes: u64) -> bool {
        false
    }

    fn reopen(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn place(&mut self) -> Place {
        Place::Here
    }

    fn replace(&mut self, _from: Option<u64>) -> Result<(), SinkError> {
        Ok(())
    }

    fn owed(&self) -> u64 {
        0
    }

    fn own_file(&self) -> Option<(u64, u64)> {
        None
    }

    fn state(&self) -> SinkState {
        SinkState::sound()
    }
}
