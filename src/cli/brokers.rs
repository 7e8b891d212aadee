//! What an output that is a broker changes in other settings.
//!
//! In: what each layer says. Out: the defaults that such an output has of its own, the addresses of
//! `--brokers` where they belong, and warnings.
//! Always holds: what somebody said stays as it was said.

use crate::config::{
    Config, Format, ID, InputConfig, Output, Routes, Sasl, Security, record_bytes_max,
};
use crate::settings::{Given, KAFKA, Key, Layers, NATS, Source, rows};

/// What holds for a broker if nobody says anything.
const DEFAULTS: [(Key, &str); 3] =
    [(Key::Format, "json"), (Key::Host, "true"), (Key::MaxLineBytes, "128KiB")];

/// What a broker does not survive a change of, though others do: who we are there, and how long a
/// transaction may last.
const FIXED: [Key; 3] = [Key::Host, Key::MaxLineBytes, Key::CommitInterval];

/// What servers of NATS take unless they are told otherwise, with headers.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// The table of settings that an output has.
pub(super) fn table(output: &Output) -> Option<&'static str> {
    match output {
        Output::Kafka(_) => Some(KAFKA),
        Output::Nats(_) => Some(NATS),
        Output::Descriptor(_) | Output::File(_) | Output::Unix(_) | Output::Tcp(_) => None,
    }
}

/// Whether a setting needs a restart with this output, though it needs none with others.
pub(super) fn needs_restart(key: Key, output: &Output) -> bool {
    table(output).is_some() && FIXED.contains(&key)
}

/// Adds the defaults of a broker, and `--brokers` to its table.
pub(super) fn complete(layers: &mut Layers) {
    let output: Output = layers.view(None).value(Key::Output);
    let addresses = match table(&output) {
        Some(KAFKA) => Key::KafkaBrokers,
        Some(_) => Key::NatsServers,
        None => return,
    };
    for (key, value) in DEFAULTS {
        layers.surroundings.insert(key, Given::new(key, [value.into()], &Source::Default));
    }
    let said: Option<Vec<String>> = layers.view(None).optional(Key::Brokers);
    if let (Some(said), Some(given)) = (said, layers.find(Key::Brokers, None)) {
        let source = given.source.clone();
        let given = Given::new(addresses, said.into_iter().map(Into::into), &source);
        layers.command_line.insert(addresses, given);
    }
}

/// What is likely not meant so.
pub(super) fn warnings(config: &Config, layers: &Layers) -> Vec<String> {
    let used = table(&config.output);
    let mut warnings: Vec<String> = [KAFKA, NATS]
        .into_iter()
        .filter(|table| used != Some(*table))
        .filter_map(|table| {
            let mut keys = rows().filter(|row| row.table() == Some(table)).map(|row| row.key);
            let place = keys.find_map(|key| layers.files.values.get(&key))?.source.clone();
            let output = &config.output;
            Some(format!("[{table}] ({place}) changes nothing: the output is {output}"))
        })
        .collect();
    if let (Some(kind), None) = (used, &config.state_dir) {
        let transactions = matches!(config.output, Output::Kafka(_)) && config.kafka.transactions;
        let so = if transactions { "there are no transactions, and " } else { "" };
        warnings.push(format!(
            "{kind}: without a state directory (--state-dir) {so}each start begins at `from` \
            again: lines come at least once, and may be repeated"
        ));
    }
    let kafka = &config.kafka;
    if used == Some(KAFKA) && kafka.security == Security::Sasl && kafka.sasl == Some(Sasl::Plain) {
        warnings.push(
            "kafka: with `security` = `sasl` and `sasl` = `PLAIN` everybody on the way can read \
            the password: use `sasl_tls`, or SCRAM"
                .to_owned(),
        );
    }
    if used.is_some() {
        warnings.extend(long_lines(config));
    }
    if let Some(routes) = &config.engine.routes {
        warnings.extend(missing_labels(config, routes));
        warnings.extend(missing_jobs(config, routes));
    }
    warnings.extend(useless_jobs(config));
    if matches!(config.engine.format, Format::Raw | Format::Text) {
        warnings.extend(of_plain_formats(config));
    }
    warnings
}

/// Lines that can become records which are too large.
fn long_lines(config: &Config) -> Option<String> {
    let (limit, whose) = match config.output {
        Output::Kafka(_) => {
            let whose =
                "message.max.bytes in [kafka.properties] and max.message.bytes of the topic";
            (record_bytes_max(&config.kafka), whose)
        }
        _ => (PAYLOAD_BYTES_MAX, "max_payload of the servers"),
    };
    let longest = config.engine.record_bytes_max();
    (longest > limit).then(|| {
        let output = &config.output;
        format!(
            "{output}: with max_line_bytes = {} a record can have {longest} bytes, and {limit} are \
            taken unless {whose} say more: a larger record is refused",
            config.engine.line_bytes_max
        )
    })
}

/// Labels that a topic, a subject or a key refers to and an input does not have.
fn missing_labels(config: &Config, routes: &Routes) -> Vec<String> {
    let mut names: Vec<&str> = routes.destination.labels().chain(routes.key.labels()).collect();
    names.sort_unstable();
    names.dedup();
    let inputs = &config.engine.inputs;
    names.retain(|name| {
        !inputs.iter().all(|input| input.labels.iter().any(|(known, _)| known == name))
    });
    let warning = |name: &str| {
        let output = &config.output;
        format!(
            "{output}: {{label:{name}}} is empty for an input without the label `{name}`: in a \
            topic or a subject it becomes `_`"
        )
    };
    names.into_iter().map(warning).collect()
}

/// A topic, a subject or a key refers to the number of a job that no pattern finds.
fn missing_jobs(config: &Config, routes: &Routes) -> Option<String> {
    let has_id = |input: &InputConfig| {
        input.job.pattern.as_ref().is_some_and(|job| job.names().any(|name| name == ID))
    };
    (routes.has_job() && !config.engine.inputs.iter().all(has_id)).then(|| {
        format!(
            "{}: {{job}} is {{file}} for an input without a pattern `job` that has a group `id`",
            config.output
        )
    })
}

/// Fields of jobs that records have no place for, and no topic, subject or key either.
fn useless_jobs(config: &Config) -> Option<String> {
    let engine = &config.engine;
    let is_useless = engine.format != Format::Json
        && !engine.routes.as_ref().is_some_and(Routes::has_job)
        && engine.inputs.iter().any(|input| !input.job.is_empty());
    is_useless.then(|| {
        "job and uid are part of json records: with another format they change nothing".to_owned()
    })
}

/// Labels and host of records that have no place for them.
fn of_plain_formats(config: &Config) -> Vec<String> {
    let engine = &config.engine;
    let is_in_route = engine
        .routes
        .as_ref()
        .is_some_and(|routes| routes.destination.labels().chain(routes.key.labels()).count() > 0);
    let mut warnings = Vec::new();
    if !is_in_route && engine.inputs.iter().any(|input| !input.labels.is_empty()) {
        warnings.push(
            "labels are part of json and syslog records: with another format they change nothing"
                .to_owned(),
        );
    }
    if engine.routes.is_none() && engine.host.is_some() {
        warnings.push(
            "host is part of json and syslog records: with another format it changes nothing"
                .to_owned(),
        );
    }
    warnings
}
