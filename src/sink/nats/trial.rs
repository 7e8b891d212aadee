//! What would fail, found out before a run.
//!
//! In: settings. Out: sentences, those that a run would say.
//! Always holds: nothing is published, and no stream is made: the trial only asks.

use serde_json::Value;
use tracing::Dispatch;

use super::connection::{self, Connection, Servers};
use super::link::Failure;
use super::protocol::{Headers, printable_identity};
use super::publisher::{message_limit, runtime};
use super::requests::{Looked, Requests, Trouble};
use crate::config::{Format, subject_filter};
use crate::sink::{Brokers, Found};

/// As long as the identifier of a file in records gets.
const FILE: &str = "18446744073709551615-18446744073709551615-4294967295";

/// Tries what a run needs of the servers. `record_bytes_max`: of the longest record.
pub(in crate::sink) fn try_out(brokers: &Brokers<'_>, record_bytes_max: usize) -> Vec<Found> {
    let mut found = Vec::new();
    // The client library logs each connection and each failure.
    let outcome = tracing::dispatcher::with_default(&Dispatch::none(), || {
        let runtime = runtime().map_err(|why| Failure::new("cannot connect", why.to_string()))?;
        let outcome = runtime.block_on(run(brokers, record_bytes_max, &mut found));
        // A name that is being resolved is not waited for.
        runtime.shutdown_background();
        outcome
    });
    if let Err(failure) = outcome {
        found.push(Found::Wrong(format!("{}: {}", failure.what, failure.why)));
    }
    found
}

async fn run(
    brokers: &Brokers<'_>,
    record_bytes_max: usize,
    found: &mut Vec<Found>,
) -> Result<(), Failure> {
    let unusable = |why: String| Failure::new("cannot connect", why);
    let routes = brokers.routes.ok_or_else(|| unusable("there is no subject".to_owned()))?;
    let filter = subject_filter(&routes.destination, routes.host.as_bytes());
    let nats = brokers.nats;
    let mut servers = Servers::new(nats).map_err(unusable)?;
    let identity = printable_identity(format!("manytail-{}", routes.host).as_bytes());
    let Connection { client, server, signals: _signals } =
        connection::connect(nats, &mut servers, &identity).await?;
    let info = client.server_info();
    found.push(Found::Well(format!("{server} answers: nats-server {}", info.version)));
    let requests = Requests {
        client: &client,
        nats,
        filter: &filter,
        format: brokers.format,
        server: &server,
    };
    let failed = |trouble| match trouble {
        Trouble::Lost(failure) | Trouble::Retry(failure) => failure,
    };
    // A server that does not tell is not asked again.
    if requests.may_publish().await == Ok(false) {
        found.push(Found::Wrong(format!(
            "the server does not let us publish {filter}: give our user the permission"
        )));
    }
    if let Some((stored, limit)) = requests.account().await.map_err(failed)?
        && stored >= limit
    {
        found.push(Found::Wrong(format!(
            "the stream refuses records: our account stores {stored} bytes, and may store {limit}"
        )));
    }
    let answer = match requests.look().await.map_err(failed)? {
        Looked::There(answer) => answer,
        Looked::Missing(name) => {
            found.push(Found::Well(format!("stream {name} would be made")));
            return Ok(());
        }
    };
    let stream = requests.check(&answer["config"]).map_err(failed)?;
    let limit = message_limit(&client, &stream);
    found.push(Found::Well(format!(
        "stream {} stores {filter}, messages of up to {limit} bytes",
        stream.name
    )));
    found.extend(fullness(&answer, &stream.name).map(Found::Wrong));
    let file = Some(FILE).filter(|_| brokers.format != Format::Json);
    let longest = record_bytes_max + Headers::bytes_max(&identity, &filter, file);
    if longest > limit {
        found.push(Found::Doubtful(
            format!(
                "a record can have {longest} bytes with its headers (a line of max_line_bytes in \
                which each byte needs an escape), and {limit} are taken"
            ),
            "lower max_line_bytes, or raise max_payload of the server and max_msg_size of the \
            stream"
                .to_owned(),
        ));
    }
    // A run asks for its last message before anything else.
    requests.last(&stream).await.map_err(failed)?;
    Ok(())
}

/// Why a stream takes no message at the moment, if it is full and drops no old ones.
fn fullness(answer: &Value, name: &str) -> Option<String> {
    let (config, state) = (&answer["config"], &answer["state"]);
    if config["discard"].as_str() != Some("new") {
        return None;
    }
    let is_full = |limit: &str, has: &str| {
        let limit = config[limit].as_i64().filter(|&limit| limit > 0);
        limit.zip(state[has].as_i64()).is_some_and(|(limit, has)| has >= limit)
    };
    (is_full("max_bytes", "bytes") || is_full("max_msgs", "messages")).then(|| {
        format!(
            "the stream refuses records: {name} is full, and drops no old messages (discard = \
            new): raise its max_bytes and max_msgs, or remove messages"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_is_full_if_it_drops_nothing_and_reached_a_limit() {
        let answer = |discard: &str, bytes: i64, messages: i64| {
            json!({
                "config": {"discard": discard, "max_bytes": 1000, "max_msgs": -1},
                "state": {"bytes": bytes, "messages": messages},
            })
        };
        assert!(fullness(&answer("new", 1000, 1), "JOBS").expect("full").contains("JOBS is full"));
        assert_eq!(fullness(&answer("new", 999, 5000), "JOBS"), None);
        assert_eq!(fullness(&answer("old", 1000, 1), "JOBS"), None);
    }
}
