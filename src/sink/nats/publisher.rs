//! The thread: connects, asks what the stream has, and sends one batch after the other.
//!
//! In: batches of the loop. Out: for each whether it is in the stream; failures, for people.
//! Always holds: one batch is under way. The next one goes when it is known to be stored, and then
//! it is all that came meanwhile: one line at rest, a thousand under load. Each connection has a
//! runtime of its own, which goes away with it: nothing of a lost connection goes on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use async_nats::{Client, Subject};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;
use tracing::Dispatch;

use super::batch::{Batch, LateRecords, Message};
use super::connection::{self, Connection, Servers};
use super::link::{Event, Failure, Link, Start};
use super::protocol::{BatchName, Expectation, Headers, Last, MESSAGES_MAX, Next, next};
use super::requests::{Outgoing, Requests, Trouble, Unstored};
use super::sentences;
use super::step;
use super::stream::Stream;
use crate::config::{Format, Nats, OnRefused, SUBJECT_BYTES_MAX};
use crate::sink::Verdict;
use crate::sink::backoff::Backoff;
use crate::sys::{clock, disk};

/// A server that comes back is found within milliseconds ...
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// ... and one that was away for long at the latest after this.
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// How long a batch may take at first; each time nothing is heard it may take twice as long.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
const STORE_TIMEOUT_LONGEST: Duration = Duration::from_secs(16);

/// So many attempts of a batch may fail without a word: the server refuses a batch now and then
/// that comes while another one is being stored, and takes it a moment later.
const SILENT_ATTEMPTS: u32 = 2;

/// How often it is looked at again whether somebody else's message is still there ...
const FOREIGN_PAUSE: Duration = Duration::from_secs(5);
/// ... and whether the server takes a larger record.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// How many names are resolved at the same time.
const RESOLVERS: usize = 2;

/// What the thread needs.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) nats: Nats,
    pub(super) servers: Servers,
    /// Our subjects.
    pub(super) filter: String,
    pub(super) format: Format,
}

/// The batch under way.
#[derive(Debug)]
struct Work {
    batch: Batch,
    /// One for each of its sources.
    subjects: Vec<Subject>,
    /// Messages at the front that are the atomic batch under way; 0: none was begun.
    count: usize,
    number: u64,
    attempts: u32,
    /// It may be stored.
    is_in_doubt: bool,
}

impl Work {
    /// How many messages at the front the server takes, each by itself.
    fn count_that_fits(&self, requests: &Requests<'_>, start: &Start, limit: usize) -> usize {
        let Batch { messages, sources } = &self.batch;
        let longest =
            sources.iter().map(|source| source.file.as_str()).max_by_key(|file| file.len());
        let file = longest.filter(|_| requests.format != Format::Json);
        let headers = Headers::bytes_max(&start.identity, requests.filter, file);
        let fits = |message: &&Message| {
            headers + message.payload.len() <= limit
                && sources[message.source].subject.len() <= SUBJECT_BYTES_MAX
        };
        messages.iter().take_while(fits).count()
    }
}

/// The state of the thread.
struct Publisher<'a> {
    settings: &'a Settings,
    servers: Servers,
    link: &'a Link,
    start: Option<Start>,
    run: u64,
    /// Of the last batch.
    number: u64,
    expectation: Option<Expectation>,
    late: LateRecords,
    work: Option<Work>,
    /// Most messages of a batch that the server takes.
    messages_max: usize,
    timeout: Duration,
    backoff: Backoff,
    /// A failure was reported, and nothing good since.
    is_failing: bool,
    /// A connection was tried before.
    is_again: bool,
    /// Of the connection.
    remarks: Rc<Remarks>,
}

/// What the server said besides answers.
#[derive(Debug, Default)]
struct Remarks {
    error: RefCell<Option<String>>,
    is_leaving: Cell<bool>,
}

/// The thread's function.
pub(super) fn run(link: &Link, settings: &Settings) {
    let _end = End(link);
    // The client library logs each connection and each failure. What matters is told by the loop.
    tracing::dispatcher::with_default(&Dispatch::none(), || {
        let mut publisher = Publisher::new(link, settings);
        while !link.is_closed() {
            match runtime() {
                Ok(runtime) => {
                    let failure = runtime.block_on(publisher.connection());
                    // A name that is being resolved is not waited for.
                    runtime.shutdown_background();
                    if let Some(failure) = failure {
                        publisher.failed(true, failure);
                    }
                }
                Err(why) => {
                    publisher.failed(true, Failure::new("cannot connect", why.to_string()));
                    clock::pause(RETRY_LONGEST);
                }
            }
        }
    });
}

/// Tells the loop that the thread has ended, however it does.
struct End<'a>(&'a Link);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.thread_ended();
    }
}

pub(super) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RESOLVERS)
        .thread_name("nats-names")
        .build()
}

impl<'a> Publisher<'a> {
    fn new(link: &'a Link, settings: &'a Settings) -> Self {
        let run = disk::any_number();
        let mut servers = settings.servers.clone();
        servers.spread(run);
        Publisher {
            settings,
            servers,
            link,
            start: None,
            run,
            number: 0,
            expectation: None,
            late: LateRecords::default(),
            work: None,
            messages_max: MESSAGES_MAX,
            timeout: STORE_TIMEOUT,
            backoff: Backoff::new(RETRY_FIRST, RETRY_LONGEST),
            is_failing: false,
            is_again: false,
            remarks: Rc::default(),
        }
    }

    fn failed(&mut self, is_lost: bool, mut failure: Failure) {
        self.is_failing = true;
        if let Some(error) = self.remarks.error.take() {
            failure.why = format!("{}; the server said: {error}", failure.why);
        }
        self.link.report(Event::Failed { is_lost, failure });
    }

    /// Records flow.
    fn well(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.is_failing) {
            self.link.report(Event::Well);
        }
    }

    /// Waits before the next attempt.
    async fn pause(&mut self) {
        let now = clock::now().instant;
        self.backoff.wait(now);
        if let Some(until) = self.backoff.deadline() {
            sleep(until.saturating_duration_since(now)).await;
        }
    }

    /// One connection, from before it is made until it is lost. Returns why, unless the output is
    /// closed or the server asked us to go.
    async fn connection(&mut self) -> Option<Failure> {
        let link = self.link;
        tokio::select! {
            biased;
            () = link.closed() => None,
            failure = self.connected() => failure,
        }
    }

    async fn connected(&mut self) -> Option<Failure> {
        let start = match &self.start {
            Some(start) => start.clone(),
            None => self.link.begun().await,
        };
        self.start = Some(start.clone());
        if std::mem::replace(&mut self.is_again, true) {
            self.pause().await;
        }
        let nats = &self.settings.nats;
        let made = connection::connect(nats, &mut self.servers, &start.identity).await;
        let connection = match made {
            Ok(connection) => connection,
            Err(failure) => return Some(failure),
        };
        let Connection { client, mut signals, server } = connection;
        let remarks = Rc::new(Remarks::default());
        self.remarks = Rc::clone(&remarks);
        tokio::select! {
            biased;
            failure = lost(&mut signals, &remarks, &server) => Some(failure),
            outcome = self.publish(&client, &server, &start) => match outcome {
                Err(Trouble::Lost(failure) | Trouble::Retry(failure)) => Some(failure),
                Ok(Leaving) => None,
            },
        }
    }

    /// Asks and sends until the connection is lost.
    async fn publish(
        &mut self,
        client: &Client,
        server: &str,
        start: &Start,
    ) -> Result<Leaving, Trouble> {
        let Settings { nats, filter, format, .. } = self.settings;
        let requests = Requests { client, nats, filter, format: *format, server };
        let mut is_up = false;
        loop {
            match self.serve(&requests, start, &mut is_up).await {
                Err(Trouble::Retry(failure)) => self.failed(false, failure),
                outcome => return outcome,
            }
            self.pause().await;
        }
    }

    /// Checks the stream, learns its end, and sends what there is until something fails.
    async fn serve(
        &mut self,
        requests: &Requests<'_>,
        start: &Start,
        is_up: &mut bool,
    ) -> Result<Leaving, Trouble> {
        step();
        let stream = requests.stream().await?;
        step();
        if self.expectation.is_none() {
            self.expectation = Some(self.begin(requests, &stream, start).await?);
        }
        if !std::mem::replace(is_up, true) {
            self.link.report(Event::Up);
        }
        loop {
            if self.work.is_none() {
                self.well();
                if self.remarks.is_leaving.get() {
                    return Ok(Leaving);
                }
                self.take_work().await;
            }
            self.advance(requests, &stream, start).await?;
        }
    }

    /// What the stream has beyond the last commit.
    async fn begin(
        &self,
        requests: &Requests<'_>,
        stream: &Stream,
        start: &Start,
    ) -> Result<Expectation, Trouble> {
        let last = requests.last(stream).await?;
        let end = last.sequence;
        if start.is_kept {
            let verdict = match start.sequence {
                Some(sequence) if sequence < end => {
                    let files = requests.tail(stream, &start.identity, (sequence, end)).await?;
                    if let Some(text) = sentences::stranger(&last, &start.identity) {
                        self.link.report(Event::Remark(text));
                    }
                    Verdict::Beyond(files.into_iter().collect())
                }
                _ => Verdict::NotMade,
            };
            let verdict = match verdict {
                Verdict::Beyond(files) if files.is_empty() => Verdict::NotMade,
                verdict => verdict,
            };
            self.link.report(Event::Found { verdict, end });
        }
        Ok(Expectation { end, has_stored: false, is_kept: start.is_kept })
    }

    async fn take_work(&mut self) {
        let mut batch = self.link.batch().await;
        step();
        let done = batch.leave_out(&mut self.late, self.settings.format);
        self.left_out(done);
        let subjects =
            batch.sources.iter().map(|source| Subject::from(source.subject.clone())).collect();
        if !batch.messages.is_empty() {
            self.work = Some(Work {
                batch,
                subjects,
                count: 0,
                number: 0,
                attempts: 0,
                is_in_doubt: false,
            });
        }
    }

    /// The stream has these records already.
    fn left_out(&self, bytes: u64) {
        if bytes > 0
            && let Some(expectation) = &self.expectation
        {
            self.link.report(Event::Stored { bytes, end: expectation.end });
        }
    }

    /// The next step of the batch under way.
    async fn advance(
        &mut self,
        requests: &Requests<'_>,
        stream: &Stream,
        start: &Start,
    ) -> Result<(), Trouble> {
        let Some(work) = &self.work else { return Ok(()) };
        let identity = start.identity.clone();
        let name = BatchName { identity, run: self.run, number: work.number };
        if work.batch.messages.is_empty() {
            self.work = None;
            Ok(())
        } else if work.is_in_doubt {
            let last = requests.last(stream).await?;
            self.decide(requests, stream, &name, &last).await
        } else if work.count == 0 {
            let limit = message_limit(requests.client, stream);
            let count = work.count_that_fits(requests, start, limit).min(self.messages_max);
            if count == 0 {
                return self.refuse(limit).await;
            }
            self.begin_batch(count);
            Ok(())
        } else {
            self.attempt(requests, &name).await
        }
    }

    /// These messages at the front are the next atomic batch.
    fn begin_batch(&mut self, count: usize) {
        if let Some(work) = &mut self.work {
            self.number += 1;
            (work.count, work.number, work.attempts) = (count, self.number, 0);
        }
    }

    /// Sends the atomic batch under way, and waits for the answer.
    async fn attempt(&mut self, requests: &Requests<'_>, name: &BatchName) -> Result<(), Trouble> {
        let (Some(work), Some(expectation)) = (&mut self.work, &self.expectation) else {
            return Ok(());
        };
        work.attempts += 1;
        // Whatever becomes of this call.
        work.is_in_doubt = true;
        let outgoing = Outgoing {
            messages: &work.batch.messages[..work.count],
            sources: &work.batch.sources,
            subjects: &work.subjects,
            name: &name.to_string(),
            attempt: &name.attempt(work.attempts),
            expected: (expectation.end, requests.filter),
            is_json: requests.format == Format::Json,
        };
        let is_silent = work.attempts <= SILENT_ATTEMPTS;
        match requests.publish(&outgoing, self.timeout).await {
            Ok(sequence) => {
                step();
                self.stored(sequence);
                step();
                Ok(())
            }
            Err(Unstored::Passing(_)) if is_silent => {
                self.pause().await;
                Ok(())
            }
            // The stream may have other limits by now: it is looked at again.
            Err(Unstored::Passing(failure)) => Err(Trouble::Retry(failure)),
            Err(Unstored::TooLarge) => {
                self.messages_max = (work.count / 2).max(1);
                (work.count, work.is_in_doubt) = (0, false);
                Ok(())
            }
            Err(Unstored::Unknown(failure)) => {
                self.timeout = (self.timeout * 2).min(STORE_TIMEOUT_LONGEST);
                Err(Trouble::Retry(failure))
            }
            Err(Unstored::Refused(failure)) => Err(Trouble::Retry(failure)),
            Err(Unstored::Lost(failure)) => Err(Trouble::Lost(failure)),
        }
    }

    /// What the last message says about the batch in doubt.
    async fn decide(
        &mut self,
        requests: &Requests<'_>,
        stream: &Stream,
        name: &BatchName,
        last: &Last,
    ) -> Result<(), Trouble> {
        let (Some(work), Some(expectation)) = (&mut self.work, &mut self.expectation) else {
            return Ok(());
        };
        match next(name, expectation, last) {
            Next::Stored(sequence) => self.stored(sequence),
            Next::Send(end) => {
                expectation.end = end;
                work.is_in_doubt = false;
                if work.attempts > SILENT_ATTEMPTS {
                    // Under another number it may have less, if the stream takes less now.
                    work.count = 0;
                }
            }
            Next::Late { after, end } => {
                let files = requests.tail(stream, &name.identity, (after, end)).await?;
                for (file, progress) in files {
                    self.late.add(file, progress);
                }
                expectation.end = end;
                // Another content needs another number.
                (work.count, work.is_in_doubt) = (0, false);
                let done = work.batch.leave_out(&mut self.late, requests.format);
                self.left_out(done);
            }
            Next::Foreign => {
                let failure = sentences::foreign(name, expectation.is_kept, stream, last);
                self.failed(false, failure);
                sleep(FOREIGN_PAUSE).await;
            }
        }
        Ok(())
    }

    /// The atomic batch under way is in the stream.
    fn stored(&mut self, sequence: u64) {
        let (Some(work), Some(expectation)) = (&mut self.work, &mut self.expectation) else {
            return;
        };
        let bytes = work.batch.messages.drain(..work.count).map(|message| message.weight).sum();
        (work.count, work.is_in_doubt) = (0, false);
        expectation.end = sequence;
        expectation.has_stored = true;
        self.timeout = STORE_TIMEOUT;
        self.link.set_in_flight(work.batch.messages.len());
        self.link.report(Event::Stored { bytes, end: sequence });
        self.well();
    }

    /// The first message is one that the server will never take.
    async fn refuse(&mut self, limit: usize) -> Result<(), Trouble> {
        let (Some(work), Some(expectation)) = (&mut self.work, &self.expectation) else {
            return Ok(());
        };
        let Some(message) = work.batch.messages.first() else { return Ok(()) };
        let source = &work.batch.sources[message.source];
        let why = sentences::refused(message, source, limit);
        let (path, offset, weight) = (source.path.clone(), message.offset, message.weight);
        if self.settings.nats.on_refused == OnRefused::Skip {
            work.batch.messages.remove(0);
            self.link.report(Event::Refused { path, offset, why });
            self.link.report(Event::Stored { bytes: weight, end: expectation.end });
            return Ok(());
        }
        let failure = sentences::refused_record(&path, offset, &why);
        self.failed(false, failure.clone());
        sleep(REFUSED_PAUSE).await;
        // A new connection learns what the server takes now.
        Err(Trouble::Lost(failure))
    }
}

/// The server asked us to go to another one.
struct Leaving;

/// Waits for the end of the connection.
async fn lost(
    signals: &mut UnboundedReceiver<async_nats::Event>,
    remarks: &Remarks,
    server: &str,
) -> Failure {
    loop {
        match signals.recv().await {
            Some(async_nats::Event::Disconnected | async_nats::Event::Closed) | None => break,
            Some(async_nats::Event::LameDuckMode) => remarks.is_leaving.set(true),
            Some(async_nats::Event::ServerError(error)) => {
                remarks.error.replace(Some(error.to_string()));
            }
            Some(_) => {}
        }
    }
    Failure::new("lost the connection", server.to_owned())
}

/// Bytes of a message, with its headers, that server and stream take.
pub(super) fn message_limit(client: &Client, stream: &Stream) -> usize {
    stream.message_bytes_max.unwrap_or(usize::MAX).min(client.max_payload())
}
