//! What the library and the helper report, and what follows from it.
//!
//! In: events, the time. Out: the state of the sink; the next client when one is lost.
//! Always holds: while a commit is under way its client is kept, whatever is heard of it: the
//! commit tells how it ends. A broker with a quota only answers later: that is a remark, and no
//! failure.

use std::io;
use std::time::{Duration, Instant};

use super::client::Heard;
use super::failure::{Failure, Kind, is_about_size, is_refusal, who};
use super::helper::{Order, Outcome};
use super::transactions::Has;
use super::window::Fate;
use super::{HELD_BACK, HELD_BACK_QUIET, KafkaSink, LOCKED_OUT, Link, Mode, Quota, STALLED, Up};

/// A batch that was refused for its size is followed by ones that are so many times smaller.
const SMALLER: u32 = 4;

impl KafkaSink {
    /// Takes what waits.
    pub(super) fn serve(&mut self, now: Instant) {
        // It fails only when there was nothing.
        let _ = self.wake.read();
        while let Ok(outcome) = self.helper.outcomes.try_recv() {
            self.learn(outcome, now);
        }
        if let Link::Up(up) = &self.link {
            let heard = up.client.hear(std::mem::take(&mut self.spare));
            let batch_bytes = up.batch_bytes;
            self.hear(heard, batch_bytes, now);
        }
    }

    /// Something may be due.
    pub(super) fn look_at_the_time(&mut self, now: Instant) {
        self.push(now);
        let Link::Up(up) = &self.link else {
            return;
        };
        if self.refused_until.is_some_and(|until| now >= until) {
            self.refused_until = None;
            self.window.forgive();
        }
        if self.waiting_since.is_some_and(|since| now >= since + STALLED) {
            let topic = self.properties.names.topic.clone();
            self.helper.diagnose(up.client.clone(), topic);
            self.waiting_since = Some(now);
        }
        let is_locked_out = self.locked_out_since.is_some_and(|since| now >= since + LOCKED_OUT);
        if is_locked_out && !self.is_committing() {
            self.connect_again(now);
        }
    }

    /// Wants a client, not earlier than then.
    pub(super) fn connect(&mut self, not_before: Option<Instant>) {
        self.helper.connect(Order { properties: self.properties.clone(), not_before });
        self.link = Link::Connecting;
    }

    /// Gives the client up. The next one comes after a pause.
    pub(super) fn connect_again(&mut self, now: Instant) {
        self.outage.backoff.wait(now);
        let not_before = self.outage.backoff.deadline();
        if let Link::Up(up) = std::mem::replace(&mut self.link, Link::Down) {
            self.helper.retire(up.client);
        }
        self.window.give_up();
        (self.broken, self.is_fatal) = (None, false);
        (self.waiting_since, self.locked_out_since) = (None, None);
        self.connect(not_before);
    }

    /// The same, because something failed: that is said.
    pub(super) fn recover(&mut self, failure: Failure, now: Instant) {
        self.say(&failure, now);
        self.is_suspect |= failure.kind == Kind::Delivery;
        self.connect_again(now);
    }

    pub(super) fn say(&mut self, failure: &Failure, now: Instant) {
        self.outage.failed(now, failure.what(), io::Error::other(failure.why.clone()));
    }

    /// Records flow: what was wrong is over.
    pub(super) fn flows(&mut self) {
        if self.outage.is_over() || !self.window.has_refused() {
            self.outage.ended();
            self.outage.backoff.reset();
            self.is_suspect = false;
        }
    }

    fn learn(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Failed(failure) => self.say(&failure, now),
            Outcome::Diagnosis(why) => {
                if self.waiting_since.is_some() {
                    let what = "no broker confirms records";
                    self.outage.failed(now, what, io::Error::other(why));
                }
            }
            Outcome::Connected { client, batch_bytes, commits } => {
                let (group, has) = commits.unzip();
                self.link = Link::Up(Up { client, batch_bytes, group, is_begun: false });
                if let Some(has) = has
                    && !self.is_ours(has)
                {
                    self.give_up();
                    return;
                }
                self.is_restart_due = self.window.bytes() > 0 && !self.is_asked();
                if !self.is_suspect && !self.window.has_refused() {
                    self.outage.found();
                    self.outage.backoff.reset();
                }
            }
        }
    }

    /// Whether the brokers have no commit that is not ours.
    fn is_ours(&mut self, has: Has) -> bool {
        let Some(numbers) = self.numbers() else {
            return true;
        };
        let number = numbers.number();
        match numbers.learn(has) {
            Ok(false) => true,
            Ok(true) => {
                let output = self.outage.output();
                let has = has.number;
                tracing::error!(%output, has, number, "the brokers lost the last commits of this \
                    state directory: its topic, its group or the cluster was replaced, or nobody \
                    committed for longer than offsets.retention.minutes; goes on from the offsets \
                    that are stored here");
                true
            }
            Err(mismatch) => {
                self.mismatch = Some(mismatch);
                false
            }
        }
    }

    /// The run ends with the next offer.
    fn give_up(&mut self) {
        if let Link::Up(up) = std::mem::replace(&mut self.link, Link::Down) {
            self.helper.retire(up.client);
        }
    }

    fn hear(&mut self, mut heard: Heard, batch_bytes: u32, now: Instant) {
        let has_reports = !heard.reports.is_empty();
        let mut has_delivered = false;
        let mut is_batch_too_large = false;
        for (number, code) in heard.reports.drain(..) {
            let Some(bytes) = self.window.bytes_of(number) else {
                continue;
            };
            let fate = match code {
                None => Fate::Delivered,
                // It may have been in a batch with others, which was too large.
                Some(code) if is_about_size(code) && bytes < batch_bytes => {
                    is_batch_too_large = true;
                    Fate::Failed
                }
                Some(code) if is_refusal(code) => Fate::Refused,
                Some(_) => Fate::Failed,
            };
            has_delivered |= fate == Fate::Delivered;
            self.window.report(number, fate);
        }
        self.spare = heard.reports;
        if is_batch_too_large {
            self.make_batches_smaller((batch_bytes / SMALLER).max(1));
        }
        if has_reports {
            self.waiting_since = Some(now).filter(|_| self.window.in_flight() > 0);
        }
        if has_delivered {
            self.locked_out_since = None;
        }
        if let Mode::AtLeastOnce = self.mode {
            self.window.acknowledge();
            // If records of one topic fail again and again, those of another one prove nothing.
            let is_all = !self.is_suspect || self.window.in_flight() == 0;
            if has_delivered && !self.window.has_failed() && is_all {
                self.flows();
            }
        }
        self.is_fatal |= heard.is_fatal;
        if let Some(held_back) = heard.held_back {
            self.held_back(held_back, now);
        }
        match heard.failure {
            Some(failure) if failure.kind == Kind::Delivery => {
                self.broken.get_or_insert(failure);
            }
            Some(failure) => self.wait(failure, now),
            None => {}
        }
        self.give_up_broken(now);
    }

    /// Statistics came: brokers delayed answers by this long.
    fn held_back(&mut self, held_back: Duration, now: Instant) {
        self.quota.held_back = held_back;
        let is_quiet =
            self.quota.logged_at.is_some_and(|at| now.duration_since(at) < HELD_BACK_QUIET);
        if let Some(words) = self.quota_in_words().filter(|_| !is_quiet) {
            self.quota.logged_at = Some(now);
            tracing::warn!(output = %self.outage.output(), "{words}");
        }
    }

    /// That a quota holds us back, if one does.
    pub(super) fn quota_in_words(&self) -> Option<String> {
        let Quota { held_back, .. } = self.quota;
        (held_back >= HELD_BACK).then(|| {
            format!(
                "the brokers hold back answers by {} ms: a quota of {} (producer_byte_rate, \
                request_percentage); records wait unless it is raised (kafka-configs.sh)",
                held_back.as_millis(),
                who(&self.properties.names)
            )
        })
    }

    /// A failure that the library tries to get over.
    fn wait(&mut self, failure: Failure, now: Instant) {
        let is_idle = self.window.bytes() == 0 && !self.is_committing();
        if failure.kind == Kind::Access {
            self.say(&failure, now);
            self.locked_out_since.get_or_insert(now);
        } else if !is_idle {
            self.say(&failure, now);
        }
        if is_idle {
            // The helper says whether it lasts, and when it is over.
            self.connect_again(now);
        }
    }

    /// Gives up a client that cannot deliver, if it is time.
    pub(super) fn give_up_broken(&mut self, now: Instant) {
        let is_in_flight = self.window.in_flight() > 0;
        let is_time = match self.mode {
            // Reports about the others come, too: those are not sent twice.
            Mode::AtLeastOnce => !is_in_flight || self.is_fatal,
            Mode::Transactions(_) => {
                !self.is_committing() && (self.broken.is_some() || !is_in_flight)
            }
        };
        let is_broken = self.broken.is_some() || self.window.has_failed();
        if !is_broken || !is_time || !matches!(self.link, Link::Up(_)) {
            return;
        }
        match self.broken.take() {
            // Which record it is, is said when it is offered again.
            Some(failure) if is_refusal(failure.code) => self.connect_again(now),
            Some(failure) => self.recover(failure, now),
            None => {
                let why = "records were given up by the client library".to_owned();
                self.recover(Failure::local(Kind::Delivery, why), now);
            }
        }
    }

    fn make_batches_smaller(&mut self, bytes: u32) {
        if self.properties.batch_bytes() != bytes {
            self.properties.set_batch_bytes(bytes);
            let output = self.outage.output();
            tracing::info!(%output, bytes, "a topic takes only smaller batches (see its \
                max.message.bytes): they are smaller from now on");
        }
    }
}
