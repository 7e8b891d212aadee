//! What the records of one file have in common at one time.
//!
//! In: a file as it is when it is read. Out: the encoder knows its path, identity, labels and job.
//! Always holds: a name that the pattern of its input does not match is noted.

use std::time::SystemTime;

use crate::engine::namespace::inputs::Inputs;
use crate::engine::namespace::registry::{Registry, SlotId};
use crate::engine::reading::jobs::Jobs;
use crate::record::{Encoder, Source};

/// The records that follow are of this file. `owner`: if that is known.
pub(super) fn begin_source(
    (encoder, jobs): (&mut Encoder, &mut Jobs),
    files: &Registry,
    inputs: &mut Inputs,
    (id, path, owner): (SlotId, &[u8], Option<u32>),
    read_at: SystemTime,
) {
    let file = files.file_id(id).expect("only identified files are read");
    let slot = files.get(id);
    let has_job = inputs.get(slot.input).tells_job;
    if has_job && !jobs.begin(files, inputs, (id, path), owner) {
        inputs.note_job_mismatch(slot.input, path);
    }
    encoder.begin(&Source {
        path,
        device: file.device,
        inode: file.inode,
        generation: slot.generation,
        labels: &inputs.get(slot.input).labels,
        job: if has_job { jobs.member() } else { b"" },
        read_at,
    });
}
