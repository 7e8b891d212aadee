//! What is refused of outputs that are brokers, where it was said; and that no secret is shown.

use super::*;

/// Why a table with these lines is refused, without the place.
#[track_caller]
fn refused(table: &str, lines: &str) -> String {
    let refusal = with_table(table, lines).refusal(&["D"]);
    refusal.trim_start_matches("main.toml:").trim_start_matches(char::is_numeric).to_owned()
}

#[test]
fn what_does_not_fit_together_in_a_table_is_refused_at_its_key() {
    let sasl = "security = 'sasl_tls'\nsasl = 'PLAIN'\n";
    for (table, lines, key, reason) in [
        (KAFKA, "transaction_timeout = '999ms'", "transaction_timeout", "between 1s and 15min"),
        (KAFKA, "transaction_timeout = '16min'", "transaction_timeout", "between 1s and 15min"),
        (
            KAFKA,
            "transaction_timeout = '1s'",
            "transaction_timeout",
            "`commit_interval` (1s) must be at most half of `transaction_timeout` of [kafka] (1s)",
        ),
        (KAFKA, "sasl = 'PLAIN'\nuser = 'u'\npassword_file = 'p'", "sasl", "needs `security`"),
        (KAFKA, "security = 'tls'\nsasl = 'PLAIN'", "sasl", "needs `security` = `sasl_tls`"),
        (KAFKA, "security = 'sasl'", "security", "needs `sasl`: PLAIN, SCRAM-SHA-256"),
        (KAFKA, "security = 'sasl_tls'", "security", "needs `sasl`"),
        (KAFKA, "user = 'u'\npassword_file = 'p'", "user", "needs `security` = `sasl_tls`"),
        (KAFKA, "password_file = 'p'\nuser = 'u'", "password_file", "needs `security`"),
        (KAFKA, &format!("{sasl}user = 'u'"), "user", "needs `password_file`"),
        (KAFKA, &format!("{sasl}password_file = 'p'"), "password_file", "needs `user`"),
        (KAFKA, sasl, "sasl", "needs `user` and `password_file`"),
        (KAFKA, "ca_file = 'c'", "ca_file", "is for TLS, which is not asked for: say `security`"),
        (KAFKA, "certificate_file = 'c'\nkey_file = 'k'", "certificate_file", "is for TLS"),
        (KAFKA, "key_file = 'k'\ncertificate_file = 'c'", "key_file", "is for TLS"),
        (KAFKA, "security = 'tls'\ncertificate_file = 'c'", "certificate_file", "needs `key_file`"),
        (KAFKA, "security = 'tls'\nkey_file = 'k'", "key_file", "needs `certificate_file`"),
        (KAFKA, "headers = ['path', 'path']", "headers", "is there twice"),
        (NATS, "replicas = 1", "replicas", "say `create = true`"),
        (NATS, "create = true\nstream = 'S'\nreplicas = 0", "replicas", "must be 1 to 5"),
        (NATS, "create = true\nstream = 'S'\nreplicas = 6", "replicas", "must be 1 to 5"),
        (NATS, "user = 'u'", "user", "needs `password_file`"),
        (NATS, "password_file = 'p'", "password_file", "needs `user`"),
        (NATS, "nkey_file = 'n'\ncredentials_file = 'c'", "nkey_file", "`credentials_file`"),
        (NATS, "user = 'u'\npassword_file = 'p'\nnkey_file = 'n'", "user", "`nkey_file`"),
        (NATS, "ca_file = 'c'", "ca_file", "is for TLS, which is not asked for: say `tls = true`"),
        (NATS, "tls = true\ncertificate_file = 'c'", "certificate_file", "needs `key_file`"),
        (NATS, "tls = true\nkey_file = 'k'", "key_file", "needs `certificate_file`"),
    ] {
        let refusal = refused(table, lines);
        assert!(
            refusal.contains(&format!("{table}.{key}: ")) && refusal.contains(reason),
            "{table}, {lines}: {refusal}"
        );
        // Nothing uses the table.
        assert!(
            file(&format!("[{table}]\n{lines}\n")).settings(&["D"]).config.engine.routes.is_none()
        );
    }
    // `tls://` asks for TLS, too.
    let it = nats("servers = ['tls://n:1']\nca_file = '/c'\n");
    assert_eq!(it.certificates.ca_file, Some("/c".into()));
}

#[test]
fn a_commit_interval_is_at_most_half_of_the_timeout_of_transactions() {
    let text = |interval: &str, lines: &str| {
        file(&format!(
            "output = 'kafka:jobs'\nstate_dir = '/s'\ncommit_interval = '{interval}'\n\
             [kafka]\nbrokers = ['k:1']\n{lines}\n"
        ))
    };
    assert!(text("5s", "").with_main(&["D"]).is_ok());
    let refusal = text("5001ms", "").refusal(&["D"]);
    let expected = "main.toml:3: commit_interval: `commit_interval` (5s 1ms) must be at most half";
    assert!(refusal.starts_with(expected), "{refusal}");
    let refusal = text("1s", "").refusal(&["--commit-interval=6s", "D"]);
    assert!(refusal.contains("--commit-interval: `commit_interval` (6s) must be"), "{refusal}");
    for lines in ["transactions = false", "transaction_timeout = '12s'"] {
        assert!(text("6s", lines).with_main(&["D"]).is_ok(), "{lines}");
    }
}

#[test]
fn a_broker_that_nobody_names_is_asked_for_with_what_to_write() {
    for (output, say) in [
        ("kafka:jobs", "say --brokers HOST:PORT, or `brokers = [\"HOST:PORT\"]` below [kafka]"),
        (
            "nats:jobs",
            "say --brokers HOST:PORT, or `servers = [\"nats://HOST:PORT\"]` below [nats]",
        ),
    ] {
        let refusal = Surroundings::new(&[]).read(&["--output", output, "D"]).unwrap_err();
        let refusal = refusal.to_string();
        assert!(refusal.contains("--output: ") && refusal.contains(say), "{refusal}");
        let refusal = file(&format!("\noutput = '{output}'\n")).refusal(&["D"]);
        assert!(refusal.starts_with("main.toml:2: output: ") && refusal.contains(say), "{refusal}");
    }
    let refusal = file("output = 'tcp:h:1'\n").refusal(&["--brokers=k:1", "D"]);
    assert!(
        refusal.contains(
            "--brokers: is for the outputs kafka:TOPIC and nats:SUBJECT, and the \
            output is tcp:h:1"
        ),
        "{refusal}"
    );
}

#[test]
fn a_topic_that_differs_between_files_has_a_topic_for_the_number_of_commits() {
    let text = |lines: &str| {
        file(&format!(
            "output = 'kafka:jobs-{{label:a}}'\n[kafka]\nbrokers = ['k:1']\n{lines}\n[labels]\na = \
             'b'\n"
        ))
    };
    let kept = ["--state-dir=/s", "D"];
    let refusal = text("").refusal(&kept);
    assert!(
        refusal.starts_with("main.toml:1: output: ") && refusal.contains("`offsets_topic = "),
        "{refusal}"
    );
    for lines in ["offsets_topic = 'commits'", "transactions = false"] {
        assert!(text(lines).with_main(&kept).is_ok(), "{lines}");
    }
    assert!(text("").with_main(&["D"]).is_ok(), "there are no transactions");
    let with_host = with_table(KAFKA, "").settings(&["--output=kafka:jobs-{host}", "D"]);
    assert_eq!(with_host.config.kafka.offsets_topic, None);
    let name = "x".repeat(250);
    let refusal = with_table(KAFKA, "").refusal(&[
        "--output=kafka:jobs-{host}",
        &format!("--host={name}"),
        "D",
    ]);
    assert!(refusal.contains("more than 249 bytes"), "{refusal}");
}

#[test]
fn syslog_is_refused_for_brokers() {
    for table in [KAFKA, NATS] {
        let refusal = with_table(table, "").refusal(&["--format=syslog", "D"]);
        assert!(refusal.contains("--format: `syslog` is for a receiver of syslog"), "{refusal}");
        assert!(refusal.contains("not for a broker: use json there"), "{refusal}");
    }
}

#[test]
fn values_of_a_table_that_cannot_be_are_refused_with_file_line_and_key() {
    for (table, lines, expected) in [
        (KAFKA, "brokers = 'k:1'", "kafka.brokers: expected a list of strings"),
        (
            KAFKA,
            "brokers = ['k']",
            "kafka.brokers: `k`: expected a host name or address and a port",
        ),
        (KAFKA, "brokers = ['nats://k:1']", "kafka.brokers: `nats://k:1`: expected a host name"),
        (
            KAFKA,
            "transactions = 'no'",
            "kafka.transactions: expected true or false, without quotes",
        ),
        (KAFKA, "transaction_timeout = 5", "kafka.transaction_timeout: `5`: expected numbers with"),
        (
            KAFKA,
            "offsets_topic = 'a/b'",
            "kafka.offsets_topic: `a/b`: expected the name of a topic",
        ),
        (
            KAFKA,
            "key = 'task'",
            "kafka.key: `task`: expected file, path, job, label:NAME or a text with",
        ),
        (KAFKA, "key = '{task}'", "kafka.key: `{task}`: {task} is not a field"),
        (KAFKA, "headers = ['size']", "kafka.headers: `size`: expected host, path, file, offset"),
        (KAFKA, "compression = 'bzip2'", "kafka.compression: `bzip2`: expected none, lz4, zstd"),
        (KAFKA, "security = 'ssl'", "kafka.security: `ssl`: expected plain, tls, sasl, sasl_tls"),
        (KAFKA, "sasl = 'OAUTHBEARER'", "kafka.sasl: `OAUTHBEARER`: expected PLAIN, SCRAM-SHA-256"),
        (KAFKA, "ca_file = ''", "kafka.ca_file: is empty"),
        (KAFKA, "ca_file = ['a']", "kafka.ca_file: expected a string, not a list"),
        (KAFKA, "user = ''", "kafka.user: is empty"),
        (KAFKA, "on_refused = 'drop'", "kafka.on_refused: `drop`: expected block, skip"),
        (KAFKA, "properties = ['a']", "kafka.properties: expected a table of strings"),
        (KAFKA, "properties.a = 1.5", "kafka.properties.a: expected a string, an integer or true"),
        (KAFKA, "properties.'a b' = 1", "kafka.properties.a b: is no name of a property"),
        (KAFKA, "properties.'' = 1", "kafka.properties.: is no name of a property"),
        (
            KAFKA,
            "properties = { 'linger.ms' = 1, linger.ms = 2 }",
            "kafka.properties.linger.ms: is there twice",
        ),
        (KAFKA, "properties = { acks = 1 }", "kafka.properties.acks: what is promised rests on it"),
        (
            KAFKA,
            "[kafka.properties]\nmax.in.flight = 6",
            "kafka.properties.max.in.flight: must be 1 to 5",
        ),
        (
            KAFKA,
            "properties = { 'bootstrap.servers' = 'k:1' }",
            "kafka.properties.bootstrap.servers: say `brokers`",
        ),
        (NATS, "servers = ['n:1', 'ws://n:1']", "nats.servers: `ws://n:1`: expected nats://HOST"),
        (NATS, "stream = 'a.b'", "nats.stream: `a.b`: expected the name of a stream"),
        (NATS, "replicas = 'x'", "nats.replicas: `x`: invalid digit"),
        (NATS, "create = 1", "nats.create: expected true or false"),
    ] {
        let refusal = with_table(table, lines).refusal(&["D"]);
        let (place, said) = refusal.split_once(": ").unwrap();
        assert!(place.starts_with("main.toml:") && said.starts_with(expected), "{refusal}");
    }
    assert_eq!(
        file("kafka = 'k:1'").refusal(&["D"]),
        "main.toml:1: kafka: expected a table, under a line [kafka], not a string"
    );
    assert_eq!(
        file("[[nats]]").refusal(&["D"]),
        "main.toml:1: nats: expected a table, under a line [nats], not a list"
    );
}

#[test]
fn a_key_in_the_wrong_place_is_refused_with_the_right_one() {
    for (text, expected) in [
        ("[kafka]\nbroker = ['k:1']", "2: kafka.broker: unknown key; did you mean `brokers`?"),
        ("[kafka]\nca-file = 'c'", "2: kafka.ca-file: unknown key; did you mean `ca_file`?"),
        (
            "[kafka]\nformat = 'json'",
            "2: kafka.format: is none of [kafka]: write it before the first table",
        ),
        (
            "[kafka]\nlinger.ms = 5",
            "2: kafka.linger: unknown key; properties of the client library are in \
             [kafka.properties]",
        ),
        (
            "[nats]\npasswd_file = 'p'",
            "2: nats.passwd_file: unknown key; did you mean `password_file`?",
        ),
        ("[nats]\nxyzzy = 5", "2: nats.xyzzy: unknown key"),
        ("brokers = ['k:1']", "1: brokers: is a key of [kafka]: write it there"),
        ("on_refused = 'skip'", "1: on_refused: is a key of [kafka] or [nats]: write it there"),
        ("[kafak]\nkey = 'path'", "1: kafak: unknown key; did you mean `kafka`?"),
        (
            "[[input]]\npaths = ['D']\nservers = []",
            "3: servers: is a key of [nats]: write it there",
        ),
    ] {
        assert_eq!(file(text).refusal(&["D"]), format!("main.toml:{expected}"), "{text}");
    }
}

#[test]
fn a_build_without_a_client_says_how_to_get_one_that_has_it() {
    let none = Build { kafka: false, kafka_tls: false, kafka_gssapi: false, nats: false };
    let plain = Build { kafka: true, ..none };
    let tls = Build { kafka_tls: true, ..plain };
    let sasl = "security = 'sasl'\nuser = 'u'\npassword_file = 'p'\n";
    for (build, table, lines, key, feature) in [
        (none, KAFKA, "", "output: ", "kafka-tls"),
        (none, NATS, "", "output: ", "nats"),
        (plain, KAFKA, "security = 'tls'", "kafka.security: TLS: ", "kafka-tls"),
        (plain, KAFKA, "compression = 'zstd'", "kafka.compression: ", "kafka-tls"),
        (plain, KAFKA, "compression = 'gzip'", "kafka.compression: ", "kafka-tls"),
        (plain, KAFKA, &format!("{sasl}sasl = 'SCRAM-SHA-512'"), "kafka.sasl: ", "kafka-tls"),
        (tls, KAFKA, &format!("{sasl}sasl = 'GSSAPI'"), "kafka.sasl: Kerberos: ", "kafka-gssapi"),
    ] {
        let mut surroundings = with_table(table, lines);
        surroundings.build = build;
        let refusal = surroundings.refusal(&["D"]);
        let remedy = format!("`cargo build --release --features {feature}`");
        assert!(
            refusal.contains(key) && refusal.contains(&remedy) && refusal.contains("the packages"),
            "{lines}: {refusal}"
        );
        assert_eq!(refusal.matches("cargo build").count(), 1, "{refusal}");
    }
    for lines in
        ["", "compression = 'lz4'", "compression = 'snappy'", &format!("{sasl}sasl = 'PLAIN'")]
    {
        let mut surroundings = with_table(KAFKA, lines);
        surroundings.build = plain;
        assert!(surroundings.with_main(&["D"]).is_ok(), "{lines}");
    }
    // Other outputs do not ask for it.
    let mut surroundings = file("[kafka]\nbrokers = ['k:1']\nsecurity = 'tls'\n");
    surroundings.build = none;
    assert!(surroundings.with_main(&["D"]).is_ok());
}

#[test]
fn all_that_is_wrong_in_the_tables_is_refused_at_once() {
    let refusal = Surroundings::new(&[
        ("main.toml", "output = 'kafka:jobs'\n[kafka]\nbroker = ['k']\nacks = 1\nkey = 'x'\n"),
        ("conf.d/a.toml", "[kafka.properties]\nacks = 1\n[nats]\nreplicas = 'x'\n"),
    ])
    .refusal(&["D"]);
    for place in ["main.toml:3", "main.toml:4", "main.toml:5", "a.toml:2", "a.toml:4"] {
        assert!(refusal.contains(place), "{place}: {refusal}");
    }
    let refusal = with_table(
        KAFKA,
        "security = 'sasl'\ncertificate_file = 'c'\nheaders = ['path', 'path']\n",
    )
    .refusal(&["D"]);
    for key in ["kafka.security", "kafka.certificate_file", "kafka.headers"] {
        assert!(refusal.contains(key), "{key}: {refusal}");
    }
}

/// However somebody writes a secret into the settings, no error repeats it.
#[test]
fn a_secret_is_refused_with_a_hint_and_never_shown() {
    const SECRET: &str = "hunter2";
    for (text, hint) in [
        ("[kafka]\npassword = 'hunter2'", "name that in `password_file`"),
        ("[kafka]\npassword = hunter2", "main.toml:2"),
        ("[kafka]\nsasl_password = 'hunter2'", "`password_file`"),
        ("[nats]\ntoken = 'hunter2'", "`credentials_file` or `nkey_file`"),
        ("[nats]\nseed = 'hunter2'", "`nkey_file`"),
        ("[nats]\nnkey = 'hunter2'", "`nkey_file`"),
        ("[nats]\nnkey = hunter2", "main.toml:2"),
        ("[nats]\npassword = ['hunter2']", "`password_file`"),
        ("[kafka]\nproperties = { 'sasl.password' = 'hunter2' }", "a secret is never"),
        ("[kafka.properties]\nsasl.password = 'hunter2'", "a secret is never"),
        ("[kafka.properties]\nsasl.jaas.config = 'hunter2'", "a secret is never"),
        ("[kafka.properties]\nssl.key.pem = 'hunter2'", "a secret is never"),
        ("[kafka.properties]\nssl.key.password = ['hunter2']", "expected a string"),
        ("[kafka]\nbrokers = ['u:hunter2@k:1']", "no part of an address"),
        ("[nats]\nservers = ['nats://u:hunter2@n:1']", "no part of an address"),
        ("[nats]\nservers = ['nats://hunter2@n:1']", "no part of an address"),
        ("output = 'nats://u:hunter2@n:4222/jobs'", "name the topic or the subject"),
    ] {
        let refusal = file(text).refusal(&["D"]);
        assert!(refusal.contains(hint) && !refusal.contains(SECRET), "{text}: {refusal}");
    }
    for option in
        ["--brokers=nats://u:hunter2@n:1", "--output=nats:u:hunter2@n:1", "-onats://hunter2@n"]
    {
        let refusal = Surroundings::new(&[]).read(&[option, "D"]).unwrap_err().0.to_string();
        assert!(refusal.contains("@n") && !refusal.contains(SECRET), "{option}: {refusal}");
    }
    let refusal = with_table(KAFKA, "").with("MANYTAIL_BROKERS", "u:hunter2@k:1").refusal(&["D"]);
    assert!(refusal.contains("MANYTAIL_BROKERS: `...@k:1`: a user or a secret"), "{refusal}");
}
