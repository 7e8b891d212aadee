//! Requests to JetStream: the stream, its last message below our subjects, its tail, and batches.
//!
//! In: a connected client. Out: answers, or what went wrong and whether the connection is to blame.
//! Always holds: each request ends within a time limit. An answer that says nothing counts as none.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::header::HeaderName;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, consumer};
use async_nats::{Client, HeaderMap, Request, RequestErrorKind, Subject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::batch::{Message, Source};
use super::link::Failure;
use super::protocol::{
    BATCH_HEADER, BatchName, FILE_HEADER, Headers, Last, OFFSET_HEADER, PIECE_HEADER,
};
use super::stream::{self, Stream};
use crate::checkpoint::record_parser::{self, GenerationKey, Progress};
use crate::config::{Format, Nats};

/// How long JetStream may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a part of a batch may take to get into the connection.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the next message of a tail may take.
const TAIL_TIMEOUT: Duration = Duration::from_secs(8);

/// Messages of one pull of the tail.
const TAIL_MESSAGES: i64 = 500;

const UNUSABLE: &str = "cannot use the stream";
const NO_ANSWER: &str = "JetStream does not answer";

/// There is no such message.
const NO_MESSAGE: u64 = 10037;
const NO_STREAM: u64 = 10059;
const NAME_IN_USE: u64 = 10058;
/// The last message is another one; a leader that is new or busy: unavailable, not the leader, the
/// last message unknown, a batch that began at another leader.
const PASSING: [u64; 6] = [10071, 10164, 10008, 10009, 10163, 10176];
const BATCH_TOO_LARGE: u64 = 10199;
/// The stream, the account or the server has no room.
const FULL: [u64; 4] = [10077, 10047, 10002, 10023];
const NOT_ENABLED: [u64; 2] = [10039, 10076];

/// What a look for the stream found.
pub(super) enum Looked {
    /// The answer about it.
    There(Value),
    /// There is none, and one of this name is to be made.
    Missing(String),
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection may be dead: make another one.
    Lost(Failure),
    /// The server said so: try again later.
    Retry(Failure),
}

/// Why a batch is not known to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unstored {
    /// The stream has another last message than was expected, or a new leader.
    Passing(Failure),
    /// It has more messages than the server allows.
    TooLarge,
    /// The server said no.
    Refused(Failure),
    /// No answer came.
    Unknown(Failure),
    /// The connection is gone.
    Lost(Failure),
}

fn refused(why: String) -> Trouble {
    Trouble::Retry(Failure::new(UNUSABLE, why))
}

/// An error in an answer of JetStream.
struct ApiError {
    code: u64,
    text: String,
}

impl ApiError {
    fn of(answer: &Value) -> Option<Self> {
        let error = answer.get("error").filter(|error| error.is_object())?;
        let code = error["err_code"].as_u64().unwrap_or_default();
        let text = error["description"].as_str().unwrap_or("an error without a description");
        Some(ApiError { code, text: format!("{text} ({code})") })
    }
}

/// Asks one stream.
pub(super) struct Requests<'a> {
    pub(super) client: &'a Client,
    pub(super) nats: &'a Nats,
    /// The subjects that are ours.
    pub(super) filter: &'a str,
    pub(super) format: Format,
    /// For people.
    pub(super) server: &'a str,
}

impl Requests<'_> {
    /// An answer of the API.
    async fn ask(&self, subject: &str, question: Value) -> Result<Value, Trouble> {
        let payload = if question.is_null() { String::new() } else { question.to_string() };
        let request = Request::new().payload(payload.into()).timeout(Some(ANSWER_TIMEOUT));
        let answer = match self.client.send_request(subject.to_owned(), request).await {
            Ok(answer) => answer,
            Err(error) => {
                let server = self.server;
                return Err(match error.kind() {
                    RequestErrorKind::NoResponders => Trouble::Retry(Failure::new(
                        NO_ANSWER,
                        format!("{server}: JetStream is not enabled there, or not for our account"),
                    )),
                    RequestErrorKind::TimedOut => Trouble::Lost(Failure::new(
                        NO_ANSWER,
                        format!(
                            "{server}: no answer to {subject} within {} s: no quorum, or no \
                            permission",
                            ANSWER_TIMEOUT.as_secs()
                        ),
                    )),
                    _ => Trouble::Lost(Failure::new(NO_ANSWER, format!("{server}: {error}"))),
                });
            }
        };
        let unreadable = |_| {
            let why = format!("{}: an answer to {subject} that is not JSON", self.server);
            Trouble::Retry(Failure::new(NO_ANSWER, why))
        };
        serde_json::from_slice(&answer.payload).map_err(unreadable)
    }

    fn unusable(error: &ApiError) -> Trouble {
        let hint =
            if NOT_ENABLED.contains(&error.code) { ": enable it for our account" } else { "" };
        Trouble::Retry(Failure::new(UNUSABLE, format!("{}{hint}", error.text)))
    }

    /// The stream, if it can keep the promise. Makes it if it is missing and that is wanted.
    pub(super) async fn stream(&self) -> Result<Stream, Trouble> {
        let config = match self.look().await? {
            Looked::There(answer) => answer["config"].clone(),
            Looked::Missing(name) => self.make(&name).await?,
        };
        self.check(&config)
    }

    /// Whether the stream can keep the promise.
    pub(super) fn check(&self, config: &Value) -> Result<Stream, Trouble> {
        stream::check(config, self.filter).map_err(refused)
    }

    /// Looks for the stream. That it is missing is a failure, unless it may be made.
    pub(super) async fn look(&self) -> Result<Looked, Trouble> {
        let info = self.client.server_info();
        if stream::is_too_old(&info.version) {
            return Err(refused(format!(
                "{} is nats-server {}, which has no atomic batches: 2.12 or later is needed",
                self.server, info.version
            )));
        }
        if !info.headers {
            return Err(refused(format!("{} does not take headers of messages", self.server)));
        }
        let name = match &self.nats.stream {
            Some(name) => name.clone(),
            None => match self.find().await? {
                Some(name) => name,
                None => stream::name_for(self.filter),
            },
        };
        let answer = self.ask(&format!("$JS.API.STREAM.INFO.{name}"), json!({})).await?;
        match ApiError::of(&answer) {
            None => Ok(Looked::There(answer)),
            Some(error) if error.code == NO_STREAM && self.nats.create => Ok(Looked::Missing(name)),
            Some(error) if error.code == NO_STREAM => {
                let how = stream::how_to_make(&name, self.filter, self.nats.replicas);
                Err(refused(match &self.nats.stream {
                    Some(name) => format!("there is no stream {name}: {how}"),
                    None => format!("no stream stores {}: {how}", self.filter),
                }))
            }
            Some(error) => Err(Self::unusable(&error)),
        }
    }

    /// Whether the server lets us publish our subjects, as far as it says so.
    pub(super) async fn may_publish(&self) -> Result<bool, Trouble> {
        let answer = self.ask("$SYS.REQ.USER.INFO", Value::Null).await?;
        Ok(stream::may_publish(&answer["data"]["permissions"], self.filter))
    }

    /// How much our account has stored, and how much it may, if there is a limit.
    pub(super) async fn account(&self) -> Result<Option<(u64, u64)>, Trouble> {
        let answer = self.ask("$JS.API.INFO", Value::Null).await?;
        if let Some(error) = ApiError::of(&answer) {
            return Err(Self::unusable(&error));
        }
        let limit = answer["limits"]["max_storage"].as_u64().filter(|&bytes| bytes > 0);
        Ok(answer["storage"].as_u64().zip(limit))
    }

    /// The one stream that stores our subjects.
    async fn find(&self) -> Result<Option<String>, Trouble> {
        let question = json!({ "subject": self.filter });
        let answer = self.ask("$JS.API.STREAM.NAMES", question).await?;
        if let Some(error) = ApiError::of(&answer) {
            return Err(Self::unusable(&error));
        }
        let names: Vec<&str> =
            answer["streams"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match names.as_slice() {
            [] => Ok(None),
            [name] => Ok(Some((*name).to_owned())),
            _ => Err(Trouble::Retry(Failure::new(
                UNUSABLE,
                format!(
                    "several streams store subjects of {}: set stream to one of {}",
                    self.filter,
                    names.join(", ")
                ),
            ))),
        }
    }

    /// Makes the stream. Another manytail may do that at the same time.
    async fn make(&self, name: &str) -> Result<Value, Trouble> {
        let config = stream::new_stream(name, self.filter, self.nats.replicas);
        let answer = self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), config).await?;
        match ApiError::of(&answer) {
            None => Ok(answer["config"].clone()),
            Some(error) if error.code == NAME_IN_USE => {
                let answer = self.ask(&format!("$JS.API.STREAM.INFO.{name}"), json!({})).await?;
                Ok(answer["config"].clone())
            }
            Some(error) => Err(Trouble::Retry(Failure::new(
                UNUSABLE,
                format!("cannot make the stream {name}: {}", error.text),
            ))),
        }
    }

    /// The last message below our subjects.
    pub(super) async fn last(&self, stream: &Stream) -> Result<Last, Trouble> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{}", stream.name);
        let answer = self.ask(&subject, json!({ "last_by_subj": self.filter })).await?;
        if let Some(error) = ApiError::of(&answer) {
            let is_missing = error.code == NO_MESSAGE;
            return if is_missing { Ok(Last::default()) } else { Err(Self::unusable(&error)) };
        }
        let message = &answer["message"];
        let Some(sequence) = message["seq"].as_u64() else {
            let why = format!("{}: a message without a sequence", self.server);
            return Err(Trouble::Retry(Failure::new(NO_ANSWER, why)));
        };
        let headers = message["hdrs"].as_str().and_then(|text| STANDARD.decode(text).ok());
        let batch = headers.as_deref().and_then(batch_of);
        let subject = message["subject"].as_str().unwrap_or_default().to_owned();
        Ok(Last { sequence, batch, subject })
    }

    /// How far the messages of `identity` behind `after`, up to `end`, bring each file.
    pub(super) async fn tail(
        &self,
        stream: &Stream,
        identity: &str,
        (after, end): (u64, u64),
    ) -> Result<HashMap<GenerationKey, Progress>, Trouble> {
        let unread = |why: String| Trouble::Lost(Failure::new("cannot read the stream", why));
        let config = pull::OrderedConfig {
            filter_subject: self.filter.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            max_batch: TAIL_MESSAGES,
            ..Default::default()
        };
        let open = async {
            let context = jetstream::new(self.client.clone());
            let stream = context.get_stream_no_info(&stream.name).await.map_err(to_text)?;
            let consumer: consumer::Consumer<pull::OrderedConfig> =
                stream.create_consumer(config).await.map_err(to_text)?;
            consumer.messages().await.map_err(to_text)
        };
        let late = |_| unread(format!("no message within {} s", TAIL_TIMEOUT.as_secs()));
        let mut messages = timeout(TAIL_TIMEOUT, open).await.map_err(late)?.map_err(unread)?;
        let mut files: HashMap<GenerationKey, Progress> = HashMap::new();
        loop {
            let next = timeout(TAIL_TIMEOUT, messages.next()).await.map_err(late)?;
            let message = match next {
                Some(message) => message.map_err(|error| unread(error.to_string()))?,
                None => return Err(unread("the messages ended early".to_owned())),
            };
            let sequence = match message.info() {
                Ok(info) => info.stream_sequence,
                Err(error) => return Err(unread(error.to_string())),
            };
            if sequence <= end {
                self.note(&message.message, identity, &mut files);
            }
            // Not when none is pending: a replica that lags does not know of the last ones yet.
            if sequence >= end {
                return Ok(files);
            }
        }
    }

    /// Notes how far a message brings its file, if we sent it.
    fn note(
        &self,
        message: &async_nats::Message,
        identity: &str,
        files: &mut HashMap<GenerationKey, Progress>,
    ) {
        let Some(headers) = &message.headers else { return };
        let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
        let batch = header(BATCH_HEADER).and_then(BatchName::parse);
        if batch.is_none_or(|batch| batch.identity != identity) {
            return;
        }
        let file = header(FILE_HEADER).unwrap_or_default();
        let offset = header(OFFSET_HEADER).and_then(|text| text.parse().ok()).unwrap_or_default();
        let is_piece = header(PIECE_HEADER).is_some();
        let parsed =
            record_parser::parse_with(self.format, &message.payload, file, offset, is_piece);
        if let Some((file, line)) = parsed {
            files.entry(file).or_default().add(&line);
        }
    }

    /// Sends messages as one atomic batch. Returns the sequence of the last one.
    pub(super) async fn publish(
        &self,
        batch: &Outgoing<'_>,
        answer_timeout: Duration,
    ) -> Result<u64, Unstored> {
        let Some((last, others)) = batch.messages.split_last() else {
            return Err(Unstored::Unknown(Failure::new(NO_ANSWER, "an empty batch")));
        };
        let client = self.client;
        let send = async {
            for (at, message) in others.iter().enumerate() {
                #[cfg(test)]
                super::tests::step_within(at, others.len()).await;
                let headers = batch.headers(message, at);
                let subject = batch.subjects[message.source].clone();
                client.publish_with_headers(subject, headers, message.payload.clone()).await?;
            }
            Ok::<(), async_nats::PublishError>(())
        };
        let gone = |why: String| {
            Unstored::Lost(Failure::new("lost the connection", format!("{}: {why}", self.server)))
        };
        match timeout(PUBLISH_TIMEOUT, send).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(gone(error.to_string())),
            Err(_) => return Err(gone("it takes no more".to_owned())),
        }
        let request = Request::new()
            .payload(last.payload.clone())
            .headers(batch.headers(last, others.len()))
            .timeout(Some(answer_timeout));
        let subject = batch.subjects[last.source].clone();
        let answer = client.send_request(subject, request);
        let unknown =
            |why: String| Unstored::Unknown(Failure::new("the stream does not answer", why));
        let answer = match timeout(PUBLISH_TIMEOUT + answer_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(match error.kind() {
                    RequestErrorKind::TimedOut => unknown(format!(
                        "{}: nothing within {} s: no leader, no quorum, or no \
                        permission to publish",
                        self.server,
                        answer_timeout.as_secs()
                    )),
                    RequestErrorKind::NoResponders => unknown(format!(
                        "{}: no stream takes {} now",
                        self.server, batch.subjects[last.source]
                    )),
                    _ => gone(error.to_string()),
                });
            }
            Err(_) => return Err(gone("it takes no more".to_owned())),
        };
        judge(&answer.payload, batch.attempt)
    }
}

/// What the answer to a batch says.
fn judge(answer: &[u8], attempt: &str) -> Result<u64, Unstored> {
    let failed = |why: String| Failure::new("the stream refuses records", why);
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return Err(Unstored::Unknown(failed("an answer that is not JSON".to_owned())));
    };
    if let Some(error) = ApiError::of(&answer) {
        return Err(match error.code {
            code if PASSING.contains(&code) => Unstored::Passing(failed(error.text)),
            BATCH_TOO_LARGE => Unstored::TooLarge,
            code if FULL.contains(&code) => Unstored::Refused(failed(format!(
                "{}: raise max_bytes and max_msgs of the stream or the storage of our account, or \
                make room",
                error.text
            ))),
            _ => Unstored::Refused(failed(error.text)),
        });
    }
    match (answer["seq"].as_u64(), answer["batch"].as_str()) {
        (Some(sequence), Some(batch)) if batch == attempt => Ok(sequence),
        _ => Err(Unstored::Unknown(failed("an answer that is not about our batch".to_owned()))),
    }
}

/// The messages of one attempt.
pub(super) struct Outgoing<'a> {
    pub(super) messages: &'a [Message],
    pub(super) sources: &'a [Source],
    /// One for each source.
    pub(super) subjects: &'a [Subject],
    /// The name of the batch.
    pub(super) name: &'a str,
    pub(super) attempt: &'a str,
    /// What the first message expects.
    pub(super) expected: (u64, &'a str),
    /// The records tell themselves which lines they are.
    pub(super) is_json: bool,
}

impl Outgoing<'_> {
    fn headers(&self, message: &Message, at: usize) -> HeaderMap {
        let line = (!self.is_json).then(|| {
            (self.sources[message.source].file.as_str(), message.offset, message.is_piece)
        });
        let headers = Headers {
            batch: self.name,
            attempt: self.attempt,
            position: at + 1,
            is_last: at + 1 == self.messages.len(),
            expected: (at == 0).then_some(self.expected),
            line,
        };
        let mut map = HeaderMap::new();
        headers.each(|name, value| map.insert(HeaderName::from_static(name), value));
        map
    }
}

/// The batch of a message, from its headers as they are stored.
fn batch_of(headers: &[u8]) -> Option<BatchName> {
    let headers = std::str::from_utf8(headers).ok()?;
    let value = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(BATCH_HEADER).then(|| value.trim())
    })?;
    BatchName::parse(value)
}

fn to_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_if_it_is_about_our_batch() {
        let told = |answer: &str| judge(answer.as_bytes(), "1-2-1");
        assert_eq!(told(r#"{"stream":"J","seq":70,"batch":"1-2-1","count":3}"#), Ok(70));
        for other in
            [r#"{"stream":"J","seq":70}"#, r#"{"stream":"J","seq":70,"batch":"1-2-0"}"#, "", "[]"]
        {
            assert!(matches!(told(other), Err(Unstored::Unknown(_))), "{other}");
        }
        let error = |code: u64| {
            told(&format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"no"}}}}"#))
        };
        assert!(matches!(error(10071), Err(Unstored::Passing(_))));
        assert!(matches!(error(10176), Err(Unstored::Passing(_))));
        assert_eq!(error(10199), Err(Unstored::TooLarge));
        let Err(Unstored::Refused(failure)) = error(10077) else { panic!("it is refused") };
        assert!(failure.why.starts_with("no (10077): raise max_bytes"), "{failure:?}");
        let Err(Unstored::Refused(failure)) = error(10054) else { panic!("it is refused") };
        assert_eq!(failure.why, "no (10054)");
    }

    #[test]
    fn the_batch_of_a_message_is_in_its_stored_headers() {
        let headers =
            b"NATS/1.0\r\nNats-Batch-Id: x\r\nManytail-Batch: i/00000000000000ff/3\r\n\r\n";
        let batch = BatchName { identity: "i".to_owned(), run: 255, number: 3 };
        assert_eq!(batch_of(headers), Some(batch));
        assert_eq!(batch_of(b"NATS/1.0\r\n\r\n"), None);
        assert_eq!(batch_of(b"\xff"), None);
    }
}
