//! What belongs to an input, and what to a job.
//!
//! In: an input, or the number of a job. Out: counts; the status of each file whose name says that
//! it is of this job.
//! Always holds: the cost of a part is bounded, whatever the number of files; nothing is stored per
//! file for it.

use std::collections::BTreeMap;

use crate::config::{ID, JobPattern};
use crate::engine::Engine;
use crate::engine::namespace::inputs::Input;
use crate::engine::namespace::registry::{FileSlot, Life, SlotId};
use crate::engine::observer::paths::path_of;
use crate::sink::Sink;
use crate::status::file::{FileStatus, JobPage, shown};
use crate::status::{FilesOfInputs, InputStatus};
use crate::sys::FileSystem;
use crate::sys::clock::Now;

/// Slots that a part of a count looks through: a fraction of a millisecond.
const PLACES_PER_PART: u64 = 64 * 1024;

/// Names that a part compares with a pattern: about a millisecond.
const NAMES_PER_PART: usize = 2048;

/// Files that a part tells about; each takes a look.
const FILES_PER_PART: usize = 64;

/// Whether the file counts as one of its input.
fn is_followed(slot: &FileSlot) -> bool {
    slot.is_bound() && matches!(slot.life(), Life::Named | Life::Following)
}

/// Whether the names of the files of an input tell the number of their job.
fn tells_number(input: &Input) -> Option<&JobPattern> {
    input.job.pattern.as_ref().filter(|pattern| pattern.names().any(|name| name == ID))
}

impl<F: FileSystem, S: Sink> Engine<F, S> {
    /// The inputs in the order of the settings.
    pub(super) fn input_statuses(&self) -> Vec<InputStatus> {
        let inputs = &self.coverage.inputs;
        let status = |(id, has_had_files)| {
            let input = inputs.get(id);
            let (records, bytes) = input.counts();
            InputStatus {
                paths: input.paths().iter().map(|path| shown(path)).collect(),
                has_had_files,
                files: None,
                records,
                bytes,
            }
        };
        inputs.accepted().into_iter().map(status).collect()
    }

    /// Counts some of the files. `cursor`: [`FilesOfInputs::next`] of the part before, 0 at first.
    pub fn count_files(&self, cursor: u64) -> FilesOfInputs {
        let inputs = &self.coverage.inputs;
        let mut files = vec![0; inputs.accepted().len()];
        let places = self.files.places() as u64;
        let end = places.min(cursor.saturating_add(PLACES_PER_PART));
        for place in cursor..end {
            let slot = self.files.get(SlotId(u32::try_from(place).expect("fewer than 2^32 slots")));
            if is_followed(slot)
                && let Some(rank) = inputs.get(slot.input).rank()
            {
                files[rank] += 1;
            }
        }
        FilesOfInputs { files, next: (end < places).then_some(end) }
    }

    /// Tells about some of the files of a job: those whose names say that `number` is its `id`.
    /// `cursor`: [`JobPage::next`] of the part before, 0 at first.
    pub fn files_of_job(&mut self, number: &[u8], cursor: u64, now: Now) -> JobPage {
        let is_told = self
            .coverage
            .inputs
            .accepted()
            .iter()
            .any(|&(id, _)| tells_number(self.coverage.inputs.get(id)).is_some());
        let mut page = JobPage { is_told, ..JobPage::default() };
        if !is_told {
            return page;
        }
        let places = self.files.places() as u64;
        let end = places.min(cursor.saturating_add(PLACES_PER_PART));
        let (mut at, mut names) = (cursor, 0);
        while at < end && names < NAMES_PER_PART && page.files.len() < FILES_PER_PART {
            let id = SlotId(u32::try_from(at).expect("fewer than 2^32 slots"));
            at += 1;
            let Some(path) = self.path_with_number(id) else { continue };
            names += 1;
            if self
                .job_of(id, &path)
                .is_some_and(|job| job.get(ID).map(String::as_bytes) == Some(number))
            {
                let target = self.stat_name(id).map(|(found, _)| found);
                page.files.push(self.explain_known(id, &path, target, now));
            }
        }
        page.next = (at < places).then_some(at);
        page
    }

    /// The path of a file that is followed and whose name may tell the number of its job.
    fn path_with_number(&self, id: SlotId) -> Option<Vec<u8>> {
        let slot = self.files.get(id);
        (is_followed(slot) && tells_number(self.coverage.inputs.get(slot.input)).is_some())
            .then(|| path_of(&self.files, &self.tree, id))
            .flatten()
    }

    /// The fields of the job that the name of a file tells. `None`: no pattern matches it.
    fn job_of(&self, id: SlotId, path: &[u8]) -> Option<BTreeMap<String, String>> {
        let input = self.files.get(id).input;
        let inputs = &self.coverage.inputs;
        let pattern = inputs.get(input).job.pattern.as_ref()?;
        let text = inputs.text_for_job(input, pattern, path);
        pattern.all_fields(text)
    }

    /// Adds what the input of the file tells of it.
    pub(super) fn add_input(&self, id: SlotId, path: &[u8], status: FileStatus) -> FileStatus {
        let input = self.coverage.inputs.get(self.files.get(id).input);
        FileStatus {
            input: input.rank().map(|rank| rank + 1),
            labels: input.label_pairs.iter().cloned().collect(),
            job: self.job_of(id, path),
            ..status
        }
    }
}
