//! A message broker as the output: its servers, which survive every crash, and the client in the
//! engine's process, which does not.
//!
//! In: records with what they are of; the time. Out: records, passed to the model once the broker
//! has stored them for its readers; edges.
//! Always holds: what a client sent and the broker did not store is never seen. Both protocols use
//! the decisions of the product (`decide`, `Number`, `Verdict`), never those of a real client.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use manytail::testing::sink::{Known, Records, Sent, Verdict};

use crate::mutants::Mutant;
use crate::random::Random;
use crate::stream::Stream;
use crate::transactions::Transactions;

/// A start that was refused is tried once more before somebody settles.
const REFUSALS_MAX: u32 = 2;

/// How often each fault comes: once in this many chances, 0 = never.
#[derive(Debug, Clone)]
pub(crate) struct BrokerRates {
    pub(crate) is_stream: bool,
    /// An offer is taken only in part.
    pub(crate) partial: u32,
    /// The client is lost while it sends: another leader, a time-out, another process with its
    /// name.
    pub(crate) lost: u32,
    /// A commit, or a batch, does not come to its end in the ordinary way.
    pub(crate) unsettled: u32,
    /// A process with a copy of the state directory commits instead of this one.
    pub(crate) twin: u32,
    /// How long reports, answers and connections take.
    pub(crate) delays: Vec<Duration>,
}

impl BrokerRates {
    pub(crate) fn draw(random: &mut Random, is_stream: bool) -> Self {
        let millis = Duration::from_millis;
        BrokerRates {
            is_stream,
            partial: *random.pick(&[0, 2, 10]),
            lost: *random.pick(&[0, 0, 30, 6]),
            unsettled: *random.pick(&[0, 0, 10, 2]),
            twin: 0,
            delays: random
                .pick(&[
                    vec![Duration::ZERO],
                    vec![millis(1), millis(4), millis(30)],
                    vec![millis(1), millis(500), millis(20_000)],
                ])
                .clone(),
        }
    }
}

/// What both protocols have.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) random: Random,
    pub(crate) rates: BrokerRates,
    is_active: bool,
    pub(crate) now: Duration,
    /// Takes nothing until then.
    blocked_until: Duration,
    /// When the client makes itself ready.
    edges: BTreeSet<Duration>,
    /// Records that readers see and the model does not yet.
    news: VecDeque<Vec<u8>>,
    /// How many records readers see.
    pub(crate) count: u64,
    /// Which of them came by commits whose offsets could not be stored: by their numbers, from 1.
    pub(crate) unstored: Vec<RangeInclusive<u64>>,
    /// How many of these are of former processes, whose successors may repeat them.
    unstored_before: usize,
    /// How often a client had to recover.
    pub(crate) recoveries: u64,
    /// How often a twin committed.
    pub(crate) twins: u64,
    /// What no client may do was done.
    pub(crate) wrong: Option<&'static str>,
}

impl Common {
    /// Whether a fault with this rate happens now.
    pub(crate) fn happens(&mut self, rate: fn(&BrokerRates) -> u32) -> bool {
        self.is_active && self.random.one_in(rate(&self.rates))
    }

    /// How long something takes.
    pub(crate) fn delay(&mut self) -> Duration {
        if self.is_active { *self.random.pick(&self.rates.delays) } else { Duration::ZERO }
    }

    /// Something that takes as long as any other begins, and the client makes itself ready at its
    /// end, which this returns.
    pub(crate) fn begins(&mut self) -> Duration {
        let end = self.now + self.delay();
        self.ready_at(end);
        end
    }

    /// The client makes itself ready then.
    pub(crate) fn ready_at(&mut self, at: Duration) {
        self.edges.insert(at);
    }

    /// Readers see these records.
    pub(crate) fn publish(&mut self, records: impl IntoIterator<Item = Vec<u8>>) {
        for record in records {
            self.news.push_back(record);
            self.count += 1;
        }
    }

    /// The same, by a commit whose offsets are stored nowhere.
    pub(crate) fn publish_unstored(&mut self, records: impl IntoIterator<Item = Vec<u8>>) {
        let first = self.count + 1;
        self.publish(records);
        self.unstored.push(first..=self.count);
    }

    /// Offsets are stored: those of all that this process committed.
    pub(crate) fn stored(&mut self) {
        self.unstored.truncate(self.unstored_before);
    }

    /// How many of the offered records are taken, at least one.
    pub(crate) fn taken<'a>(&mut self, records: Records<'a>) -> Vec<(Vec<u8>, usize)> {
        let all: Vec<_> =
            records.iter().map(|record| (record.bytes.to_vec(), record.bytes.len() + 1)).collect();
        let count = if self.happens(|rates| rates.partial) {
            self.random.between(1, all.len())
        } else {
            all.len()
        };
        all.into_iter().take(count).collect()
    }
}

#[derive(Debug)]
enum Protocol {
    Transactions(Transactions),
    Stream(Stream),
}

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) common: Common,
    protocol: Protocol,
}

impl Broker {
    pub(crate) fn new(random: Random, rates: BrokerRates) -> Self {
        let protocol = if rates.is_stream {
            Protocol::Stream(Stream::default())
        } else {
            Protocol::Transactions(Transactions::default())
        };
        let common = Common {
            random,
            rates,
            is_active: true,
            now: Duration::ZERO,
            blocked_until: Duration::ZERO,
            edges: BTreeSet::new(),
            news: VecDeque::new(),
            count: 0,
            unstored: Vec::new(),
            unstored_before: 0,
            recoveries: 0,
            twins: 0,
            wrong: None,
        };
        Broker { common, protocol }
    }

    /// The mistakes of this mutant.
    pub(crate) fn mutate(&mut self, mutant: Mutant) {
        match &mut self.protocol {
            Protocol::Transactions(client) => client.mutant = mutant,
            Protocol::Stream(client) => client.mutant = mutant,
        }
    }

    pub(crate) fn behave(&mut self) {
        self.common.is_active = false;
    }

    pub(crate) fn block_until(&mut self, until: Duration) {
        self.common.blocked_until = until;
        self.common.ready_at(until);
    }

    pub(crate) fn next_record(&mut self) -> Option<Vec<u8>> {
        self.common.news.pop_front()
    }

    /// When the client makes itself ready next.
    pub(crate) fn edge_at(&self) -> Option<Duration> {
        self.common.edges.first().copied()
    }

    /// The engine was told.
    pub(crate) fn edge_told(&mut self) {
        let now = self.common.now;
        self.common.edges.retain(|at| *at > now);
    }

    /// Whether the client has brought all that it took to the readers.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.protocol {
            Protocol::Transactions(client) => client.is_settled(),
            Protocol::Stream(client) => client.is_settled(),
        }
    }

    /// How many records readers see, and will see once the commit that begins now is made, or how
    /// many the stream had at this sequence.
    pub(crate) fn records(&self, is_commit: bool, sequence: Option<u64>) -> u64 {
        match &self.protocol {
            Protocol::Transactions(client) if is_commit => {
                self.common.count + client.uncommitted() as u64
            }
            Protocol::Transactions(_) => self.common.count,
            Protocol::Stream(client) => {
                sequence.map_or(self.common.count, |sequence| client.records_upto(sequence))
            }
        }
    }

    /// The process of the client is gone. What it sent may arrive later, or only now.
    pub(crate) fn crashed(&mut self, may_be_late: bool) {
        let Broker { common, protocol } = self;
        match protocol {
            Protocol::Transactions(client) => client.crashed(common),
            Protocol::Stream(client) => client.crashed(common, may_be_late),
        }
        common.unstored_before = common.unstored.len();
    }

    pub(crate) fn has_transactions(&self) -> bool {
        matches!(self.protocol, Protocol::Transactions(_))
    }

    /// Whether the client had to give up: a twin committed, or a batch of a former process arrived
    /// after the stream was read.
    pub(crate) fn has_given_up(&self) -> bool {
        match &self.protocol {
            Protocol::Transactions(client) => client.is_ahead(),
            Protocol::Stream(client) => client.has_failed(),
        }
    }

    /// The engine gave up, too.
    pub(crate) fn refused(&mut self) {
        if let Protocol::Transactions(client) = &mut self.protocol {
            client.refusals += 1;
        }
    }

    /// Whether the engine gave up in two lives: somebody has to settle.
    pub(crate) fn is_refusing(&self) -> bool {
        matches!(&self.protocol, Protocol::Transactions(client) if client.refusals >= REFUSALS_MAX)
    }

    /// The state directory has another name now.
    pub(crate) fn renamed(&mut self) {
        if let Protocol::Transactions(client) = &mut self.protocol {
            client.renamed();
        }
    }

    // ---- calls of the engine ----

    pub(crate) fn send(&mut self, records: Records<'_>) -> Result<Sent, String> {
        let Broker { common, protocol } = self;
        let is_blocked = common.now < common.blocked_until;
        match protocol {
            Protocol::Transactions(client) => client.send(common, records, is_blocked),
            Protocol::Stream(client) => client.send(common, records, is_blocked),
        }
    }

    pub(crate) fn unacknowledged(&mut self) -> u64 {
        let Broker { common, protocol } = self;
        match protocol {
            Protocol::Transactions(client) => client.unacknowledged(),
            Protocol::Stream(client) => client.unacknowledged(common),
        }
    }

    pub(crate) fn begin(&mut self, known: &Known) {
        let Broker { common, protocol } = self;
        match protocol {
            Protocol::Transactions(client) => client.begin(common, known),
            Protocol::Stream(client) => client.begin(common, known),
        }
    }

    pub(crate) fn verdict(&mut self) -> Result<Option<Verdict>, String> {
        let Broker { common, protocol } = self;
        match protocol {
            Protocol::Transactions(client) => client.verdict(common),
            Protocol::Stream(client) => Ok(client.verdict(common)),
        }
    }

    /// What a commit has to do with it; a transaction has a number alone: see [`Broker::commit`].
    pub(crate) fn transactions(&mut self) -> Option<(&mut Transactions, &mut Common)> {
        let Broker { common, protocol } = self;
        match protocol {
            Protocol::Transactions(client) => Some((client, common)),
            Protocol::Stream(_) => None,
        }
    }

    pub(crate) fn sequence(&mut self, beyond: u64) -> Option<u64> {
        let Broker { common, protocol } = self;
        match protocol {
            Protocol::Transactions(_) => None,
            Protocol::Stream(client) => Some(client.sequence(common, beyond)),
        }
    }
}
