//! A client of NATS by hand: what the tests ask a server without the library of the output.
//!
//! In: the port of a server. Out: answers, and all messages of a stream.
//! Always holds: every wait has a limit.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::PATIENCE;

/// Questions under way at the same time.
const QUESTIONS: u64 = 100;

/// A message as it is stored.
pub(super) struct Stored {
    pub(super) subject: String,
    headers: String,
    pub(super) payload: Vec<u8>,
}

impl Stored {
    fn of(message: &Value) -> Stored {
        let bytes =
            |key: &str| STANDARD.decode(message[key].as_str().unwrap_or_default()).expect("base64");
        Stored {
            subject: message["subject"].as_str().expect("a message").to_owned(),
            headers: String::from_utf8(bytes("hdrs")).expect("a text"),
            payload: bytes("data"),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(known, value)| (known == name).then_some(value))
    }
}

pub(super) struct Raw {
    reader: BufReader<TcpStream>,
    questions: u64,
}

impl Raw {
    pub(super) fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE / 10))?;
        let mut raw = Raw { reader: BufReader::new(stream), questions: 0 };
        raw.line()?;
        let options = json!({
            "verbose": false, "headers": true, "no_responders": true, "protocol": 1,
            "lang": "test", "version": "0",
        });
        raw.write(&format!("CONNECT {options}\r\nSUB _INBOX.test.> 1\r\n"))?;
        Ok(raw)
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Subject and payload of the next message.
    fn message(&mut self) -> std::io::Result<(String, Vec<u8>)> {
        loop {
            let line = self.line()?;
            let parts: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| parts[parts.len() - at].parse::<usize>().expect("a length");
            let (headers, total) = match parts[0] {
                "PING" => {
                    self.write("PONG\r\n")?;
                    continue;
                }
                "MSG" => (0, number(1)),
                "HMSG" => (number(2), number(1)),
                _ => continue,
            };
            let mut body = vec![0; total + 2];
            self.reader.read_exact(&mut body)?;
            return Ok((parts[1].to_owned(), body[headers..total].to_vec()));
        }
    }

    /// Publishes without waiting.
    pub(super) fn publish(&mut self, subject: &str, payload: &str) {
        let text = format!("PUB {subject} {}\r\n{payload}\r\n", payload.len());
        self.write(&text).expect("written");
    }

    pub(super) fn ask(&mut self, subject: &str, question: &Value) -> std::io::Result<Value> {
        self.questions += 1;
        let reply = format!("_INBOX.test.answer.{}", self.questions);
        let question = question.to_string();
        self.write(&format!("PUB {subject} {reply} {}\r\n{question}\r\n", question.len()))?;
        loop {
            let (subject, payload) = self.message()?;
            if subject == reply {
                return Ok(serde_json::from_slice(&payload).unwrap_or_default());
            }
        }
    }

    /// All messages of a stream, in order, each asked for by its sequence.
    pub(super) fn messages(&mut self, stream: &str) -> Vec<Stored> {
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({})).expect("asked");
        let sequence = |key: &str| info["state"][key].as_u64().expect("a sequence");
        let (first, end) = (sequence("first_seq").max(1), sequence("last_seq"));
        let mut found = BTreeMap::new();
        let (mut asked, mut answered) = (first, 0);
        while first + answered <= end {
            while asked <= end && asked < first + answered + QUESTIONS {
                self.ask_for(stream, asked);
                asked += 1;
            }
            let (subject, payload) = self.message().expect("an answer");
            let Some(sequence) = subject.strip_prefix("_INBOX.test.m.") else { continue };
            let sequence: u64 = sequence.parse().expect("a number");
            let answer: Value = serde_json::from_slice(&payload).unwrap_or_default();
            if answer["message"].is_object() {
                found.insert(sequence, Stored::of(&answer["message"]));
            } else if answer["error"]["err_code"] != json!(10037) {
                // There is no leader now. Otherwise the message was removed.
                self.ask_for(stream, sequence);
                continue;
            }
            answered += 1;
        }
        found.into_values().collect()
    }

    fn ask_for(&mut self, stream: &str, sequence: u64) {
        let question = json!({ "seq": sequence }).to_string();
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let text = format!("PUB {subject} _INBOX.test.m.{sequence} {}", question.len());
        self.write(&format!("{text}\r\n{question}\r\n")).expect("asked");
    }
}
