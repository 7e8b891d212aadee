//! Where the records of a file go, for outputs that want to know what each record is of.
//!
//! In: a file as it is when it is read. Out: its origin in the batch being filled.
//! Always holds: a batch has the origin of a file before the first record of it.

use crate::config::{Fields, Routes};
use crate::engine::namespace::inputs::Inputs;
use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::output::outbox::Outbox;
use crate::lines::Line;
use crate::record::push_file;
use crate::sink::{Origin, Sink};
use crate::sys::FileId;

/// The templates, and the texts of the file at hand.
#[derive(Debug)]
pub(in crate::engine) struct Routing {
    routes: Routes,
    /// What the encoder appends to `file`.
    pub(in crate::engine) run: Vec<u8>,
    /// The file at hand, and its generation.
    of: Option<(FileId, u32)>,
    file: Vec<u8>,
    path: Vec<u8>,
    destination: Vec<u8>,
    key: Vec<u8>,
}

impl Routing {
    pub(in crate::engine) fn new(routes: Routes) -> Self {
        Routing {
            routes,
            run: Vec::new(),
            of: None,
            file: Vec::new(),
            path: Vec::new(),
            destination: Vec::new(),
            key: Vec::new(),
        }
    }

    /// The records that follow are of this file.
    pub(super) fn begin(&mut self, files: &Registry, inputs: &Inputs, id: SlotId, path: &[u8]) {
        let slot = files.get(id);
        let identity = files.file_id(id).expect("only identified files are read");
        let of = Some((identity, slot.generation));
        if self.of == of && self.path == path {
            return;
        }
        self.of = of;
        self.file.clear();
        push_file(identity.device, identity.inode, slot.generation, &mut self.file);
        self.file.extend_from_slice(&self.run);
        self.path.clear();
        self.path.extend_from_slice(path);
        let fields = Fields {
            host: self.routes.host.as_bytes(),
            path,
            file: &self.file,
            labels: &inputs.get(slot.input).label_pairs,
        };
        self.destination.clear();
        self.routes.destination.expand(&fields, &mut self.destination);
        self.key.clear();
        self.routes.key.expand(&fields, &mut self.key);
    }

    /// The labels may have changed.
    pub(in crate::engine) fn forget(&mut self) {
        self.of = None;
    }

    /// The record of a line was encoded. It begins at this byte of the batch.
    pub(super) fn note_record<S: Sink>(
        &self,
        begin: usize,
        line: &Line<'_>,
        outbox: &mut Outbox<S>,
    ) {
        outbox.begin_origin(&self.origin());
        outbox.note_record(begin, line.offset, !line.ended);
    }

    /// The records from this byte of the batch on are whole lines, the first at this offset.
    pub(super) fn note_lines<S: Sink>(&self, begin: usize, offset: u64, outbox: &mut Outbox<S>) {
        outbox.begin_origin(&self.origin());
        outbox.note_lines(begin, offset);
    }

    fn origin(&self) -> Origin<'_> {
        let Routing { file, path, destination, key, .. } = self;
        Origin { file, path, destination, key }
    }
}
