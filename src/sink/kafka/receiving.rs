//! The part of the output in commits: which one holds, and how the next one is made.
//!
//! In: what the journal knows, the engine's questions. Out: numbers, commits, answers.
//! Always holds: a commit is begun only when all that was accepted has arrived. One that failed is
//! decided by the brokers, through the next client.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Group};
use super::failure::{Failure, Kind};
use super::transactions::Has;
use super::{KafkaSink, Link, Mode, Numbers};
use crate::sink::settle::{
    Decided, IsStored, Known, Number, OutputCommit, Settle, Unsettled, Verdict,
};
use crate::sink::{Receiver, SinkError};
use crate::sys::{clock, disk};

/// The library tells a timeout of its own at most so much later.
const LATE: Duration = Duration::from_secs(1);

/// A commit, on the thread that stores offsets.
struct Attempt {
    client: Arc<Client>,
    group: Arc<Group>,
    number: Number,
    is_begun: bool,
    timeout: Duration,
    is_gone: Arc<AtomicBool>,
}

impl Attempt {
    fn make(&self, is_stored: IsStored) -> Result<(), Failure> {
        let deadline = clock::now().instant + self.timeout;
        if !self.is_begun {
            self.client.begin()?;
        }
        let Number { this, previous } = self.number;
        // Also without the number it has to be known whether it was made.
        let number = if is_stored == IsStored::Yes { this } else { previous };
        self.send_number(Has { number, attempt: this })?;
        self.client.commit(deadline, &self.is_gone)
    }

    /// The library may wait without end for the coordinator of the group, whatever the timeout says
    /// (librdkafka issues 5456 and 5511): a thread of its own makes the call, and may be left. What
    /// the call does afterwards is void, because the next client fences this one.
    fn send_number(&self, has: Has) -> Result<(), Failure> {
        let (client, group, timeout) = (self.client.clone(), self.group.clone(), self.timeout);
        let (tell, outcome) = channel();
        let call = move || {
            // Nobody listens if it took too long.
            let _ = tell.send(client.send_number(&group, has, timeout));
        };
        let failed = |why: String| Err(Failure::local(Kind::Delivery, why));
        if let Err(error) = thread::Builder::new().name("kafka-number".to_owned()).spawn(call) {
            return failed(format!("no thread for a commit: {error}"));
        }
        outcome.recv_timeout(timeout + LATE).unwrap_or_else(|_| {
            failed(format!("no answer from the coordinator of the group {}", self.group.name))
        })
    }
}

impl Receiver for KafkaSink {
    fn begin(&mut self, known: &Known) {
        self.properties.identify(String::from_utf8_lossy(&known.identity).into_owned());
        self.mode = Mode::Transactions(Some(Numbers::new(known)));
        self.connect(None);
    }

    fn verdict(&mut self) -> Result<Option<Verdict>, SinkError> {
        let now = clock::now().instant;
        self.serve(now);
        self.check()?;
        if !self.is_asked() {
            self.ask(now);
        }
        let Some(answer) = self.numbers().and_then(Numbers::take_answer) else {
            return Ok(None);
        };
        Ok(Some(match answer {
            Decided::Made => Verdict::Made,
            Decided::NotMade | Decided::Lost => {
                self.is_restart_due = false;
                self.window.restart(true);
                Verdict::NotMade
            }
        }))
    }

    fn has_transactions(&self) -> bool {
        true
    }

    fn settle(&mut self) -> Settle {
        if self.window.bytes() == 0 {
            return Settle::Acknowledged;
        }
        let now = clock::now().instant;
        self.give_up_broken(now);
        let is_restart_due = self.is_restart_due;
        let Link::Up(up) = &self.link else {
            return self.lost();
        };
        if is_restart_due {
            return self.lost();
        }
        let (client, group) = (up.client.clone(), up.group.clone());
        let is_begun = up.is_begun;
        if self.window.in_flight() > 0 {
            self.push_all();
            return Settle::Wait;
        }
        let (Some(group), Mode::Transactions(Some(numbers))) = (group, &mut self.mode) else {
            return Settle::Wait;
        };
        let number = numbers.begin(disk::any_number());
        let attempt = Attempt {
            client,
            group,
            number,
            // Not if all that was accepted was left out.
            is_begun,
            timeout: self.properties.transaction_timeout(),
            is_gone: self.helper.is_gone.clone(),
        };
        let commit = OutputCommit::new(move |is_stored| {
            let result = attempt.make(is_stored);
            attempt.client.wake_with(result.clone().err());
            result.map_err(|failure| Unsettled(failure.why))
        });
        Settle::Transaction { number, commit }
    }

    fn settled(&mut self, is_stored: IsStored) {
        if let Some(numbers) = self.numbers() {
            numbers.settled(is_stored);
        }
        self.window.clear();
        if let Link::Up(up) = &mut self.link {
            up.is_begun = false;
        }
        let now = clock::now().instant;
        match self.broken {
            Some(_) => self.give_up_broken(now),
            None => self.flows(),
        }
    }

    fn sequence(&mut self, _beyond: u64) -> Option<u64> {
        None
    }
}

impl KafkaSink {
    /// The engine asks because a commit failed.
    fn ask(&mut self, now: Instant) {
        if let Some(numbers) = self.numbers() {
            numbers.ask();
        }
        if matches!(self.link, Link::Up(_)) {
            let unknown =
                || Failure::local(Kind::Delivery, "it is not known whether it was made".to_owned());
            let failure = self.broken.take().unwrap_or_else(unknown);
            self.recover(failure, now);
        }
    }

    /// What was accepted has to be offered again.
    fn lost(&mut self) -> Settle {
        let is_connected = matches!(self.link, Link::Up(_));
        self.is_restart_due = false;
        if let Some(numbers) = self.numbers() {
            match is_connected {
                // The brokers were asked already.
                true => numbers.answer_not_made(),
                false => numbers.ask(),
            }
        }
        Settle::Lost
    }
}
