//! Where the records of a file go, for outputs that want to know what each record is of.
//!
//! In: a file as it is when it is read. Out: its origin in the batch being filled.
//! Always holds: a batch has the origin of a file before the first record of it.

use crate::config::{Fields, Routes};
use crate::engine::namespace::inputs::Inputs;
use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::output::outbox::Outbox;
use crate::engine::reading::jobs::Jobs;
use crate::record::push_file;
use crate::sink::{Origin, Sink};

/// The templates, and the texts of the file at hand.
#[derive(Debug)]
pub(in crate::engine) struct Routing {
    routes: Routes,
    /// They have the number of the job.
    has_job: bool,
    /// What the encoder appends to `file`.
    pub(in crate::engine) run: Vec<u8>,
    file: Vec<u8>,
    destination: Vec<u8>,
    key: Vec<u8>,
}

impl Routing {
    pub(in crate::engine) fn new(routes: Routes) -> Self {
        Routing {
            has_job: routes.has_job(),
            routes,
            run: Vec::new(),
            file: Vec::new(),
            destination: Vec::new(),
            key: Vec::new(),
        }
    }

    /// The records that follow in this batch are of this file.
    pub(super) fn begin<S: Sink>(
        &mut self,
        files: &Registry,
        inputs: &Inputs,
        jobs: &mut Jobs,
        (id, path): (SlotId, &[u8]),
        outbox: &mut Outbox<S>,
    ) {
        let slot = files.get(id);
        let identity = files.file_id(id).expect("only identified files are read");
        self.file.clear();
        push_file(identity.device, identity.inode, slot.generation, &mut self.file);
        self.file.extend_from_slice(&self.run);
        let fields = Fields {
            host: self.routes.host.as_bytes(),
            path,
            file: &self.file,
            job: if self.has_job { jobs.id(files, inputs, (id, path)) } else { b"" },
            labels: &inputs.get(slot.input).label_pairs,
        };
        self.destination.clear();
        self.routes.destination.expand(&fields, &mut self.destination);
        self.key.clear();
        self.routes.key.expand(&fields, &mut self.key);
        let Routing { file, destination, key, .. } = self;
        outbox.begin_origin(&Origin { file, path, destination, key });
    }
}
