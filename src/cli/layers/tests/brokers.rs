//! Outputs that are brokers: the tables `[kafka]` and `[nats]`, their defaults, and every refusal.

mod refusals;

use super::*;
use crate::config::{Compression, Header, Kafka, Nats, OnRefused, Sasl, Security};
use crate::settings::{BROKERS, KAFKA, NATS};

/// What a settings file has to say beside one key of a table, so that it is a whole.
fn beside(row: &Row) -> &'static str {
    match row.key {
        Key::KafkaSecurity => "",
        Key::KafkaCaFile => "security = 'tls'",
        Key::KafkaCertificateFile => "security = 'tls'\nkey_file = 'k'",
        Key::KafkaKeyFile => "security = 'tls'\ncertificate_file = 'c'",
        Key::KafkaSasl => "security = 'sasl_tls'\nuser = 'u'\npassword_file = 'p'",
        Key::KafkaUser => "security = 'sasl_tls'\nsasl = 'PLAIN'\npassword_file = 'p'",
        Key::KafkaPasswordFile => "security = 'sasl_tls'\nsasl = 'PLAIN'\nuser = 'u'",
        Key::NatsReplicas => "create = true",
        Key::NatsUser => "password_file = 'p'",
        Key::NatsPasswordFile => "user = 'u'",
        Key::NatsCaFile => "tls = true",
        Key::NatsCertificateFile => "tls = true\nkey_file = 'k'",
        Key::NatsKeyFile => "tls = true\ncertificate_file = 'c'",
        _ => "",
    }
}

/// A line that says something else than the default.
fn line(row: &Row) -> String {
    let value = match row.key {
        Key::NatsReplicas => "5",
        Key::KafkaTransactionTimeout => "20s",
        Key::KafkaSasl => "GSSAPI",
        _ => other_value(row),
    };
    let value = match row.kind {
        Kind::Boolean => (if row.default == Some("true") { "false" } else { "true" }).to_owned(),
        _ => match row.kind.form() {
            Form::List => format!("['{value}']"),
            Form::Table => format!("{{ {value} }}"),
            _ => format!("'{value}'"),
        },
    };
    format!("{} = {value}\n", row.bare_name())
}

/// A file with one of the tables, which has these lines beside what it cannot be without.
fn with_table(table: &str, lines: &str) -> Surroundings {
    let (output, address) = if table == KAFKA {
        ("kafka:jobs", "brokers = ['k:9092']")
    } else {
        ("nats:jobs", "servers = ['nats://n:4222']")
    };
    let address = if lines.contains(address.split(' ').next().unwrap()) { "" } else { address };
    file(&format!("output = '{output}'\nstate_dir = '/s'\n[{table}]\n{address}\n{lines}\n"))
}

fn kafka(lines: &str) -> Kafka {
    with_table(KAFKA, lines).settings(&["D"]).config.kafka
}

fn nats(lines: &str) -> Nats {
    with_table(NATS, lines).settings(&["D"]).config.nats
}

#[test]
fn a_broker_is_reached_by_one_line_and_has_defaults_of_its_own() {
    for (output, table) in [("kafka:jobs", KAFKA), ("nats:jobs.{host}", NATS)] {
        let line = ["--output", output, "--brokers", "k1:9092,[::1]:9092", "--state-dir=/s", "D"];
        let settings = Surroundings::new(&[]).read(&line).unwrap();
        let (config, own) = (&settings.config, crate::sys::host::name().unwrap());
        assert_eq!(config.output.to_string(), output);
        let (kafka, nats) = (&config.kafka.brokers, &config.nats.servers);
        if table == KAFKA {
            assert_eq!(
                (&kafka[..], nats.len()),
                (&["k1:9092", "[::1]:9092"].map(str::to_owned)[..], 0)
            );
        } else {
            let servers = ["nats://k1:9092", "nats://[::1]:9092"].map(str::to_owned);
            assert_eq!((kafka.len(), &nats[..]), (0, &servers[..]));
        }
        assert_eq!(config.engine.format, Format::Json);
        assert_eq!(config.engine.line_bytes_max, 128 << 10);
        assert_eq!(config.engine.host, Some(own.clone()));
        let routes = config.engine.routes.as_ref().unwrap();
        assert_eq!(
            (routes.destination.text(), routes.key.text(), &routes.host),
            (output.split_once(':').unwrap().1, "{file}", &own)
        );
        for key in ["format", "host", "max_line_bytes"] {
            assert_eq!(source(&settings, key), "default");
        }
        let addresses = if table == KAFKA { "kafka.brokers" } else { "nats.servers" };
        assert_eq!(source(&settings, addresses), "command line");
        assert_eq!(settings.origin.warnings, [] as [&str; 0]);
    }
}

#[test]
fn addresses_of_the_command_line_and_the_environment_win_over_the_table() {
    let lines = "brokers = ['a:1', 'b:1']";
    let brokers = |settings: &Settings| settings.config.kafka.brokers.clone();
    let settings = with_table(KAFKA, lines).settings(&["D"]);
    assert_eq!(
        (brokers(&settings), &*source(&settings, "kafka.brokers")),
        (vec!["a:1".into(), "b:1".into()], "main.toml:5")
    );
    let surroundings = with_table(KAFKA, lines).with("MANYTAIL_BROKERS", "c:1,d:1");
    let settings = surroundings.settings(&["D"]);
    assert_eq!(brokers(&settings), ["c:1", "d:1"]);
    assert_eq!(source(&settings, "kafka.brokers"), "environment variable MANYTAIL_BROKERS");
    assert_eq!(brokers(&surroundings.settings(&["--brokers=e:1", "D"])), ["e:1"]);
    let settings = with_table(NATS, "").settings(&["--brokers=tls://e:1", "D"]);
    assert_eq!(settings.config.nats.servers, ["tls://e:1"]);
}

#[test]
fn what_somebody_says_counts_for_a_broker_too() {
    let text = "output = 'kafka:jobs'\nformat = 'raw'\nhost = false\nmax_line_bytes = '1MiB'\n\
                [kafka]\nbrokers = ['k:1']\n";
    let config = file(text).settings(&["--state-dir=/s", "D"]).config;
    let engine = config.engine;
    assert_eq!((engine.format, engine.host, engine.line_bytes_max), (Format::Raw, None, 1 << 20));
    // Topics and subjects have a host in any case.
    assert_eq!(engine.routes.unwrap().host, crate::sys::host::name().unwrap());
    let config = file(&text.replace("false", "'node7'")).settings(&["D"]).config;
    assert_eq!(config.engine.host.as_deref(), Some("node7"));
    assert_eq!(config.engine.routes.unwrap().host, "node7");
}

#[test]
fn an_output_that_is_no_broker_has_no_routes_and_the_old_defaults() {
    let config = file("[kafka]\nbrokers = ['k:1']\n").settings(&["D"]).config;
    assert!(config.engine.routes.is_none() && config.engine.host.is_none());
    assert_eq!((config.engine.format, config.engine.line_bytes_max), (Format::Text, 1 << 20));
}

#[test]
fn the_defaults_of_the_tables_are_those_of_the_types() {
    let settings = file("").settings(&["D"]);
    assert_eq!(settings.config.kafka, Kafka::default());
    assert_eq!(settings.config.nats, Nats::default());
}

#[test]
fn every_key_of_a_table_changes_the_run_and_is_shown_with_its_place() {
    for row in &BROKERS {
        let table = row.table().unwrap();
        let without = run(&with_table(table, beside_alone(row)).settings(&["D"]));
        let text = format!("{}{}", line(row), beside(row));
        let settings = with_table(table, &text).settings(&["D"]);
        assert_ne!(run(&settings), without, "{}", row.name);
        let mut all = settings.origin.effective.settings.iter();
        let setting = all.find(|setting| setting.key == row.name).unwrap();
        assert!(setting.source.to_string().contains("main.toml:"), "{}", row.name);
        // A table that is not used is read all the same.
        let unused = file(&format!("[{table}]\n{}", line(row))).settings(&["D"]);
        let is_route = row.key == Key::KafkaKey;
        assert_eq!(run(&unused) == run(&file("").settings(&["D"])), is_route, "{}", row.name);
    }
}

/// The same without what the key itself has to do with.
fn beside_alone(row: &Row) -> &'static str {
    match row.key {
        Key::KafkaCaFile | Key::KafkaCertificateFile | Key::KafkaKeyFile => "security = 'tls'",
        Key::NatsReplicas => "create = true",
        Key::NatsCaFile | Key::NatsCertificateFile | Key::NatsKeyFile => "tls = true",
        _ => "",
    }
}

#[test]
fn values_of_the_tables_have_their_types() {
    let it = kafka(
        "transactions = false\ntransaction_timeout = '1min'\noffsets_topic = 'commits'\n\
         headers = ['path', 'offset']\ncompression = 'lz4'\nsecurity = 'sasl_tls'\n\
         ca_file = '/ca'\nsasl = 'SCRAM-SHA-512'\nuser = 'u'\npassword_file = '/p'\n\
         on_refused = 'skip'\nproperties = { 'linger.ms' = 7, 'client.id' = 'a=b' }\n",
    );
    assert_eq!((it.transactions, it.transaction_timeout), (false, Duration::from_secs(60)));
    assert_eq!(it.offsets_topic.as_deref(), Some("commits"));
    assert_eq!(it.headers, [Header::Path, Header::Offset]);
    assert_eq!((it.compression, it.security), (Compression::Lz4, Security::SaslTls));
    assert_eq!((it.certificates.ca_file, it.sasl), (Some("/ca".into()), Some(Sasl::ScramSha512)));
    assert_eq!((it.user.as_deref(), it.password_file), (Some("u"), Some("/p".into())));
    assert_eq!(it.on_refused, OnRefused::Skip);
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let properties: Vec<_> = it.properties.into_iter().collect();
    assert_eq!(properties, [property("client.id", "a=b"), property("linger.ms", "7")]);
    let it = kafka("[kafka.properties]\nsocket.keepalive.enable = true\n'linger.ms' = '9'\n");
    let properties: Vec<_> = it.properties.into_iter().collect();
    assert_eq!(
        properties,
        [property("linger.ms", "9"), property("socket.keepalive.enable", "true")]
    );

    let it = nats("stream = 'JOBS'\ncreate = true\nreplicas = 1\ncredentials_file = '/c'\n");
    assert_eq!((it.stream.as_deref(), it.create, it.replicas), (Some("JOBS"), true, 1));
    assert_eq!(it.credentials_file, Some("/c".into()));
}

#[test]
fn the_key_of_records_is_a_name_or_a_text_with_fields() {
    for (key, template) in [
        ("path", "{path}"),
        ("label:cluster", "{label:cluster}"),
        ("{host}/{path}", "{host}/{path}"),
    ] {
        let settings =
            with_table(KAFKA, &format!("key = '{key}'")).settings(&["--label=cluster=a", "D"]);
        assert_eq!(settings.config.engine.routes.unwrap().key.text(), template);
    }
}

#[test]
fn later_files_win_key_by_key() {
    let settings = Surroundings::new(&[
        ("main.toml", "output = 'kafka:a'\nstate_dir = '/s'\n[kafka]\nbrokers = ['a:1']\nkey = 'path'\nheaders = ['path']\n"),
        ("conf.d/10.toml", "kafka.headers = ['host']\n[nats]\nservers = ['n:1']\n"),
    ])
    .settings(&["D"]);
    assert_eq!(settings.config.kafka.headers, [Header::Host]);
    assert_eq!(settings.config.kafka.brokers, ["a:1"]);
    assert_eq!(settings.config.engine.routes.unwrap().key.text(), "{path}");
    assert_eq!(settings.config.nats.servers, ["nats://n:1"]);
}

#[test]
fn a_relative_name_leads_from_the_credentials_of_the_service_or_from_the_settings_file() {
    let lines = "security = 'sasl_tls'\nsasl = 'PLAIN'\nuser = 'u'\npassword_file = 'secret'\nca_file = '/ca.pem'\n";
    let surroundings = with_table(KAFKA, lines);
    let it = surroundings.settings(&["D"]).config.kafka;
    assert_eq!(it.password_file, Some(surroundings.path("secret")));
    assert_eq!(it.certificates.ca_file, Some("/ca.pem".into()));

    let credentials = tempfile::tempdir().unwrap();
    let surroundings =
        surroundings.with("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap());
    let password_file = || surroundings.settings(&["D"]).config.kafka.password_file.unwrap();
    assert_eq!(password_file(), surroundings.path("secret"), "it is not among them");
    fs::write(credentials.path().join("secret"), "x").unwrap();
    assert_eq!(password_file(), credentials.path().join("secret"));

    let surroundings = Surroundings::new(&[
        ("main.toml", "output = 'nats:jobs'\n"),
        ("conf.d/10.toml", "[nats]\nservers = ['n:1']\nnkey_file = '../nkey'\n"),
    ]);
    let it = surroundings.settings(&["D"]).config.nats;
    assert_eq!(it.nkey_file, Some(surroundings.path("conf.d/../nkey")));
}

#[test]
fn values_of_the_tables_may_refer_to_variables() {
    let lines = "brokers = ['${BROKER}:9092']\noffsets_topic = '${CLUSTER:-west}-commits'\n\
                 properties = { 'client.id' = '${CLUSTER:-west}' }\nsecurity = 'tls'\nca_file = '${CA}'\n";
    let surroundings = with_table(KAFKA, lines).with("BROKER", "k1").with("CA", "/ca.pem");
    let it = surroundings.settings(&["D"]).config.kafka;
    assert_eq!(it.brokers, ["k1:9092"]);
    assert_eq!(it.offsets_topic.as_deref(), Some("west-commits"));
    assert_eq!(it.properties["client.id"], "west");
    assert_eq!(it.certificates.ca_file, Some("/ca.pem".into()));
    let refusal = with_table(KAFKA, lines).refusal(&["D"]);
    for part in ["kafka.brokers: ${BROKER}: the environment variable", "kafka.ca_file: ${CA}"] {
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[test]
fn what_a_broker_does_not_promise_is_a_warning() {
    let warnings = |surroundings: Surroundings, arguments: &[&str]| {
        surroundings.settings(&[arguments, &["D"]].concat()).origin.warnings
    };
    let without = |table: &str, lines: &str| {
        let text = format!("output = '{table}:jobs'\n[{table}]\n{lines}\n");
        warnings(file(&text), &["--brokers=b:1"])
    };
    let [warning] = &without(KAFKA, "")[..] else { panic!("one warning") };
    assert!(
        warning.starts_with(
            "kafka: without a state directory (--state-dir) there are no \
        transactions"
        ) && warning.contains("at least once"),
        "{warning}"
    );
    let [warning] = &without(KAFKA, "transactions = false")[..] else { panic!("one warning") };
    assert!(!warning.contains("transactions") && warning.contains("at least once"), "{warning}");
    let [warning] = &without(NATS, "")[..] else { panic!("one warning") };
    assert!(warning.starts_with("nats: without a state directory"), "{warning}");

    assert_eq!(warnings(with_table(KAFKA, ""), &[]), [] as [&str; 0]);
    let sasl = "security = 'sasl'\nsasl = 'PLAIN'\nuser = 'u'\npassword_file = 'p'";
    let [warning] = &warnings(with_table(KAFKA, sasl), &[])[..] else { panic!("one warning") };
    assert!(warning.contains("everybody on the way can read the password"), "{warning}");
    for (arguments, properties, expected) in [
        (&["--max-line-bytes=128KiB"][..], "", 0),
        (&["--max-line-bytes=1MiB"], "", 1),
        (&["--max-line-bytes=1MiB", "--format=raw"], "", 1),
        (&["--max-line-bytes=1MiB"], "properties = { \"message.max.bytes\" = \"9000000\" }", 0),
    ] {
        let warnings = warnings(with_table(KAFKA, properties), arguments);
        let count = warnings.iter().filter(|warning| warning.contains("a record can have")).count();
        assert_eq!(count, expected, "{arguments:?}: {warnings:?}");
    }
    let unused = with_table(KAFKA, "[nats]\nservers = ['n:1']");
    let place = unused.path("main.toml").display().to_string();
    let expected = format!("[nats] ({place}:6) changes nothing: the output is kafka:jobs");
    assert_eq!(warnings(unused, &[]), [expected]);
}

#[test]
fn a_label_that_an_input_lacks_is_a_warning_and_labels_of_topics_are_used_in_any_format() {
    let text = |labels: &str| {
        file(&format!(
            "output = 'kafka:jobs-{{label:a}}'\nformat = 'raw'\nstate_dir = '/s'\n[kafka]\n\
             brokers = ['k:1']\noffsets_topic = 'c'\n[[input]]\npaths = ['A']\nlabels.a = '1'\n\
             [[input]]\npaths = ['B']\n{labels}\n"
        ))
        .settings(&[])
        .origin
        .warnings
    };
    assert_eq!(text("labels.a = '2'"), [] as [&str; 0]);
    let [warning] = &text("labels.b = '2'")[..] else { panic!("one warning") };
    assert!(warning.contains("{label:a} is empty for an input without the label `a`"), "{warning}");
}

/// What a run does with each value that differs.
fn changes(before: &Settings, after: &Settings) -> Vec<(String, bool)> {
    let differences = before.origin.effective.differences(&after.origin.effective);
    let is_live = |change: Change| change != Change::Restart;
    differences
        // Each test has a directory of its own.
        .filter(|(before, _)| before.key != Key::Config.name())
        .map(|(before, after)| (before.key.clone(), is_live(before.change_to(after))))
        .collect()
}

#[test]
fn a_change_of_a_table_needs_a_restart_and_so_does_what_a_broker_knows_us_by() {
    let before = file("").settings(&["D"]);
    for row in &BROKERS {
        let after = file(&format!("[{}]\n{}", row.table().unwrap(), line(row))).settings(&["D"]);
        assert_eq!(changes(&before, &after), [(row.name.to_owned(), false)]);
    }
    let live = ["--host=n", "--max-line-bytes=7", "--commit-interval=2s", "--coalesce=7ms", "D"];
    let (kafka, stdout) = (with_table(KAFKA, ""), file("format = 'json'\nstate_dir = '/s'\n"));
    let of = |surroundings: &Surroundings| {
        changes(&surroundings.settings(&["D"]), &surroundings.settings(&live))
    };
    let expected = |is_live| {
        [
            ("host", is_live),
            ("max_line_bytes", is_live),
            ("commit_interval", is_live),
            ("coalesce", true),
        ]
        .map(|(key, is_live)| (key.to_owned(), is_live))
    };
    assert_eq!(of(&kafka), expected(false));
    assert_eq!(of(&stdout), expected(true));
    // Defaults that come with another output wait with it, whichever way it changes.
    let (kafka, stdout) = (kafka.settings(&["D"]), stdout.settings(&["D"]));
    for (before, after) in [(&kafka, &stdout), (&stdout, &kafka)] {
        let changes = changes(before, after);
        for key in ["output", "host", "max_line_bytes"] {
            assert!(changes.contains(&(key.to_owned(), false)), "{key}: {changes:?}");
        }
    }
}

#[test]
fn what_check_prints_of_a_broker_says_the_same_again_and_nothing_of_another_one() {
    let lines = "key = 'path'\nheaders = ['path', 'host']\nsecurity = 'sasl_tls'\nsasl = \
                 'PLAIN'\nuser = 'u'\npassword_file = 'secret'\n\
                 [kafka.properties]\nsocket.keepalive.enable = true\n'client.id' = '$${x} \"'\n";
    let surroundings = with_table(KAFKA, lines);
    fs::write(surroundings.path("secret"), "hunter2").unwrap();
    let settings = surroundings.settings(&["D"]);
    let printed = |settings: &Settings| {
        let (mut toml, mut json) = (Vec::new(), Vec::new());
        settings.origin.effective.write_toml(&mut toml).unwrap();
        settings.origin.effective.write_json(&mut json).unwrap();
        [toml, json].map(|text| String::from_utf8(text).unwrap())
    };
    let [toml, json] = printed(&settings);
    for row in &BROKERS {
        let is_shown = toml.contains(row.name) && json.contains(&format!("\"{}\"", row.name));
        assert_eq!(is_shown, row.table() == Some(KAFKA), "{}", row.name);
    }
    let path = surroundings.path("secret").display().to_string();
    assert!(toml.contains(&format!("kafka.password_file    = \"{path}\"")), "{toml}");
    assert!(!toml.contains("hunter2") && !json.contains("hunter2"));
    assert!(json.contains(r#"{"client.id":"${x} \"","socket.keepalive.enable":"true"}"#), "{json}");
    let again = file(&toml).settings(&[]);
    assert_eq!(run(&again), run(&settings));

    let [toml, _] = printed(&file("[nats]\nreplicas = 2\n").settings(&["D"]));
    assert!(toml.contains("nats.replicas") && !toml.contains("nats.tls"), "{toml}");
    assert!(!toml.contains("kafka."), "{toml}");
}
