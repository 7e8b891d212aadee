//! A broker with transactions, as Kafka has them: a coordinator that outlives its clients, and a
//! client that loses it.
//!
//! In: records, commits. Out: all records of a commit, or none; the number of the last one.
//! Always holds: a new client fences the former one, aborts what it left open, and completes what
//! it was committing.

use std::time::Duration;

use manytail::testing::sink::{
    Decided, IsStored, Known, Number, Records, Sent, Unsettled, Verdict, decide,
};

use crate::broker::Common;
use crate::mutants::Mutant;

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A new client is made: it has the coordinator's answer at this time.
    Recovering(Duration),
    Ready,
    /// A commit is under way.
    Committing(Number),
}

#[derive(Debug)]
pub(crate) struct Transactions {
    // The coordinator.
    epoch: u64,
    /// Records of the open transaction, and when each arrives.
    open: Vec<(Duration, Vec<u8>)>,
    /// A commit that was decided and is completed by the next client.
    pending: Option<(Vec<Vec<u8>>, u64, u64)>,
    number: u64,
    /// The last commit, also if its number was not to be kept.
    attempt: u64,
    /// The last commit was a twin's: nobody else may commit under this name.
    is_ahead: bool,
    /// How often a client gave up for that.
    pub(super) refusals: u32,
    // The client.
    client_epoch: u64,
    state: State,
    /// It was connected before.
    is_within_run: bool,
    /// The engine waits for a verdict.
    is_asked: bool,
    previous: u64,
    last: u64,
    doubt: Option<Number>,
    /// Bytes that were taken since the last commit.
    accepted: u64,
    pub(crate) mutant: Mutant,
}

impl Default for Transactions {
    fn default() -> Self {
        Transactions {
            epoch: 0,
            open: Vec::new(),
            pending: None,
            number: 0,
            attempt: 0,
            is_ahead: false,
            refusals: 0,
            client_epoch: 0,
            state: State::Recovering(Duration::ZERO),
            is_within_run: false,
            is_asked: false,
            previous: 0,
            last: 0,
            doubt: None,
            accepted: 0,
            mutant: Mutant::None,
        }
    }
}

/// What the engine has to do about a commit.
pub(crate) enum Settling {
    Acknowledged,
    Wait,
    Lost,
    Commit(Number),
}

impl Transactions {
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty() && self.pending.is_none() && self.accepted == 0
    }

    pub(super) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    /// The next client has a name of its own.
    pub(super) fn renamed(&mut self) {
        (self.number, self.attempt) = (0, 0);
        (self.is_ahead, self.refusals) = (false, 0);
    }

    pub(super) fn uncommitted(&self) -> usize {
        self.open.len()
    }

    /// The client's process is gone; the coordinator is not. A commit that it decided, and no
    /// journal has, is completed at once: no later client waits for it.
    pub(super) fn crashed(&mut self, common: &mut Common) {
        if self.pending.as_ref().is_some_and(|&(_, number, _)| number == self.number) {
            self.complete(common);
        }
        self.state = State::Ready;
        self.accepted = 0;
    }

    pub(super) fn begin(&mut self, common: &mut Common, known: &Known) {
        (self.previous, self.last, self.doubt) = (known.number, known.number_last, known.doubt);
        self.accepted = 0;
        self.is_asked = false;
        self.is_within_run = false;
        self.state = State::Recovering(common.begins());
    }

    /// A new client has the coordinator's answer.
    fn recovered(&mut self, common: &mut Common) -> Result<Decided, String> {
        self.epoch += 1;
        self.client_epoch = self.epoch;
        self.open.clear();
        self.complete(common);
        self.state = State::Ready;
        let doubt = self.doubt.take();
        let decided = match (self.mutant, doubt) {
            (Mutant::DoubtDropped, _) => Ok(Decided::NotMade),
            (Mutant::TwinIgnored, _) if self.is_ahead => Ok(Decided::NotMade),
            // Within a run the last attempt tells, also if the journal does not know it.
            (_, Some(doubt)) if self.is_within_run && doubt.this == self.attempt => {
                Ok(Decided::Made)
            }
            (_, doubt) => decide(self.number, self.previous, doubt),
        };
        if let (Ok(Decided::Made), Some(doubt)) = (&decided, doubt) {
            // As in a client: `settled` has to follow.
            self.state = State::Committing(doubt);
        }
        self.is_within_run = true;
        decided.map_err(|mismatch| mismatch.to_string())
    }

    /// Completes what was being committed.
    fn complete(&mut self, common: &mut Common) {
        if let Some((records, number, attempt)) = self.pending.take() {
            self.publish(common, records, number);
            (self.number, self.attempt) = (number, attempt);
        }
    }

    /// `number`: what the coordinator keeps of the commit; the one before, if no journal has it.
    fn publish(&self, common: &mut Common, records: Vec<Vec<u8>>, number: u64) {
        if number == self.number {
            common.publish_unstored(records);
        } else {
            common.publish(records);
        }
    }

    fn lost(&mut self, common: &mut Common, doubt: Option<Number>) {
        common.recoveries += 1;
        self.doubt = doubt;
        self.state = State::Recovering(common.begins());
    }

    pub(super) fn send(
        &mut self,
        common: &mut Common,
        records: Records<'_>,
        is_blocked: bool,
    ) -> Result<Sent, String> {
        match self.state {
            State::Recovering(until) if common.now < until => return Ok(Sent::Blocked),
            State::Recovering(_) => {
                // A commit in doubt is decided by a verdict, before anything is offered.
                match self.recovered(common)? {
                    Decided::NotMade | Decided::Lost => {}
                    Decided::Made => return Err("a commit was decided unasked".to_owned()),
                }
                let unacknowledged = std::mem::take(&mut self.accepted);
                if unacknowledged > 0 {
                    return Ok(Sent::Restarted { unacknowledged });
                }
            }
            State::Committing(_) => return Err("records are offered during a commit".to_owned()),
            State::Ready => {}
        }
        if records.bytes.is_empty() {
            return Ok(Sent::Accepted(0));
        }
        if is_blocked {
            return Ok(Sent::Blocked);
        }
        if common.happens(|rates| rates.lost) {
            self.lost(common, None);
            return Ok(Sent::Blocked);
        }
        let mut bytes = 0;
        for (record, len) in common.taken(records) {
            let due = common.begins();
            self.open.push((due, record));
            bytes += len;
        }
        self.accepted += bytes as u64;
        Ok(Sent::Accepted(bytes))
    }

    pub(super) fn unacknowledged(&self) -> u64 {
        self.accepted
    }

    pub(super) fn verdict(&mut self, common: &mut Common) -> Result<Option<Verdict>, String> {
        if let State::Committing(number) = self.state {
            self.lost(common, Some(number));
        }
        let State::Recovering(until) = self.state else {
            return Err("a verdict was asked for though nothing was lost".to_owned());
        };
        // Without a doubt, a start does not wait for the broker.
        let is_start = self.accepted == 0 && self.doubt.is_none() && !self.is_asked;
        if is_start {
            return Ok(Some(Verdict::NotMade));
        }
        if common.now < until {
            return Ok(None);
        }
        self.is_asked = false;
        Ok(Some(match self.recovered(common)? {
            // `settled` follows.
            Decided::Made => Verdict::Made,
            Decided::NotMade | Decided::Lost => {
                self.accepted = 0;
                Verdict::NotMade
            }
        }))
    }

    pub(crate) fn settle(&mut self, common: &mut Common) -> Settling {
        if matches!(self.state, State::Recovering(_)) && self.accepted > 0 {
            self.is_asked = true;
            return Settling::Lost;
        }
        if self.accepted == 0 {
            return Settling::Acknowledged;
        }
        let is_complete = self.open.iter().all(|(due, _)| *due <= common.now);
        if !is_complete && self.mutant != Mutant::CommittedBeforeReport {
            return Settling::Wait;
        }
        let number = Number::next(self.previous, self.last, common.random.below(1 << 20) as u64);
        self.last = number.this;
        self.state = State::Committing(number);
        Settling::Commit(number)
    }

    /// On the thread that stores offsets.
    pub(crate) fn commit(
        &mut self,
        common: &mut Common,
        number: Number,
        is_stored: IsStored,
    ) -> Result<(), Unsettled> {
        let unsettled = |why: &str| Err(Unsettled(why.to_owned()));
        let ending =
            if common.happens(|rates| rates.unsettled) { common.random.below(4) } else { 9 };
        if ending == 0 {
            return unsettled("the coordinator was not reached");
        }
        if ending == 1 {
            // Another client with our name.
            self.epoch += 1;
            self.open.clear();
        }
        // What is in doubt is this commit alone: whoever settles repeats nothing else.
        if is_stored == IsStored::Yes && common.happens(|rates| rates.twin) {
            self.twin_commits(common, number);
        }
        if self.client_epoch != self.epoch {
            return unsettled("fenced");
        }
        let arrived = |(due, record): (Duration, Vec<u8>)| (due <= common.now).then_some(record);
        let records: Vec<Vec<u8>> = self.open.drain(..).filter_map(arrived).collect();
        let attempt = number.this;
        let number = if is_stored == IsStored::Yes { number.this } else { self.number };
        if ending == 2 {
            self.pending = Some((records, number, attempt));
            return unsettled("no answer yet");
        }
        if self.is_ahead {
            common.wrong = Some("a commit was made beside a twin's");
        }
        self.publish(common, records, number);
        (self.number, self.attempt) = (number, attempt);
        if ending == 3 { unsettled("the answer was lost") } else { Ok(()) }
    }

    /// Another process has the state directory as it is now, or was before this commit, and makes
    /// the next one. Its readers are not ours.
    fn twin_commits(&mut self, common: &mut Common, number: Number) {
        let last = *common.random.pick(&[number.previous, number.this]);
        let random = common.random.below(1 << 20) as u64;
        self.epoch += 1;
        self.open.clear();
        self.number = Number::next(self.number, last, random).this;
        self.attempt = self.number;
        self.is_ahead = true;
        common.twins += 1;
    }

    pub(crate) fn settled(&mut self, is_stored: IsStored) {
        if let State::Committing(number) = self.state
            && is_stored == IsStored::Yes
        {
            self.previous = number.this;
        }
        self.state = State::Ready;
        self.accepted = 0;
    }
}
