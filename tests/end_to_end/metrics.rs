//! Metrics: each one changes with its subject; `promtool` accepts them; all metrics in dashboards
//! and alerts exist.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Run, wait_for};
use crate::overflow::queue_limit;
use crate::scrape::{Metered, get, samples};
use crate::world::{World, flood, heavy, is_root, skip, succeeds, text};

/// Names of metrics, without the suffixes of histograms.
fn families(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned()))
        .collect()
}

#[test]
fn lines_records_bytes_and_files_are_counted_as_they_are_read() {
    let world = World::new();
    let run =
        Metered::start(&world, world.run().with(&["--max-line-bytes", "100", "--coalesce", "0"]))
            .armed();
    let before = run.scrape();
    world.mkdir("d");
    let long = "x".repeat(103);
    world.write("d/a.log", format!("one\n{long}\ntwo\n"));
    run.tail.wait_count(4);
    let moved = [
        "manytail_directories",
        "manytail_watches",
        "manytail_opens_total",
        "manytail_output_bytes_total",
        "manytail_turn_seconds_count",
        "manytail_turn_seconds_sum",
        "manytail_delivery_latency_seconds_count",
        "manytail_files{state=\"idle\"}",
        "manytail_events_total{kind=\"created\"}",
        "process_cpu_seconds_total",
    ];
    run.wait_grown(&before, &moved);
    for (name, by) in [
        ("manytail_lines_total", 3.0),
        ("manytail_records_total", 4.0),
        ("manytail_read_bytes_total", 112.0),
    ] {
        assert_eq!(run.value(name) - before[name], by, "{name}");
    }
    world.append("d/a.log", "more\n");
    run.wait_value("manytail_events_total{kind=\"modified\"}", |count| {
        count > before["manytail_events_total{kind=\"modified\"}"]
    });
    run.wait_value("manytail_lines_total", |count| count - before["manytail_lines_total"] == 4.0);
}

#[test]
fn events_are_counted_by_kind() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    world.mkdir("d");
    world.write("a.log", "one\n");
    run.tail.wait_count(1);
    run.tail.canary("d");
    let before = run.scrape();
    let kind = |kind: &str| format!("manytail_events_total{{kind=\"{kind}\"}}");
    world.rename("a.log", "b.log");
    world.chmod("b.log", 0o600);
    world.remove("b.log");
    world.remove_dir("d");
    let kinds = ["moved_from", "moved_to", "attributes", "deleted", "directory"].map(kind);
    run.wait_grown(&before, &kinds.each_ref().map(String::as_str));
    run.wait_value("manytail_files{state=\"parked\"}", |files| files >= 2.0);
}

#[test]
fn an_overflow_and_the_rescan_after_it_are_counted() {
    let Some(limit) = queue_limit() else { return };
    let _guard = heavy();
    let world = World::in_memory();
    world.write("a.log", "one\n");
    world.write("b.log", "one\n");
    let run = Metered::start(&world, world.run().with(&["--rescan", "1s"]));
    run.tail.wait_count(2);
    let before = run.scrape();
    run.tail.stop();
    // Equal neighbouring events are merged.
    let (mut a, mut b) = (world.writer("a.log"), world.writer("b.log"));
    for _ in 0..limit / 2 + 100 {
        std::io::Write::write_all(&mut a, b"x\n").expect("append");
        std::io::Write::write_all(&mut b, b"x\n").expect("append");
    }
    run.tail.go_on();
    let moved = [
        "manytail_overflows_total",
        "manytail_events_total{kind=\"overflow\"}",
        "manytail_rescans_total{cause=\"overflow\"}",
        "manytail_rescans_total{cause=\"sweep\"}",
    ];
    run.wait_grown(&before, &moved);
    assert_eq!(
        run.value("manytail_rescans_total{cause=\"overflow\"}"),
        run.value("manytail_overflows_total")
    );
}

#[test]
fn a_doubt_about_a_link_is_counted_as_a_rescan() {
    let world = World::new();
    fs::create_dir(world.beside("elsewhere")).expect("mkdir");
    fs::write(world.beside("elsewhere/a.log"), "one\n").expect("write");
    world.symlink(world.beside("elsewhere"), "link");
    let run = Metered::start(&world, world.run().with(&["--follow-symlinks"]));
    run.tail.wait_count(1);
    let before = run.scrape();
    world.remove("link");
    run.wait_grown(&before, &["manytail_rescans_total{cause=\"doubt\"}"]);
}

#[test]
fn what_is_lost_is_counted_by_its_cause() {
    let world = World::new();
    let run = Metered::start(&world, world.run().with(&["--coalesce", "0"]));
    for name in ["truncated.log", "deleted.log", "hole.log"] {
        world.append(name, "whole\nunfinished");
    }
    run.tail.wait_count(3);
    run.wait_value("manytail_read_bytes_total", |bytes| bytes == 18.0);
    run.tail.settled();
    let before = run.scrape();
    world.truncate("truncated.log", 0);
    run.wait_grown(
        &before,
        &["manytail_truncations_total", "manytail_lost_bytes_total{cause=\"truncated\"}"],
    );
    assert_eq!(run.value("manytail_lost_bytes_total{cause=\"truncated\"}"), 10.0);
    world.remove("deleted.log");
    run.wait_grown(
        &before,
        &["manytail_files_deleted_unread_total", "manytail_lost_bytes_total{cause=\"deleted\"}"],
    );
    assert_eq!(run.value("manytail_lost_bytes_total{cause=\"deleted\"}"), 10.0);
    world.append("moved.log", "whole\nunfinished");
    run.wait_value("manytail_read_bytes_total", |bytes| bytes == 24.0);
    run.tail.settled();
    fs::rename(world.at("moved.log"), world.beside("moved.log")).expect("mv");
    run.wait_grown(
        &before,
        &["manytail_files_moved_unread_total", "manytail_lost_bytes_total{cause=\"moved\"}"],
    );
    assert_eq!(run.value("manytail_lost_bytes_total{cause=\"moved\"}"), 10.0);
    // A writer that keeps its position leaves a hole.
    world.truncate("hole.log", 0);
    world.truncate("hole.log", 1 << 20);
    world.append("hole.log", "after\n");
    run.wait_grown(&before, &["manytail_skipped_nul_bytes_total"]);
    run.tail.stop();
    world.write("gone.log", "never seen\n");
    world.remove("gone.log");
    run.tail.go_on();
    run.wait_grown(&before, &["manytail_files_vanished_total"]);
}

#[test]
fn files_that_are_started_at_their_end_as_old_ones_are_counted() {
    let world = World::new();
    world.write("old.log", "old\n");
    world.set_modified(
        "old.log",
        std::time::SystemTime::now() - std::time::Duration::from_secs(10 * 86_400),
    );
    world.write("young.log", "young\n");
    let run = Metered::start(&world, world.run().with(&["--ignore-older", "1d"]));
    run.tail.wait_line("young");
    run.wait_value("manytail_files_ignored_older_total", |files| files == 1.0);
}

#[test]
fn files_that_are_left_out_because_they_are_binary_are_counted() {
    let world = World::new();
    let run = Metered::start(&world, world.run().with(&["--binary", "skip"]));
    let before = run.scrape();
    world.write("a.bin", "\x7fELF\0\0\0\0");
    run.wait_grown(&before, &["manytail_binary_files_total"]);
    run.wait_value("manytail_files{state=\"ignored\"}", |files| files == 1.0);
}

#[test]
fn diagnostics_are_counted_whether_they_were_said_or_kept_back() {
    let world = World::new();
    let run = Metered::start(&world, world.run()).armed();
    let names = ["manytail_diagnostics_total", "manytail_diagnostics_suppressed_total"]
        .map(|name| format!("{name}{{cause=\"not_regular\"}}"));
    for number in 0..30 {
        world.fifo(format!("{number}.fifo"));
    }
    let scrape = || run.scrape();
    run.tail
        .wait("30 diagnostics", || names.iter().map(|name| scrape()[name]).sum::<f64>() == 30.0);
    let (said, suppressed) = (scrape()[&names[0]], scrape()[&names[1]]);
    assert_eq!(said as usize, run.tail.said("not a regular file"));
    assert!(said >= 1.0 && suppressed >= 1.0, "{said} and {suppressed}");
}

#[test]
fn while_the_output_is_blocked_unread_bytes_and_waiting_times_are_told() {
    let world = World::in_memory();
    let run = Metered::start(&world, world.run().with(&["--coalesce", "0"]));
    let before = run.scrape();
    run.tail.block();
    let filler = text(&flood());
    world.append("filler.log", &filler);
    // From now on only the beginning of a file is read if it has more than fits into a turn.
    run.wait_value("manytail_files{state=\"blocked\"}", |files| files == 1.0);
    for number in 0..40 {
        world.append(format!("{number}.log"), ("x".repeat(999) + "\n").repeat(200));
    }
    let moved = [
        "manytail_unread_files",
        "manytail_unread_bytes",
        "manytail_oldest_unread_seconds",
        "manytail_held_files",
        "manytail_files{state=\"blocked\"}",
        "manytail_output_pending_bytes",
        "manytail_output_blocked_seconds",
        "manytail_output_blocked_seconds_total",
        "manytail_oldest_unacknowledged_seconds",
        "process_open_fds",
    ];
    run.wait_grown(&before, &moved);
    run.wait_value("manytail_unread_files", |files| files == 41.0);
    let written = (filler.len() + 40 * 200_000) as f64;
    let read = run.value("manytail_read_bytes_total");
    run.wait_value("manytail_unread_bytes", |unread| unread == written - read);
    run.wait_value("manytail_output_blocked_seconds", |seconds| seconds > 1.0);
    assert!(run.value("manytail_oldest_unread_seconds") > 1.0);
    assert!(run.value("manytail_oldest_unacknowledged_seconds") > 1.0);
    run.tail.unblock();
    run.tail.wait_count(14_000);
    run.wait_value("manytail_unread_bytes", |unread| unread == 0.0);
    for name in [
        "manytail_oldest_unread_seconds",
        "manytail_output_blocked_seconds",
        "manytail_output_pending_bytes",
        "manytail_held_files",
    ] {
        run.wait_value(name, |value| value == 0.0);
    }
    assert!(run.value("manytail_output_blocked_seconds_total") > 1.0, "the past is not forgotten");
    assert!(
        run.value("manytail_delivery_latency_seconds_sum") > 1.0,
        "what waited is in the latency"
    );
    let late = run.value("manytail_delivery_latency_seconds_count")
        - run.value("manytail_delivery_latency_seconds_bucket{le=\"1\"}");
    assert!(late >= 40.0, "each file that waited is in the upper buckets: {late}");
}

#[test]
fn files_that_cool_down_are_told_with_what_is_unread_in_them() {
    let world = World::new();
    let run =
        Metered::start(&world, world.run().with(&["--coalesce", "1h", "--adaptive", "false"]));
    world.append("a.log", "one\n");
    run.tail.wait_line("one");
    world.append("a.log", "two\n");
    run.wait_value("manytail_files{state=\"cooling\"}", |files| files == 1.0);
    run.wait_value("manytail_unread_bytes", |bytes| bytes == 4.0);
}

#[test]
fn an_output_that_is_down_and_comes_back_is_told() {
    let world = World::new();
    let peer = world.beside("peer.sock");
    let run = Metered::start(&world, world.run().output(&format!("unix:{}", peer.display())));
    run.wait_value("manytail_output_errors_total", |errors| errors > 0.0);
    assert_eq!(run.value("manytail_output_connected"), 0.0);
    let listener = UnixListener::bind(&peer).expect("bind");
    let first = listener.accept().expect("accept").0;
    run.wait_value("manytail_output_connected", |connected| connected == 1.0);
    assert_eq!(run.value("manytail_output_reconnects_total"), 0.0);
    drop(first);
    let mut second = listener.accept().expect("accept").0;
    run.wait_value("manytail_output_reconnects_total", |count| count == 1.0);
    world.append("a.log", "one\n");
    second.read_exact(&mut [0; 4]).expect("records");
    run.wait_value("manytail_output_bytes_total", |bytes| bytes > 0.0);
    assert_eq!(run.value("manytail_output_info{kind=\"unix\"}"), 1.0);
}

#[test]
fn commits_and_what_waits_for_one_are_told() {
    let world = World::new();
    let state = world.beside("state");
    let with = |interval| {
        world.run().with(&[
            "--state-dir",
            state.to_str().expect("UTF-8"),
            "--commit-interval",
            interval,
        ])
    };
    let run = Metered::start(&world, with("50ms"));
    let before = run.scrape();
    assert_eq!((before["manytail_offsets_kept"], before["process_threads"]), (1.0, 3.0));
    world.append("a.log", "one\n");
    run.tail.wait_count(1);
    run.wait_grown(&before, &["manytail_commits_total", "manytail_journal_bytes"]);
    run.wait_value("manytail_commit_age_seconds", |age| age == 0.0);
    run.tail.terminate();
    let run = Metered::start(&world, with("1h"));
    world.append("a.log", "two\n");
    run.tail.wait_line("two");
    run.wait_value("manytail_commit_age_seconds", |age| age > 0.3);
}

#[test]
fn commits_that_fail_are_told_until_they_work_again() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let disk = world.beside("disk");
    fs::create_dir(&disk).expect("mkdir");
    if !succeeds(
        "mount",
        &["-t", "tmpfs", "-o", "size=256k", "tmpfs", disk.to_str().expect("UTF-8")],
    ) {
        return skip("tmpfs cannot be mounted");
    }
    let state = disk.join("state");
    let run = Metered::start(
        &world,
        world.run().with(&[
            "--state-dir",
            state.to_str().expect("UTF-8"),
            "--commit-interval",
            "50ms",
        ]),
    );
    run.wait_value("manytail_commits_total", |commits| commits > 0.0);
    let filler = disk.join("filler");
    // Until not a single byte fits, even into an existing block.
    let told = (0..200).any(|round| {
        succeeds("sh", &["-c", &format!("cat /dev/zero >> '{}'", filler.display())]);
        for number in 0..40 {
            world.append(
                format!(
                    "a file with a rather long name, so that its entry is long, too: \
                {round} {number}.log"
                ),
                "one\n",
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        run.value("manytail_commit_failures_total") > 0.0
    });
    let (failing, removed) = (run.value("manytail_commits_failing"), fs::remove_file(&filler));
    let caught_up = (0..1_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        run.value("manytail_commits_failing") == 0.0
    });
    drop(run);
    succeeds("umount", &["-l", disk.to_str().expect("UTF-8")]);
    assert!(
        told && removed.is_ok() && caught_up,
        "told {told}, removed {removed:?}, caught up {caught_up}"
    );
    assert_eq!(failing, 1.0);
}

#[test]
fn what_cannot_be_read_or_is_never_read_is_told() {
    let world = World::new();
    world.write("secret.log", "one\n");
    world.chmod("secret.log", 0o000);
    world.mkdir("closed");
    world.chmod("closed", 0o000);
    let directory = world.beside("run");
    fs::create_dir(&directory)
        .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)))
        .expect("mkdir");
    let run = if nix::unistd::geteuid().is_root() { world.run().user(65_534) } else { world.run() };
    let run = Metered::start_in(&directory, run);
    run.wait_value("manytail_files{state=\"unreadable\"}", |files| files == 1.0);
    run.wait_value("manytail_unreadable_directories", |directories| directories == 1.0);
    world.fifo("fifo");
    run.wait_value("manytail_files{state=\"ignored\"}", |files| files == 1.0);
    world.chmod("closed", 0o755);
}

#[test]
fn directories_without_a_watch_are_told() {
    let world = World::new();
    for number in 0..20 {
        world.mkdir(format!("d{number}"));
    }
    let file = "/proc/sys/user/max_inotify_watches";
    if !succeeds("unshare", &["-Ur", "sh", "-c", &format!("echo 5 > {file}")]) {
        return skip("no user namespaces");
    }
    let script = format!("echo 5 > {file} && exec \"$@\"");
    let run =
        Metered::start(&world, world.run().under(&["unshare", "-Ur", "sh", "-c", &script, "sh"]));
    // The directories that lead to the tree are watched first.
    let above = world.tree.ancestors().count() - 1;
    run.wait_value("manytail_polled_directories", |polled| polled == (21 - (5 - above)) as f64);
    assert_eq!(run.value("manytail_watches"), 5.0);
}

#[test]
fn the_process_is_told_as_proc_shows_it() {
    let world = World::new();
    let run = Metered::start(&world, world.run().shell("ulimit -n 200; exec \"$@\""));
    let scrape = run.scrape();
    assert_eq!(scrape["process_max_fds"], 200.0);
    // The scrape's own connection is one more.
    run.wait_value("process_open_fds", |open| open == run.tail.process.descriptors() as f64 + 1.0);
    let resident = scrape["process_resident_memory_bytes"] / 1024.0;
    assert!((resident - run.tail.process.rss_kib() as f64).abs() < 4_096.0, "{resident}");
    assert!(scrape["process_virtual_memory_bytes"] > scrape["process_resident_memory_bytes"]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64();
    assert!((now - 60.0..=now).contains(&scrape["process_start_time_seconds"]));
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").expect("the limit");
    assert_eq!(scrape["manytail_watches_limit"], limit.trim().parse::<f64>().expect("a number"));
    assert_eq!(
        scrape[&format!("manytail_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))],
        1.0
    );
}

#[test]
fn segments_that_a_later_one_of_the_same_read_replaces_are_counted() {
    let world = World::new();
    let run = Metered::start(&world, world.run().json().with(&["--carriage-return", "latest"]));
    assert_eq!(run.value("manytail_superseded_segments_total"), 0.0);
    world.append("a.log", "10%\r20%\r30%\rdone\n");
    run.wait_value("manytail_superseded_segments_total", |count| count > 0.0);
    run.tail.expect_in_order(&["30%", "done"]);
    assert_eq!(run.value("manytail_superseded_segments_total"), 2.0);
}

/// Every metric has to be named by a test in this file or in six others: otherwise no test has
/// seen it change.
#[test]
fn every_metric_is_in_a_test_that_moves_it() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let tests =
        [include_str!("metrics.rs"), include_str!("output_file.rs"), include_str!("trust.rs")]
            .concat()
            + include_str!("ends.rs")
            + include_str!("filters.rs")
            + include_str!("../brokers/process.py")
            + include_str!("../brokers/conditions.py");
    let is_quoted = |name: &str| {
        ["\"", "{", "_count\"", "_sum\""]
            .iter()
            .any(|end| tests.contains(&format!("\"{name}{end}")))
    };
    let body = get(&run.socket, "/metrics").body;
    let missing: Vec<String> =
        families(&body).into_iter().filter(|name| !is_quoted(name)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    if !succeeds("promtool", &["--version"]) {
        return skip("no promtool");
    }
    let world = World::new();
    world.write("a.log", "one\n");
    let run = Metered::start(&world, world.run());
    run.tail.wait_count(1);
    let mut promtool = Command::new("promtool");
    let started = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = started.expect("promtool");
    std::io::Write::write_all(
        &mut promtool.stdin.take().expect("piped"),
        get(&run.socket, "/metrics").body.as_bytes(),
    )
    .expect("pipe");
    let done = promtool.wait_with_output().expect("promtool");
    let said =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.trim().is_empty(), "{said}");
}

fn dist(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("dist")
        .join(name)
        .to_str()
        .expect("UTF-8")
        .to_owned()
}

/// Words that begin like the names of our metrics.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_name = |word: &&str| {
        (word.starts_with("manytail_") || word.starts_with("process_")) && !word.ends_with('_')
    };
    words.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_ask_for_nothing_that_is_not_told() {
    let world = World::new();
    let run = Metered::start(&world, world.run());
    let body = get(&run.socket, "/metrics").body;
    let told: BTreeSet<String> = samples(&body)
        .into_keys()
        .map(|name| name.split('{').next().unwrap_or_default().to_owned())
        .collect();
    for file in ["grafana/manytail.json", "prometheus/manytail.rules.yml"] {
        let asked = names_in(&fs::read_to_string(dist(file)).expect(file));
        assert!(asked.len() > 10, "{file} asks for {asked:?}");
        let unknown: Vec<&String> = asked.difference(&told).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_loads() {
    let text = fs::read_to_string(dist("grafana/manytail.json")).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            panel["targets"]
                .as_array()
                .is_some_and(|targets| targets.iter().all(|target| target["expr"].is_string())),
            "{title}"
        );
        let place = &panel["gridPos"];
        assert!(
            place["x"].as_u64().zip(place["w"].as_u64()).is_some_and(|(x, w)| x + w <= 24),
            "{title}"
        );
    }
}

#[test]
fn promtool_finds_nothing_wrong_with_the_alerts_and_each_fires_when_it_should() {
    if !succeeds("promtool", &["--version"]) {
        return skip("no promtool");
    }
    for (test, file) in
        [("check", "prometheus/manytail.rules.yml"), ("test", "prometheus/manytail.rules.test.yml")]
    {
        let done =
            Command::new("promtool").args([test, "rules", &dist(file)]).output().expect("promtool");
        let said = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{file}: {said}");
    }
}

/// node_exporter reads the file where Prometheus does not scrape.
#[test]
fn a_textfile_is_whole_whenever_it_is_read_and_tells_the_end() {
    let world = World::new();
    let path = world.beside("manytail.prom");
    let tail =
        world.run().with(&["--metrics", &format!("textfile:{}", path.display())]).start().armed();
    wait_for("the file", || path.exists());
    assert_eq!(fs::metadata(&path).expect("stat").permissions().mode() & 0o777, 0o644);
    let first = samples(&fs::read_to_string(&path).expect("read"));
    world.append("a.log", "one\ntwo\n");
    tail.wait_line("two");
    tail.terminate();
    let last = samples(&fs::read_to_string(&path).expect("read"));
    assert_eq!(first.len(), last.len());
    assert!(
        last["manytail_lines_total"] >= 2.0 + first["manytail_lines_total"],
        "written once more at the end"
    );
    let beside: Vec<_> = fs::read_dir(world.beside(""))
        .expect("list")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(beside.len(), 2, "nothing else is left: {beside:?}");
}

/// A user with write permission on the directory plants links under the name that the next file
/// might get.
#[test]
fn a_textfile_writes_to_no_file_that_was_planted_beside_it() {
    let world = World::new();
    let (path, victim) = (world.beside("manytail.prom"), world.beside("victim"));
    fs::write(&victim, "kept").expect("a file");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).expect("chmod");
    let tail =
        world.run().with(&["--metrics", &format!("textfile:{}", path.display())]).start().armed();
    wait_for("the file", || path.exists());
    for suffix in
        [format!("{}.tmp", tail.process.0), "tmp".to_owned(), format!("tmp.{}", tail.process.0)]
    {
        std::os::unix::fs::symlink(&victim, world.beside(format!("manytail.prom.{suffix}")))
            .expect("ln -s");
    }
    let before = fs::metadata(&path).expect("stat").modified().expect("a time");
    tail.terminate();
    assert!(
        fs::metadata(&path).expect("stat").modified().expect("a time") > before,
        "it was written once more at the end"
    );
    let mode =
        |path: &Path| fs::symlink_metadata(path).expect("stat").permissions().mode() & 0o7777;
    assert_eq!((fs::read(&victim).expect("a file"), mode(&victim)), (b"kept".to_vec(), 0o600));
    assert_eq!(mode(&path), 0o644);
}

#[test]
fn a_textfile_inside_the_tree_is_not_followed() {
    let world = World::new();
    let tail = world
        .run()
        .with(&["--metrics", &format!("textfile:{}", world.at("manytail.prom").display())])
        .start()
        .armed();
    assert!(world.at("manytail.prom").exists());
    tail.expect(&[]);
}

/// The file size limit is less than the metrics need.
#[test]
fn a_textfile_that_cannot_be_written_to_its_end_leaves_nothing_behind() {
    let world = World::new();
    let directory = world.beside("collector");
    fs::create_dir(&directory).expect("mkdir");
    let uri = format!("textfile:{}", directory.join("manytail.prom").display());
    let finished =
        world.run().with(&["--metrics", &uri]).shell("ulimit -f 4; exec \"$@\"").finish();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains(&uri) && finished.stderr.contains("too large"),
        "{}",
        finished.stderr
    );
    assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 0);
}

#[test]
fn a_textfile_that_cannot_be_written_ends_the_run_with_1_and_its_name() {
    let world = World::new();
    let uri = format!("textfile:{}", world.beside("missing/manytail.prom").display());
    let finished = Run::new(&world.tree).with(&["--metrics", &uri]).finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("missing/manytail.prom"), "{}", finished.stderr);
}

#[test]
fn the_ends_of_logs_and_the_events_that_tell_of_them_are_counted() {
    let world = World::new();
    let run = Metered::start(&world, world.run().json().with(&["--end", "100ms"]));
    run.tail.wait_said("ready: nothing that is written from now on is missed");
    assert_eq!(run.value("manytail_log_ends_total"), 0.0);
    drop(world.writer("a.log"));
    run.wait_value("manytail_log_ends_total", |count| count == 1.0);
    assert_eq!(run.value("manytail_events_total{kind=\"closed\"}"), 1.0);
    assert_eq!(run.value("manytail_records_total"), 0.0, "an event is no line");
}
