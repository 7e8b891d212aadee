//! Settings of outputs that are brokers: `check`, refusals, reload, secrets. No broker is needed:
//! all of it is decided before anybody connects.

use crate::harness::Tail;
use crate::settings::{from_file, reload, run, write_settings};
use crate::world::World;

/// Whether this build can talk to them.
const KAFKA: bool = cfg!(feature = "kafka");
const NATS: bool = cfg!(feature = "nats");

/// A refusal by `run` and by `check` with the same words: what follows `error: `.
#[track_caller]
fn refused(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let [by_run, by_check] = ["run", "check"].map(|command| {
        let (code, stdout, stderr) = run(world, &[&[command], arguments].concat(), variables);
        assert_eq!((code, &*stdout), (Some(2), ""), "{command} {arguments:?}: {stderr}");
        stderr.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    });
    assert_eq!(by_run, by_check, "{arguments:?}");
    by_run
}

/// `check` of settings that are good: stdout and stderr.
#[track_caller]
fn checked(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let arguments = [&["check"], arguments].concat();
    let (code, stdout, stderr) = run(world, &arguments, variables);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

#[test]
fn a_build_without_a_client_refuses_the_output_before_anything_is_made() {
    let world = World::new();
    for (output, is_built, feature) in
        [("kafka:jobs", KAFKA, "kafka-tls"), ("nats:jobs", NATS, "nats")]
    {
        let arguments =
            ["--output", output, "--brokers", "localhost:1", "--state-dir", "state", "tree"];
        if is_built {
            checked(&world, &arguments, &[]);
        } else {
            let refusal = refused(&world, &arguments, &[]);
            let remedy = format!("`cargo build --release --features {feature}`");
            assert!(
                refusal.starts_with("error: --output: this build of manytail has no client")
                    && refusal.contains(&remedy),
                "{refusal}"
            );
        }
    }
    assert!(!world.beside("state").exists());
}

#[test]
fn a_broker_that_nobody_names_and_what_does_not_fit_are_refused_with_the_remedy() {
    let world = World::new();
    for (table, output, address) in
        [("kafka", "kafka:jobs", "brokers"), ("nats", "nats:jobs.{host}", "servers")]
    {
        let refusal = refused(&world, &["--output", output, "--format=syslog", "tree"], &[]);
        assert!(refusal.contains("--format: `syslog` is for a receiver of syslog"), "{refusal}");
        let text = format!("output = '{output}'\n[{table}]\ncertificate_file = 'c'\n");
        write_settings(&world, "m.toml", &text);
        let refusal = refused(&world, &["--config", "m.toml", "tree"], &[]);
        for part in [
            format!("m.toml:1: output: no {} is named: say --brokers", &address[..6]),
            format!("`{address} = ["),
            format!("m.toml:3: {table}.certificate_file: is for TLS"),
            format!("m.toml:3: {table}.certificate_file: needs `key_file`"),
        ] {
            assert!(refusal.contains(&part), "{part:?} is not in\n{refusal}");
        }
    }
    let refusal = refused(&world, &["--brokers", "localhost:1", "tree"], &[]);
    let expected = "error: --brokers: is for the outputs kafka:TOPIC and nats:SUBJECT, and the \
        output is stdout";
    assert_eq!(refusal, expected);
    let refusal = refused(&world, &["--output", "kafka:localhost:9092", "tree"], &[]);
    assert!(refusal.contains("the address of a broker is no part of the output"), "{refusal}");
}

/// A table that no output uses yet is read, and shown, in every build.
#[test]
fn check_shows_what_is_said_of_a_table_with_its_place_and_the_paths_of_files() {
    let world = World::new();
    let text = "[kafka]\nbrokers = ['${BROKER:-k1}:9092']\npassword_file = 'secret'\n\
                ca_file = '/ca.pem'\n[kafka.properties]\nsocket.keepalive.enable = true\n";
    write_settings(&world, "etc/m.toml", text);
    write_settings(&world, "run/secret", "hunter2");
    let show = |variables: &[(&str, &str)]| {
        let (stdout, stderr) = checked(&world, &["--config", "etc/m.toml", "tree"], variables);
        assert!(
            stderr
                .contains("warning: [kafka] (etc/m.toml:2) changes nothing: the output is stdout"),
            "{stderr}"
        );
        assert!(!stdout.contains("hunter2") && !stdout.contains("nats."), "{stdout}");
        stdout
    };
    let directory = world.beside("run");
    for (variables, broker, secret) in [
        (&[][..], "k1:9092", world.beside("etc/secret")),
        (&[("BROKER", "k2")], "k2:9092", world.beside("etc/secret")),
        (
            &[("CREDENTIALS_DIRECTORY", directory.to_str().expect("UTF-8"))],
            "k1:9092",
            world.beside("run/secret"),
        ),
    ] {
        let stdout = show(variables);
        for (line, place) in [
            (format!("kafka.brokers          = [\"{broker}\"]"), 2),
            (format!("kafka.password_file    = \"{}\"", secret.display()), 3),
            ("kafka.ca_file          = \"/ca.pem\"".to_owned(), 4),
            ("kafka.properties       = { \"socket.keepalive.enable\" = \"true\" }".to_owned(), 5),
        ] {
            let is_line = |printed: &str| {
                printed.starts_with(&line) && printed.ends_with(&format!("  # etc/m.toml:{place}"))
            };
            assert!(stdout.lines().any(is_line), "{line:?} is not in\n{stdout}");
        }
    }
}

#[test]
fn the_defaults_of_a_broker_are_shown_by_check_and_hold_where_nothing_is_said() {
    let world = World::new();
    for (output, table, is_built) in [("kafka:jobs", "kafka", KAFKA), ("nats:jobs", "nats", NATS)] {
        if !is_built {
            continue;
        }
        let (stdout, stderr) = checked(&world, &["-o", output, "--brokers", "b:1", "tree"], &[]);
        let warning = format!("manytail: warning: {table}: without a state directory");
        assert!(stderr.starts_with(&warning), "{stderr}");
        assert_eq!(stderr.contains("there are no transactions"), table == "kafka", "{stderr}");
        for line in [
            "format                 = \"json\"                       # default",
            "host                   = true                         # default",
            "max_line_bytes         = \"128KiB\"                     # default",
        ] {
            assert!(stdout.lines().any(|printed| printed == line), "{line:?} is not in\n{stdout}");
        }
        assert!(stdout.contains(&format!("{table}.on_refused")), "{stdout}");
        let arguments = ["-o", output, "--brokers", "b:1", "--state-dir", "state", "tree"];
        let (_, stderr) = checked(&world, &arguments, &[]);
        assert_eq!(stderr, "");
    }
}

/// However somebody writes a secret into settings, variables or the command line.
#[test]
fn no_error_and_no_answer_of_check_shows_a_secret() {
    let world = World::new();
    for text in [
        "[kafka]\npassword = 'hunter2'\n",
        "[kafka]\npassword = hunter2\n",
        "[nats]\ntoken = 'hunter2'\n",
        "[nats]\nservers = ['nats://me:hunter2@n:4222']\n",
        "[kafka]\nbrokers = ['me:hunter2@k:9092']\n",
        "[kafka.properties]\nsasl.password = 'hunter2'\n",
        "[kafka.properties]\nssl.key.password = 'hunter2'\n",
        "output = 'nats://me:hunter2@n:4222'\n",
    ] {
        write_settings(&world, "m.toml", text);
        let refusal = refused(&world, &["--config", "m.toml", "tree"], &[]);
        assert!(refusal.contains("m.toml:") && !refusal.contains("hunter2"), "{text}: {refusal}");
    }
    for option in ["--brokers=nats://me:hunter2@n:1", "--output=nats://me:hunter2@n:1"] {
        let refusal = refused(&world, &[option, "tree"], &[]);
        assert!(refusal.contains("@n:1") && !refusal.contains("hunter2"), "{refusal}");
    }
    let variable = [("MANYTAIL_BROKERS", "hunter2@n:1")];
    let refusal = refused(&world, &["--output=nats:jobs", "tree"], &variable);
    assert!(refusal.contains("MANYTAIL_BROKERS") && !refusal.contains("hunter2"), "{refusal}");

    // A secret in its file stays there.
    write_settings(&world, "secret", "hunter2");
    write_settings(&world, "m.toml", "[nats]\nuser = 'me'\npassword_file = 'secret'\n");
    for report in ["text", "json"] {
        let arguments = ["--config", "m.toml", "--report", report, "tree"];
        let (stdout, stderr) = checked(&world, &arguments, &[]);
        let path = world.beside("secret").display().to_string();
        assert!(stdout.contains(&path), "{stdout}");
        assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"), "{stdout}{stderr}");
    }
}

#[test]
fn a_change_of_a_table_or_to_a_broker_at_sighup_waits_for_a_restart_and_is_named() {
    let world = World::new();
    let paths = format!("paths = ['{}']\n", world.tree.display());
    let tail: Tail =
        from_file(&world, &(paths.clone() + "[kafka]\nbrokers = ['a:1']\n")).start().armed();
    let text = paths.clone()
        + "pace = '1ms'\n[kafka]\nbrokers = ['b:1']\nproperties = { 'linger.ms' = 5 }\n";
    write_settings(&world, "manytail.toml", &text);
    for _ in 0..2 {
        reload(
            &tail,
            "settings that need a restart keep their value: kafka.brokers [\"a:1\"] -> \
             [\"b:1\"], kafka.properties {} -> { \"linger.ms\" = \"5\" }",
        );
    }
    tail.wait("both readings to be told", || tail.said("settings read again: ") == 2);
    assert_eq!(tail.said("settings read again: pace 500us -> 1ms"), 1, "{}", tail.stderr());
    let text = format!("output = 'kafka:jobs'\n{paths}[kafka]\nbrokers = ['a:1']\n");
    write_settings(&world, "manytail.toml", &text);
    if KAFKA {
        // Its defaults wait with the output.
        reload(
            &tail,
            "settings that need a restart keep their value: output stdout -> kafka:jobs, format \
             text -> json, host false -> true, max_line_bytes 1MiB -> 128KiB",
        );
    } else {
        reload(&tail, "the settings stay as they are");
        assert_eq!(tail.warned("this build of manytail has no client for Kafka"), 1);
    }
    world.append("a.log", "one\n");
    tail.expect(&[("a.log", &["one"])]);
    tail.terminate();
}
