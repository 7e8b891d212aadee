//! The output of a process: a thread reads it from a pipe or socket, and a gate stops the reading.

use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// The bytes read from a pipe or socket so far.
#[derive(Default)]
pub(crate) struct Capture {
    state: Mutex<Captured>,
    changed: Condvar,
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    total: u64,
    ended: bool,
    blocked: bool,
}

pub(crate) type Consumer = Box<dyn FnMut(&[u8]) + Send>;

impl Capture {
    /// Reads `source` to its end in a thread of its own. A consumer gets the bytes instead of the
    /// buffer.
    pub(crate) fn start(
        mut source: impl Read + Send + 'static,
        blocked: bool,
        mut consumer: Option<Consumer>,
    ) -> Arc<Capture> {
        let capture = Arc::new(Capture::default());
        capture.lock().blocked = blocked;
        let reader = Arc::clone(&capture);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                drop(reader.changed.wait_while(reader.lock(), |state| state.blocked));
                let got = source.read(&mut buffer).unwrap_or(0);
                if let Some(consumer) = &mut consumer {
                    consumer(&buffer[..got]);
                }
                let mut state = reader.lock();
                state.total += got as u64;
                if consumer.is_none() {
                    state.bytes.extend_from_slice(&buffer[..got]);
                }
                if got == 0 {
                    state.ended = true;
                    return;
                }
            }
        });
        capture
    }

    fn lock(&self) -> MutexGuard<'_, Captured> {
        self.state.lock().expect("the reader of the capture")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_from(0)
    }

    fn bytes_from(&self, from: usize) -> Vec<u8> {
        self.lock().bytes.get(from..).unwrap_or_default().to_vec()
    }

    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    pub(crate) fn ended(&self) -> bool {
        self.lock().ended
    }

    /// Stops reading; the chunk that is being read still comes in.
    pub(crate) fn block(&self) {
        self.lock().blocked = true;
    }

    pub(crate) fn unblock(&self) {
        self.lock().blocked = false;
        self.changed.notify_all();
    }
}

/// Where the records of a process are.
pub(crate) enum Source {
    Capture(Arc<Capture>),
    File(PathBuf),
    /// The test reads them itself.
    Elsewhere,
}

impl Source {
    /// How many bytes have come out.
    pub(crate) fn total(&self) -> u64 {
        match self {
            Source::Capture(capture) => capture.total(),
            Source::File(path) => std::fs::metadata(path).map_or(0, |file| file.len()),
            Source::Elsewhere => 0,
        }
    }

    /// The bytes after the first `from`.
    pub(crate) fn bytes_from(&self, from: usize) -> Vec<u8> {
        match self {
            Source::Capture(capture) => capture.bytes_from(from),
            Source::File(path) => {
                std::fs::read(path).unwrap_or_default().get(from..).unwrap_or_default().to_vec()
            }
            Source::Elsewhere => Vec::new(),
        }
    }
}
