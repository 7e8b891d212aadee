//! A broker that stores a stream, as NATS JetStream does: batches that are stored whole or not at
//! all, only behind the record that the sender expects to be the last of its subjects.
//!
//! In: records. Out: the same, numbered, between those of other senders.
//! Always holds: a batch may arrive, and its answer may come, at any later time, also after the end
//! of the process that sent it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use manytail::testing::checkpoint::record_parser::{GenerationKey, Progress, parse_json};
use manytail::testing::sink::{Known, Records, Sent, Verdict};

use crate::broker::Common;
use crate::mutants::Mutant;

/// After this long without an answer, the stream is asked.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Most records of a batch.
const BATCH_MAX: usize = 20;

/// Which attempt it was: the run, and a count in it.
type BatchId = (u64, u64);

/// A batch on its way.
#[derive(Debug, Clone)]
struct Batch {
    id: BatchId,
    records: Vec<Vec<u8>>,
    expected: u64,
    arrives: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    // The servers.
    /// By sequence; those of other senders are not here.
    stored: BTreeMap<u64, (Vec<u8>, BatchId)>,
    last: u64,
    on_the_way: Vec<Batch>,
    // The client.
    run: u64,
    batches: u64,
    /// When it is connected; `None`: it is.
    connected_at: Option<Duration>,
    /// What the journal says, until the verdict.
    known: Option<Option<u64>>,
    end: u64,
    /// No batch of this run was stored yet.
    is_first: bool,
    /// Taken and not under way: records and their bytes.
    waiting: VecDeque<(Vec<u8>, usize)>,
    /// Under way: the number of records, their bytes, when the answer or the time-out comes.
    under_way: Option<(usize, usize, Duration)>,
    sent: VecDeque<(Vec<u8>, usize)>,
    accepted: u64,
    acknowledged: u64,
    /// Ends of stored batches, and the sequence there.
    points: VecDeque<(u64, u64)>,
    failure: Option<String>,
    pub(crate) mutant: Mutant,
}

impl Stream {
    /// Whether all that was taken is stored.
    pub(super) fn is_settled(&self) -> bool {
        self.is_idle() && self.under_way.is_none()
    }

    /// Nothing waits to be sent.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    pub(super) fn records_upto(&self, sequence: u64) -> u64 {
        self.stored.range(..=sequence).count() as u64
    }

    pub(super) fn crashed(&mut self, common: &mut Common, may_be_late: bool) {
        if !may_be_late {
            self.on_the_way.iter_mut().for_each(|batch| batch.arrives = common.now);
        }
        self.arrive(common);
        self.waiting.clear();
        self.sent.clear();
        self.under_way = None;
        self.failure = None;
    }

    fn end_of_ours(&self) -> u64 {
        self.stored.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    /// Stores what has arrived by now.
    fn arrive(&mut self, common: &mut Common) {
        let now = common.now;
        while let Some(at) = self
            .on_the_way
            .iter()
            .enumerate()
            .filter(|(_, batch)| batch.arrives <= now)
            .min_by_key(|(_, batch)| batch.arrives)
            .map(|(at, _)| at)
        {
            let batch = self.on_the_way.remove(at);
            if batch.expected != self.end_of_ours() {
                continue;
            }
            for record in batch.records {
                // Others write, too.
                self.last += 1 + common.random.below(3) as u64;
                self.stored.insert(self.last, (record.clone(), batch.id));
                common.publish([record]);
            }
        }
    }

    pub(super) fn begin(&mut self, common: &mut Common, known: &Known) {
        self.run += 1;
        self.batches = 0;
        self.is_first = true;
        self.waiting.clear();
        self.sent.clear();
        (self.accepted, self.acknowledged, self.under_way) = (0, 0, None);
        self.known = Some(known.sequence);
        self.connected_at = Some(common.begins());
    }

    pub(super) fn verdict(&mut self, common: &mut Common) -> Option<Verdict> {
        if self.connected_at.is_some_and(|at| common.now < at) {
            return None;
        }
        self.connected_at = None;
        self.arrive(common);
        self.end = self.end_of_ours();
        self.points = VecDeque::from([(0, self.end)]);
        let Some(known) = self.known.take().expect("a verdict is asked for once") else {
            return Some(Verdict::NotMade);
        };
        let mut generations: HashMap<GenerationKey, Progress> = HashMap::new();
        if self.mutant != Mutant::TailIgnored {
            for (record, _) in self.stored.range(known + 1..).map(|(_, record)| record) {
                let (generation, line) = parse_json(record).expect("a record of ours");
                generations.entry(generation).or_default().add(&line);
            }
        }
        if generations.is_empty() {
            return Some(Verdict::NotMade);
        }
        Some(Verdict::Beyond(generations.into_iter().collect()))
    }

    /// Looks at what became of the batch under way, and sends the next one.
    fn advance(&mut self, common: &mut Common) {
        self.arrive(common);
        if let Some((count, bytes, due)) = self.under_way
            && due <= common.now
        {
            let last = self.stored.last_key_value();
            let ours = last.filter(|(_, (_, id))| *id == (self.run, self.batches));
            if let Some((&sequence, _)) = ours {
                self.is_first = false;
                self.end = sequence;
                self.acknowledged += bytes as u64;
                self.points.push_back((self.acknowledged, sequence));
                self.sent.drain(..count);
            } else {
                common.recoveries += 1;
                self.end = last.map_or(0, |(sequence, _)| *sequence);
                if let Some((_, (_, id))) = last
                    && self.is_first
                    && id.0 != self.run
                    && self.points.back().is_some_and(|(_, sequence)| *sequence != self.end)
                {
                    self.failure = Some("a batch of a former process arrived late".to_owned());
                }
            }
            self.under_way = None;
        }
        if self.under_way.is_none() && self.failure.is_none() && !self.is_idle() {
            // What was not stored is sent again as it was: either attempt may still arrive.
            if self.sent.is_empty() {
                self.batches += 1;
                let count = self.waiting.len().min(BATCH_MAX);
                self.sent.extend(self.waiting.drain(..count));
            }
            let count = self.sent.len();
            let bytes = self.sent.iter().map(|(_, len)| len).sum();
            let travel = common.delay();
            let is_lost = common.happens(|rates| rates.unsettled) && common.random.one_in(2);
            let is_answered = !common.happens(|rates| rates.unsettled);
            if !is_lost {
                self.on_the_way.push(Batch {
                    id: (self.run, self.batches),
                    records: self.sent.iter().map(|(record, _)| record.clone()).collect(),
                    expected: self.end,
                    arrives: common.now + travel,
                });
            }
            let answer = if is_lost || !is_answered { TIMEOUT } else { travel.min(TIMEOUT) };
            common.ready_at(common.now + answer);
            self.under_way = Some((count, bytes, common.now + answer));
        }
    }

    pub(super) fn send(
        &mut self,
        common: &mut Common,
        records: Records<'_>,
        is_blocked: bool,
    ) -> Result<Sent, String> {
        self.advance(common);
        if let Some(why) = &self.failure {
            return Err(why.clone());
        }
        if records.bytes.is_empty() {
            return Ok(Sent::Accepted(0));
        }
        if is_blocked || self.waiting.len() >= BATCH_MAX {
            return Ok(Sent::Blocked);
        }
        let mut bytes = 0;
        for (record, len) in common.taken(records) {
            self.waiting.push_back((record, len));
            bytes += len;
        }
        self.accepted += bytes as u64;
        self.advance(common);
        Ok(Sent::Accepted(bytes))
    }

    pub(super) fn unacknowledged(&mut self, common: &mut Common) -> u64 {
        self.advance(common);
        self.accepted - self.acknowledged
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn sequence(&mut self, common: &mut Common, beyond: u64) -> u64 {
        self.advance(common);
        if self.mutant == Mutant::SequenceAhead {
            // About where it will be once all that was taken is stored.
            return self.end_of_ours() + 2 * (self.waiting.len() + self.sent.len()) as u64;
        }
        let position = self.accepted - beyond;
        while self.points.get(1).is_some_and(|(end, _)| *end <= position) {
            self.points.pop_front();
        }
        self.points.front().expect("there is always one").1
    }
}
