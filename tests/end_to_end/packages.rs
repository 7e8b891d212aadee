//! The files that are installed with the binary: manual pages, completions, unit, limits, rotation
//! rules, example settings. `scripts/package-test` installs all of them; these tests need no
//! installation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{BINARY, remove_settings, wait_for};
use crate::records::{Format, Record, decode_all};
use crate::world::{World, numbered, skip, succeeds, text};

fn dist(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(name)
}

fn printed(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(BINARY)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    output.stdout
}

/// The output of `program` for an input; `None`, and the test is skipped, if it is not installed.
fn tool(program: &str, arguments: &[&str], input: &[u8]) -> Option<Output> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skip(&format!("{program} is not installed"));
        return None;
    };
    // A program that does not read to the end has found and reported a mistake.
    child.stdin.take().expect("piped").write_all(input).ok();
    Some(child.wait_with_output().expect("output"))
}

#[track_caller]
fn assert_good(what: &str, output: &Output) {
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && stderr.is_empty(),
        "{what}: {}\n{stdout}{stderr}",
        output.status
    );
}

#[test]
fn mandoc_has_nothing_to_say_of_the_manual_pages() {
    for name in ["manytail.1", "manytail.toml.5", "manytail.7"] {
        let page = printed(&["man", name]);
        if let Some(output) = tool("mandoc", &["-T", "lint", "-W", "warning"], &page) {
            assert_good(name, &output);
            assert!(
                output.stdout.is_empty(),
                "{name}: {}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }
}

#[test]
fn each_shell_takes_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        if let Some(output) = tool(shell, &["-n"], &script) {
            assert_good(shell, &output);
        }
    }
}

/// The completions that bash offers for the last of these words.
fn bash_offers(words: &[&str]) -> Option<Vec<String>> {
    let mut script = printed(&["completions", "bash"]);
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    writeln!(script, "\nCOMP_WORDS=({}); COMP_CWORD={}", words.join(" "), words.len() - 1).unwrap();
    writeln!(
        script,
        "_manytail manytail '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    .unwrap();
    let output = tool("bash", &[], &script)?;
    assert_good("bash", &output);
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn bash_completes_commands_options_and_values() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["manytail", "off"], &["offsets"]),
        (&["manytail", "offsets", "ver"], &["verify"]),
        (&["manytail", "run", "--commit"], &["--commit-interval"]),
        (&["manytail", "run", "--format", "j"], &["json"]),
        (&["manytail", "man", "manytail.t"], &["manytail.toml.5"]),
    ];
    for (words, expected) in cases {
        let Some(offered) = bash_offers(words) else { return };
        assert_eq!(offered, expected, "{words:?}");
    }
}

/// A reader that leaves is no failure: `manytail man | head`.
#[test]
fn a_page_that_nobody_reads_to_its_end_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(BINARY).arg("man").stdout(writer).status().expect("the binary runs");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_text_that_cannot_be_written_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(BINARY)
        .args(["completions", "bash"])
        .stdout(full)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("manytail: cannot write to stdout") && said.lines().count() == 1,
        "{said}"
    );
}

/// The unit as installed, but with the binary of this build.
fn unit(world: &World) -> PathBuf {
    let text = fs::read_to_string(dist("systemd/manytail.service")).expect("the unit");
    assert!(text.contains("ExecStart=/usr/bin/manytail run "));
    let unit = world.beside("manytail.service");
    fs::write(&unit, text.replace("/usr/bin/manytail", BINARY)).expect("write");
    unit
}

#[test]
fn systemd_finds_no_mistake_in_the_unit_and_an_exposure_of_at_most_2() {
    let world = World::new();
    let unit = unit(&world);
    let unit = unit.to_str().expect("UTF-8");
    // The threshold is in tenths.
    for arguments in
        [&["verify", "--man=no", unit][..], &["security", "--offline=yes", "--threshold=20", unit]]
    {
        let Some(output) = tool("systemd-analyze", arguments, b"") else { return };
        assert_good(&format!("{arguments:?}"), &output);
    }
}

/// The system calls of one of systemd's sets, which are lists of calls and of other sets.
fn system_calls(set: &str, found: &mut BTreeSet<String>) -> bool {
    let Some(output) = tool("systemd-analyze", &["syscall-filter", set], b"") else { return false };
    assert_good(set, &output);
    let listing = String::from_utf8(output.stdout).expect("UTF-8");
    let entries = listing
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for entry in entries {
        if entry.starts_with('@') {
            system_calls(entry, found);
        } else {
            found.insert(entry.to_owned());
        }
    }
    true
}

/// The calls of this run are a sample of those that a run may make; it includes parts that are
/// easily forgotten: identities, the journal.
#[test]
fn the_unit_forbids_no_system_call_that_a_run_makes() {
    let unit = fs::read_to_string(dist("systemd/manytail.service")).expect("the unit");
    // Each line adds to the allowed calls or removes some (systemd.exec(5)).
    let mut allowed = BTreeSet::new();
    for filter in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let mut these = BTreeSet::new();
        for set in filter.trim_start_matches('~').split(' ') {
            if !set.starts_with('@') {
                these.insert(set.to_owned());
            } else if !system_calls(set, &mut these) {
                return;
            }
        }
        if filter.starts_with('~') {
            allowed = &allowed - &these;
        } else {
            allowed.extend(these);
        }
    }
    let world = World::new();
    world.append("a.log", "one\n");
    let (trace, state, output) =
        (world.beside("trace"), world.beside("state"), world.beside("out"));
    let trace_to = ["strace", "-f", "-qq", "-o", trace.to_str().expect("UTF-8")];
    if !succeeds("strace", &["-o", "/dev/null", "true"]) {
        return skip("strace does not work here");
    }
    let settings = ["--state-dir", state.to_str().expect("UTF-8")];
    let finished = world
        .run()
        .json()
        .with(&settings)
        .with(&["--once"])
        .output_file(&output)
        .under(&trace_to)
        .finish();
    assert!(finished.status.success());
    let trace = fs::read_to_string(&trace).expect("the trace");
    let called: BTreeSet<&str> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim().split_once('('))
        .map(|(name, _)| name)
        .collect();
    let some = ["name_to_handle_at", "fdatasync", "sched_setscheduler"];
    assert!(some.iter().all(|call| called.contains(call)), "{called:?}");
    let names = called
        .iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    let refused: Vec<_> = names.filter(|name| !allowed.contains(**name)).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn a_reload_by_the_unit_refuses_bad_settings_says_why_and_takes_good_ones() {
    let world = World::new();
    world.append("a.log", "one\n");
    let settings = world.beside("manytail.toml");
    let path = settings.to_str().expect("UTF-8");
    let write = |pace: &str| {
        fs::write(&settings, format!("paths = ['{}']\npace = '{pace}'\n", world.tree.display()))
            .expect("write")
    };
    write("1ms");
    let tail = world.run().paths(&[] as &[&str]).with(&["--config", path]).start();
    tail.wait_line("one");

    let unit = fs::read_to_string(dist("systemd/manytail.service")).expect("the unit");
    let script = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecReload=/bin/sh -c '")?.strip_suffix('\''));
    let script = script.expect("a script").replace("$$", "$");
    let script =
        script.replace("/usr/bin/manytail", BINARY).replace("/etc/manytail/manytail.toml", path);
    let reload = || {
        let mut command = Command::new("sh");
        remove_settings(&mut command);
        command
            .args(["-c", &script])
            .env("MAINPID", tail.process.0.to_string())
            .output()
            .expect("sh")
    };
    write("soon");
    let refused = reload();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(2)
            && said.contains("manytail.toml:2")
            && said.contains("pace"),
        "{said}"
    );
    write("2ms");
    assert_good("reload", &reload());
    tail.wait_said("pace 1ms -> 2ms");
    assert_eq!(tail.said("settings stay as they are"), 0, "the bad ones were never seen");
}

/// The service could not do its work without these: logs of all users, also below /home and /tmp,
/// any output, its own directories.
#[test]
fn the_unit_leaves_the_service_what_it_needs() {
    let unit = fs::read_to_string(dist("systemd/manytail.service")).expect("the unit");
    let has = |line: &str| unit.lines().any(|other| other == line);
    for line in [
        "AmbientCapabilities=CAP_DAC_READ_SEARCH",
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH",
        "ProtectHome=read-only",
        "RestrictFileSystems=~fuse",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "StateDirectory=manytail",
        "RuntimeDirectory=manytail",
        "RuntimeDirectoryMode=0750",
        "LogsDirectory=manytail",
        "ConfigurationDirectory=manytail",
        // And uses no more than that: memory for 10^6 files, and no core dump on a disk.
        "MemoryHigh=1G",
        "MemoryMax=2G",
        "OOMScoreAdjust=-250",
        "LimitCORE=0",
        // Others must not be able to write there: the start refuses it.
        "StateDirectoryMode=0700",
        "LogsDirectoryMode=0750",
        "RestartPreventExitStatus=2",
    ] {
        assert!(has(line), "{line}");
    }
    // How to give it access to some homes only.
    for line in ["#   ProtectHome=tmpfs", "#   BindReadOnlyPaths=/home/grid/jobs /home/slurm/spool"]
    {
        assert!(has(line), "{line}");
    }
    let settings = || unit.lines().filter(|line| !line.starts_with('#'));
    for hidden in [
        "PrivateTmp=",
        "PrivateUsers=",
        "PrivateNetwork=",
        "ProcSubset=",
        "InaccessiblePaths=",
        "IPAddressDeny=",
    ] {
        assert!(!settings().any(|line| line.starts_with(hidden)), "{hidden}");
    }
}

#[test]
fn the_limits_of_inotify_are_those_of_the_readme() {
    let file = fs::read_to_string(dist("sysctl.d/60-manytail.conf")).expect("the limits");
    let set: Vec<&str> =
        file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    // Not the number of instances: with more instances one user could pin tens of gigabytes of the
    // kernel's memory in queues.
    let limits = ["max_user_watches = 1048576", "max_queued_events = 1048576"];
    assert_eq!(set, limits.map(|limit| format!("fs.inotify.{limit}")));
}

/// The shipped rules of logrotate, for outputs in `directory`, with a signal to the process `id`
/// instead of systemd.
fn rotation_rules(directory: &Path, id: u32) -> String {
    let mut rules = fs::read_to_string(dist("logrotate/manytail")).expect("the rules");
    let user = if nix::unistd::geteuid().is_root() { "su root root" } else { "" };
    for (shipped, here) in [
        ("/var/log/manytail/", format!("{}/", directory.display())),
        ("su manytail manytail", user.to_owned()),
        (
            "[ -d /run/systemd/system ] && systemctl --quiet is-active manytail.service",
            "true".to_owned(),
        ),
        ("systemctl kill --kill-who=main --signal=HUP manytail.service", format!("kill -HUP {id}")),
    ] {
        assert!(rules.contains(shipped), "{shipped}");
        rules = rules.replace(shipped, &here);
    }
    rules
}

fn uncompressed(path: &Path) -> Vec<u8> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn rotation_of_the_output_by_the_shipped_rules_loses_and_repeats_no_line() {
    if !Path::new("/usr/sbin/logrotate").exists() {
        return skip("logrotate is not installed");
    }
    let world = World::new();
    let directory = world.beside("log");
    fs::create_dir(&directory).expect("mkdir");
    let output = directory.join("records.json");
    let state = world.beside("state").display().to_string();
    let tail =
        world.run().json().with(&["--state-dir", &state]).output_file(&output).start().armed();
    let rules = world.beside("rules");
    fs::write(&rules, rotation_rules(&directory, tail.process.0)).expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&rules, mode).expect("chmod");

    let lines = numbered("line", 0..5_000);
    for chunk in lines.chunks(1_000) {
        for part in chunk.chunks(10) {
            world.append("a.log", text(part));
        }
        // An empty one would not be rotated.
        wait_for("some output", || fs::metadata(&output).expect("stat").len() > 0);
        let status = Command::new("/usr/sbin/logrotate")
            .arg("-f")
            .arg("-s")
            .arg(world.beside("rotated"))
            .arg(&rules)
            .output();
        assert_good("logrotate", &status.expect("logrotate"));
        wait_for("the new file", || output.exists());
    }
    world.append("a.log", "end\n");
    wait_for("the last line", || {
        fs::read_to_string(&output).expect("read").contains("\"line\":\"end\"")
    });
    tail.signal(Signal::SIGTERM);
    assert!(tail.wait_exit().success());

    let mut got = Vec::new();
    for inode_generation in (2..=5).rev() {
        got.extend(uncompressed(&directory.join(format!("records.json.{inode_generation}.gz"))));
    }
    got.extend(
        fs::read(directory.join("records.json.1")).expect("the last but one is not compressed yet"),
    );
    got.extend(fs::read(&output).expect("read"));
    let mut got: Vec<String> = decode_all(Format::Json, &got).iter().map(Record::text).collect();
    got.retain(|line| !line.starts_with("canary"));
    assert_eq!(got.pop().as_deref(), Some("end"));
    assert!(got == lines, "{} lines instead of {}", got.len(), lines.len());
}

/// The answer of `manytail check` for these settings: each key with its value, without inputs; or
/// why they are refused.
fn checked(settings: &Path, paths: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let mut command = Command::new(BINARY);
    // As labels need it.
    command
        .args(["check", "--format", "json", "--report", "json", "--config"])
        .arg(settings)
        .args(paths)
        .env_clear();
    let output = command.output().expect("the binary runs");
    match output.status.code() {
        Some(0) => {}
        code => return Err(format!("{code:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
    assert!(
        output.stderr.is_empty(),
        "{}: {}",
        settings.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let entry = |line: &str| {
        let fields: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let key = format!("{}{}", fields["key"].as_str().expect("a key"), fields["input"]);
        (key.replace("null", ""), fields["value"].to_string())
    };
    Ok(String::from_utf8(output.stdout).expect("UTF-8").lines().map(entry).collect())
}

#[test]
fn every_example_of_settings_is_accepted_alone_and_beside_the_installed_file() {
    let world = World::new();
    let installed = world.beside("etc");
    fs::create_dir_all(installed.join("conf.d")).expect("mkdir");
    fs::copy(dist("manytail.toml"), installed.join("manytail.toml")).expect("cp");
    fs::copy(dist("conf.d.README"), installed.join("conf.d/README")).expect("cp");
    let mut examples = 0;
    for example in fs::read_dir(dist("examples")).expect("examples") {
        let example = example.expect("an entry").path();
        if BROKERS.iter().any(|(name, ..)| example.ends_with(name)) {
            continue;
        }
        let settings = checked(&example, &[])
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", example.display()));
        assert!(
            settings.contains_key("labels.scheduler1") || settings.contains_key("labels1"),
            "{settings:?}"
        );
        let beside = installed.join("conf.d").join(example.file_name().expect("a name"));
        fs::copy(&example, &beside).expect("cp");
        let settings = checked(&installed.join("manytail.toml"), &[]);
        let settings = settings.unwrap_or_else(|refusal| panic!("{}: {refusal}", beside.display()));
        assert_eq!(settings["output"], "\"file:/var/log/manytail/records.json\"");
        fs::remove_file(beside).expect("rm");
        examples += 1;
    }
    assert_eq!(examples, 6);
}

/// The examples of whole settings files for brokers: what their output is, a file that they name,
/// and whether this build can talk to it.
const BROKERS: [(&str, &str, &str, bool); 2] = [
    ("kafka.toml", "kafka:jobs", "kafka.password_file", cfg!(feature = "kafka-tls")),
    (
        "nats.toml",
        "nats:jobs.{host}.{label:cluster}",
        "nats.credentials_file",
        cfg!(feature = "nats"),
    ),
];

#[test]
fn the_examples_for_brokers_are_accepted_by_a_build_with_them_and_another_says_what_to_do() {
    let world = World::new();
    let installed = world.beside("etc");
    fs::create_dir_all(installed.join("conf.d")).expect("mkdir");
    fs::copy(dist("manytail.toml"), installed.join("manytail.toml")).expect("cp");
    for (name, output, file, is_built) in BROKERS {
        let example = dist("examples").join(name);
        let beside = installed.join("conf.d").join(name);
        fs::copy(&example, &beside).expect("cp");
        for main in [&example, &installed.join("manytail.toml")] {
            let directory = if *main == example { &example } else { &beside };
            match checked(main, &[]) {
                Ok(settings) => {
                    assert!(is_built, "{name}");
                    assert_eq!(settings["output"], format!("\"{output}\""));
                    let path = settings[file].trim_matches('"');
                    assert_eq!(Path::new(path).parent(), directory.parent(), "{path}");
                }
                Err(refusal) => {
                    assert!(!is_built, "{name}: {refusal}");
                    assert!(refusal.contains(": output: this build of manytail"), "{refusal}");
                    assert_eq!(refusal.lines().count(), 1, "{refusal}");
                }
            }
        }
        fs::remove_file(beside).expect("rm");
    }
}

#[test]
fn the_installed_settings_need_a_path_and_show_every_default() {
    let world = World::new();
    let installed = dist("manytail.toml");
    let refusal = checked(&installed, &[]).expect_err("nothing to follow");
    assert!(refusal.contains("nothing to follow"), "{refusal}");
    let mut defaults = checked(&installed, &["/srv/grid/jobs"]).expect("accepted");

    // The inputs at its end replace the paths at its top.
    let text = fs::read_to_string(&installed).expect("read");
    assert!(text.contains("\nformat = \"json\"\n"));
    let (_, inputs) = text.split_at(text.find("#[[input]]").expect("an input"));
    let (top, _) = text.split_at(text.find("# -- Brokers").expect("the tables of brokers"));
    let uncommented = |text: &str| {
        let lines = text.lines().map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let settings = world.beside("settings.toml");
    fs::write(&settings, uncommented(top)).expect("write");
    let mut said = checked(&settings, &[]).expect("accepted");
    // Labels have a table.
    for key in defaults
        .keys()
        .filter(|key| !["config", "once", "label", "brokers"].contains(&key.as_str()))
    {
        let key = key.trim_end_matches('1');
        assert!(
            text.contains(&format!("\n#{key} = ")) || text.contains(&format!("\n{key} = ")),
            "{key} is not in manytail.toml"
        );
    }
    // With the value of the service, with a duration that means off, and with an example of those
    // that have no default.
    let at_the_service = [
        ("host", "true"),
        ("state_dir", "\"/var/lib/manytail\""),
        ("control_socket", "\"/run/manytail/control.sock\""),
        ("ignore_older", "\"0\""),
        ("end1", "\"0\""),
        ("end_idle1", "\"0\""),
        ("preset1", "\"slurm\""),
        ("record1", "\"start=^\\\\d{4}-\""),
        ("job1", "\"(?P<id>\\\\d{4,})\""),
    ];
    for (key, value) in at_the_service {
        assert_eq!(said.remove(key).as_deref(), Some(value), "{key}");
        defaults.remove(key);
    }
    said.remove("config");
    defaults.remove("config");
    assert_eq!(said, defaults);

    fs::write(&settings, uncommented(inputs)).expect("write");
    checked(&settings, &[]).expect("accepted");
}
