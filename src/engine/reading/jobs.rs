//! The fields of a job: what the name of a log and its owner tell about it.
//!
//! In: a file as it is when it is read. Out: the member `job` of its records, and the job's number
//! for templates.
//! Always holds: at most [`KNOWN`] names are remembered. A name that was read a moment ago, and is
//! the same, is not searched again.

use regex::bytes::CaptureLocations;

use crate::config::{ID, JobPattern};
use crate::engine::namespace::inputs::{InputId, Inputs};
use crate::engine::namespace::registry::{Registry, SlotId, SlotKey};
use crate::record::{push_job_field, push_job_owner};

/// How many names are remembered: about as many as files are kept open after a read.
const KNOWN: usize = 256;

/// The fields of the file at hand.
#[derive(Debug, Default)]
pub(in crate::engine) struct Jobs {
    /// By the number of the slot; empty until a pattern is used.
    known: Vec<Known>,
    /// Room for the groups of the pattern that was used last, and of which input that is.
    locations: Option<(InputId, u32, CaptureLocations)>,
    /// The member `job`, with the comma before it; may be empty.
    member: Vec<u8>,
}

/// The fields of one name.
#[derive(Debug, Clone, Default)]
struct Known {
    /// For which file, under which settings; `None`: nothing is here.
    of: Option<(SlotKey, InputId, u32)>,
    path: Vec<u8>,
    /// The members of `job` that the name gives, without the brace at the end.
    members: Vec<u8>,
    /// The group `id`.
    id: Vec<u8>,
    is_match: bool,
}

impl Jobs {
    /// Sets the fields for the file. Returns whether its name matches the pattern of its input, if
    /// that has one.
    pub(super) fn begin(
        &mut self,
        files: &Registry,
        inputs: &Inputs,
        (id, path): (SlotId, &[u8]),
        owner: Option<u32>,
    ) -> bool {
        let input = inputs.get(files.get(id).input);
        self.member.clear();
        let mut is_match = true;
        if let Some(pattern) = &input.job.pattern {
            let known = self.known(files, inputs, (id, path), pattern);
            is_match = known.is_match;
            let at = place(id);
            self.member.extend_from_slice(&self.known[at].members);
        }
        if let Some(owner) = owner.filter(|_| input.job.uid) {
            push_job_owner(owner, &mut self.member);
        }
        if !self.member.is_empty() {
            self.member.push(b'}');
        }
        is_match
    }

    /// The member `job` of the file that began last.
    pub(super) fn member(&self) -> &[u8] {
        &self.member
    }

    /// The number of the job whose log this file is; empty if its name does not tell.
    pub(super) fn id(&mut self, files: &Registry, inputs: &Inputs, file: (SlotId, &[u8])) -> &[u8] {
        match &inputs.get(files.get(file.0).input).job.pattern {
            Some(pattern) => &self.known(files, inputs, file, pattern).id,
            None => b"",
        }
    }

    fn known(
        &mut self,
        files: &Registry,
        inputs: &Inputs,
        (id, path): (SlotId, &[u8]),
        pattern: &JobPattern,
    ) -> &Known {
        if self.known.is_empty() {
            self.known.resize(KNOWN, Known::default());
        }
        let input = files.get(id).input;
        let of = Some((files.key(id), input, inputs.version()));
        let known = &mut self.known[place(id)];
        if known.of != of || known.path != path {
            known.of = of;
            known.path.clear();
            known.path.extend_from_slice(path);
            let text = inputs.text_for_job(input, pattern, path);
            let version = inputs.version();
            let (_, _, locations) = match &mut self.locations {
                Some(last) if (last.0, last.1) == (input, version) => last,
                other => other.insert((input, version, pattern.locations())),
            };
            known.search(pattern, text, locations);
        }
        known
    }
}

impl Known {
    fn search(&mut self, pattern: &JobPattern, text: &[u8], locations: &mut CaptureLocations) {
        self.members.clear();
        self.id.clear();
        let Known { members, id, .. } = self;
        self.is_match = pattern.fields(text, locations, |name, value| {
            push_job_field(name, value, members);
            if name == ID {
                id.extend_from_slice(value.as_bytes());
            }
        });
    }
}

fn place(id: SlotId) -> usize {
    id.0 as usize % KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Binary, CarriageReturn, EndRules, Filters, Format, InputConfig, JobRules, StartAt,
    };
    use crate::engine::namespace::tree::DirId;
    use crate::patterns::Patterns;

    fn input(pattern: &str, uid: bool) -> InputConfig {
        InputConfig {
            paths: vec![b"/t".to_vec()],
            patterns: Patterns::new(&[], &[], true).expect("no glob"),
            from: StartAt::Beginning,
            binary: Binary::Deliver,
            carriage_return: CarriageReturn::Data,
            multiline: None,
            filters: Filters::default(),
            ends: EndRules::default(),
            job: JobRules { pattern: Some(JobPattern::parse(pattern).expect("a pattern")), uid },
            labels: Vec::new(),
        }
    }

    #[test]
    fn a_name_is_searched_again_only_if_it_or_the_settings_changed() {
        let (mut files, mut inputs) = (Registry::new(), Inputs::new(Format::Json));
        let first = inputs.replace(vec![input(r"(?P<id>\d+)", true)], |_| Vec::new(), true)[0].0;
        let id = files.insert(DirId(0), b"1.log");
        files.get_mut(id).input = first;
        let mut jobs = Jobs::default();
        let begin = |jobs: &mut Jobs, inputs: &Inputs, path: &[u8]| {
            let is_match = jobs.begin(&files, inputs, (id, path), Some(7));
            (is_match, String::from_utf8(jobs.member().to_vec()).expect("UTF-8"))
        };
        let member = |text: &str| (true, format!(",\"job\":{{{text},\"uid\":7}}"));
        assert_eq!(begin(&mut jobs, &inputs, b"/t/1.log"), member("\"id\":\"1\""));
        jobs.known[place(id)].members = b",\"job\":{\"known\":\"\"".to_vec();
        assert_eq!(begin(&mut jobs, &inputs, b"/t/1.log"), member("\"known\":\"\""));
        assert_eq!(begin(&mut jobs, &inputs, b"/t/2.log"), member("\"id\":\"2\""));
        let known = |_: &[u8]| vec![first];
        inputs.replace(vec![input(r"^t?/?(?P<name>[a-z]+)", true)], known, true);
        assert_eq!(begin(&mut jobs, &inputs, b"/t/2.log"), (false, ",\"job\":{\"uid\":7}".into()));
        assert_eq!(begin(&mut jobs, &inputs, b"/t/run/2.log"), member("\"name\":\"run\""));
    }
}
