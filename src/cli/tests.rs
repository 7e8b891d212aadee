//! Whole command lines: every option, every refusal, and the help.

mod help;

use std::time::Duration;

use super::*;
use crate::config::{Config, Format, Output, StartAt};
use crate::diagnostics::{Diagnostics, Level, LogFormat};
use crate::sys::LinkRule;
use crate::tools::offsets::Action;
use crate::tools::style::Style;

/// Parses `manytail run` with these arguments.
fn run(arguments: &[&str]) -> Result<(Config, Diagnostics), Refusal> {
    let all = ["manytail", "run"].iter().chain(arguments).map(OsString::from);
    parse(all, []).map(|command| match command {
        Command::Run(settings) => (settings.config, settings.diagnostics),
        _ => unreachable!("run was asked for"),
    })
}

fn config(arguments: &[&str]) -> Config {
    run(arguments).unwrap_or_else(|refusal| panic!("{arguments:?} refused: {}", refusal.0)).0
}

/// The message of a refusal with exit code 2.
fn refusal(arguments: &[&str]) -> String {
    match run(arguments) {
        Ok(_) => panic!("{arguments:?} accepted"),
        Err(refusal) => {
            assert_eq!(refusal.exit_code(), 2, "{arguments:?}");
            refusal.0.render().to_string()
        }
    }
}

#[test]
fn clap_finds_no_mistake_in_the_options() {
    Arguments::command().debug_assert();
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let (config, diagnostics) = run(&["D"]).unwrap();
    assert_eq!((config.adaptive, config.sched_batch, config.keep_open), (true, true, 256));
    let Config {
        engine,
        output,
        pace,
        shutdown_timeout,
        state_dir,
        commit_interval,
        metrics,
        control_socket,
        ..
    } = config;
    assert_eq!(engine.inputs[0].paths, [b"D".to_vec()]);
    assert_eq!(
        (engine.format, engine.inputs[0].from, engine.once),
        (Format::Text, StartAt::Beginning, false)
    );
    assert_eq!(
        (engine.recursive, engine.follow_links, engine.line_bytes_max),
        (true, None, 1 << 20)
    );
    assert_eq!(engine.coalesce, Duration::from_millis(5));
    assert_eq!(engine.partial_after, Some(Duration::from_secs(30)));
    assert_eq!((engine.rescan, engine.ignore_older), (Some(Duration::from_secs(300)), None));
    assert!(
        engine.inputs[0].patterns.accepts_file(b"a.log", b"a.log")
            && !engine.inputs[0].patterns.accepts_file(b"a.gz", b"a.gz")
    );
    assert_eq!((output, pace), (Output::Descriptor(1), Duration::from_micros(500)));
    assert_eq!(shutdown_timeout, Duration::from_secs(5));
    assert_eq!((state_dir, commit_interval), (None, Duration::from_secs(1)));
    assert_eq!((metrics, control_socket), (vec![], None));
    assert_eq!(diagnostics, Diagnostics { level: Level::Info, format: LogFormat::Text });
}

#[test]
fn paths_are_taken_in_order_byte_for_byte() {
    use std::os::unix::ffi::OsStringExt;
    let stray = OsString::from_vec(b"\xff/".to_vec());
    let arguments =
        ["manytail", "run", "a", "--", "--once"].into_iter().map(OsString::from).chain([stray]);
    let Command::Run(settings) = parse(arguments, []).unwrap() else {
        unreachable!("run was asked for")
    };
    let config = settings.config;
    assert_eq!(
        config.engine.inputs[0].paths,
        [b"a".to_vec(), b"--once".to_vec(), b"\xff/".to_vec()]
    );
    assert!(!config.engine.once);
}

#[test]
fn output_and_format_have_short_and_long_names() {
    assert_eq!(config(&["-o", "fd:3", "D"]).output, Output::Descriptor(3));
    assert_eq!(config(&["--output", "tcp:h:1", "D"]).output, Output::Tcp("h:1".into()));
    for (name, format) in Format::NAMES {
        assert_eq!(config(&["-f", name, "D"]).engine.format, format);
        assert_eq!(config(&[&format!("--format={name}"), "D"]).engine.format, format);
    }
}

#[test]
fn globs_may_be_repeated_and_default_excludes_dropped() {
    let patterns = config(&[
        "--include",
        "*.log",
        "--include",
        "*.gz",
        "--exclude",
        "x*",
        "--exclude",
        "y*",
        "D",
    ])
    .engine
    .inputs
    .remove(0)
    .patterns;
    assert!(patterns.accepts_file(b"a.log", b"") && !patterns.accepts_file(b"a.out", b""));
    assert!(
        !patterns.accepts_file(b"a.gz", b"")
            && !patterns.accepts_file(b"x.log", b"")
            && !patterns.accepts_file(b"y.log", b"")
    );
    let patterns =
        config(&["--no-default-excludes", "--exclude=x*", "D"]).engine.inputs.remove(0).patterns;
    assert!(patterns.accepts_file(b"a.gz", b"") && !patterns.accepts_file(b"x", b""));
}

#[test]
fn recursive_needs_its_value() {
    assert!(!config(&["--recursive", "false", "D"]).engine.recursive);
    assert!(!config(&["--recursive=false", "D"]).engine.recursive);
    assert!(config(&["--recursive", "true", "D"]).engine.recursive);
    assert_eq!(config(&["--", "--recursive"]).engine.inputs[0].paths, [b"--recursive".to_vec()]);
    for refused in [
        &["--recursive", "maybe", "D"][..],
        &["--recursive", "D"],
        &["D", "--recursive"],
        &["--recursive", "--once", "D"],
        &["--recursive", "--", "D"],
        &["--recursive", "", "D"],
        &["--recursive=", "D"],
        &["--recursive=TRUE", "D"],
    ] {
        let message = refusal(refused);
        assert!(message.contains("--recursive"), "{refused:?}: {message}");
    }
}

#[test]
fn a_value_behind_a_switch_does_not_become_a_path() {
    for switch in ["--once", "--follow-symlinks", "--no-default-excludes"] {
        for value in ["true", "false"] {
            let message = refusal(&[switch, value, "D"]);
            assert!(
                message.contains(switch) && message.contains(&format!("./{value}")),
                "{message}"
            );
        }
        assert_eq!(
            config(&["D", switch, "./true"]).engine.inputs[0].paths,
            [b"D".to_vec(), b"./true".to_vec()]
        );
        assert_eq!(
            config(&["D", switch, "--", "true"]).engine.inputs[0].paths,
            [b"D".to_vec(), b"true".to_vec()]
        );
    }
    let forget = |arguments: &[&str]| {
        parse(["manytail", "doctor"].iter().chain(arguments).map(OsString::from), [])
    };
    assert!(forget(&["--follow-symlinks", "false", "D"]).is_err());
}

#[test]
fn switches_are_off_until_given() {
    let engine = config(&["--once", "--follow-symlinks", "--same-owner", "D"]).engine;
    assert!(engine.once && engine.same_owner);
    assert_eq!(engine.follow_links, Some(LinkRule::Owner));
}

#[test]
fn links_are_followed_by_the_rule_that_is_given() {
    let rule = |option: &str| config(&[option, "D"]).engine.follow_links;
    assert_eq!(rule("--follow-symlinks=owner"), Some(LinkRule::Owner));
    assert_eq!(rule("--follow-symlinks=true"), Some(LinkRule::Owner));
    assert_eq!(rule("--follow-symlinks=any-privileged"), Some(LinkRule::Any));
    assert_eq!(rule("--follow-symlinks=false"), None);
    if crate::sys::host::overrides_permissions() {
        let message = refusal(&["--follow-symlinks=any", "D"]);
        assert!(
            message.contains("--follow-symlinks") && message.contains("any-privileged"),
            "{message}"
        );
    } else {
        assert_eq!(rule("--follow-symlinks=any"), Some(LinkRule::Any));
    }
    assert!(refusal(&["--follow-symlinks=some", "D"]).contains("--follow-symlinks"));
}

#[test]
fn from_takes_both_ends() {
    assert_eq!(config(&["--from", "end", "D"]).engine.inputs[0].from, StartAt::End);
    assert_eq!(
        config(&["--from", "beginning", "--once", "D"]).engine.inputs[0].from,
        StartAt::Beginning
    );
}

#[test]
fn every_duration_is_taken() {
    let config = config(&[
        "--coalesce=1ms",
        "--pace=2ms",
        "--partial-after=3s",
        "--rescan=4min",
        "--ignore-older=5d",
        "--shutdown-timeout=6h",
        "D",
    ]);
    assert_eq!(
        (config.engine.coalesce, config.pace),
        (Duration::from_millis(1), Duration::from_millis(2))
    );
    assert_eq!(config.engine.partial_after, Some(Duration::from_secs(3)));
    assert_eq!(config.engine.rescan, Some(Duration::from_secs(240)));
    assert_eq!(config.engine.ignore_older, Some(Duration::from_secs(5 * 86_400)));
    assert_eq!(config.shutdown_timeout, Duration::from_secs(6 * 3600));
}

#[test]
fn zero_durations_mean_none_and_never() {
    let config = config(&[
        "--coalesce=0",
        "--pace=0",
        "--partial-after=0",
        "--rescan=0",
        "--ignore-older=0",
        "--shutdown-timeout=0",
        "D",
    ]);
    assert!(
        config.engine.coalesce.is_zero()
            && config.pace.is_zero()
            && config.shutdown_timeout.is_zero()
    );
    assert_eq!(
        (config.engine.partial_after, config.engine.rescan, config.engine.ignore_older),
        (None, None, None)
    );
}

#[test]
fn line_limits_from_one_byte_to_a_gibibyte_are_taken() {
    for (size, bytes) in [("1", 1), ("64k", 65_536), ("2MiB", 2 << 20), ("1GiB", 1 << 30)] {
        assert_eq!(config(&["--max-line-bytes", size, "D"]).engine.line_bytes_max, bytes);
    }
}

#[test]
fn log_options_choose_level_and_format() {
    for (name, level) in Level::NAMES {
        assert_eq!(run(&["--log-level", name, "D"]).unwrap().1.level, level);
    }
    for (name, format) in LogFormat::NAMES {
        assert_eq!(run(&["--log-format", name, "D"]).unwrap().1.format, format);
    }
}

#[test]
fn the_last_of_a_repeated_option_wins() {
    let config = config(&[
        "--format", "raw", "--format", "json", "-o", "fd:3", "-o", "fd:4", "--once", "--once", "D",
    ]);
    assert_eq!((config.engine.format, config.output), (Format::Json, Output::Descriptor(4)));
}

#[test]
fn bad_values_are_refused_with_the_name_of_their_option() {
    for (option, value) in [
        ("--output", "udp:h:1"),
        ("--output", "tcp:h"),
        ("--output", ""),
        ("--format", "xml"),
        ("--format", "JSON"),
        ("--include", "[a"),
        ("--include", ""),
        ("--include", "../x"),
        ("--exclude", "{a"),
        ("--from", "middle"),
        ("--recursive=yes", "D"),
        ("--recursive=", "D"),
        ("--coalesce", "5"),
        ("--coalesce", "fast"),
        ("--pace", "ms"),
        ("--pace", ""),
        ("--max-line-bytes", "0"),
        ("--max-line-bytes", "1073741825"),
        ("--max-line-bytes", "2GiB"),
        ("--max-line-bytes", "1KB"),
        ("--max-line-bytes", "99999999999999999999"),
        ("--partial-after", "soon"),
        ("--rescan", "5 apples"),
        ("--rescan", "200000d"),
        ("--ignore-older", "old"),
        ("--shutdown-timeout", "1e3s"),
        ("--log-level", "loud"),
        ("--log-format", "yaml"),
    ] {
        let message = refusal(&[option, value, "D"]);
        let name = option.split('=').next().unwrap();
        assert!(message.contains(name), "{option} {value}: {message}");
        let first = message.lines().next().unwrap();
        assert!(
            first.starts_with("error: ") && first.contains(name),
            "{option} {value}: {message}"
        );
    }
}

#[test]
fn an_option_without_its_value_is_refused_with_its_name() {
    for option in [
        "--config",
        "--output",
        "--format",
        "--include",
        "--pace",
        "--max-line-bytes",
        "--log-level",
    ] {
        assert!(refusal(&["D", option]).contains(option), "{option}");
        assert!(refusal(&[option, "--once", "D"]).contains(option), "{option}");
    }
}

#[test]
fn once_from_the_end_is_a_contradiction() {
    let message = refusal(&["--once", "--from", "end", "D"]);
    assert!(message.contains("--once") && message.contains("from"), "{message}");
}

#[test]
fn no_path_and_empty_paths_are_refused() {
    assert!(refusal(&[]).contains("PATH"));
    assert!(refusal(&["--once"]).contains("PATH"));
    assert!(refusal(&["D", ""]).contains("PATH"));
}

#[test]
fn unknown_options_and_options_of_later_versions_are_refused_with_their_name() {
    for option in ["--bogus", "--state-dir", "--commit-interval", "-x"] {
        assert!(refusal(&[option, "D"]).contains(option), "{option}");
    }
}

#[test]
fn switches_take_no_value() {
    for option in ["--once=true", "--same-owner=false", "--no-default-excludes=1"] {
        assert!(refusal(&[option, "D"]).contains(option.split('=').next().unwrap()), "{option}");
    }
}

#[test]
fn no_command_and_unknown_commands_are_refused() {
    for arguments in [&["manytail"][..], &["manytail", "walk", "D"], &["manytail", "D"]] {
        let refusal = parse(arguments.iter().map(OsString::from), []).unwrap_err();
        assert_eq!(refusal.exit_code(), 2, "{arguments:?}");
    }
}

fn offsets(arguments: &[&str]) -> Result<Request, Refusal> {
    match parse(["manytail", "offsets"].iter().chain(arguments).map(OsString::from), [])? {
        Command::Offsets(request) => Ok(request),
        _ => unreachable!("offsets was asked for"),
    }
}

#[test]
fn the_actions_on_offsets_take_a_directory_a_format_and_paths() {
    let request = |arguments: &[&str]| {
        offsets(arguments).unwrap_or_else(|refusal| panic!("{arguments:?} refused: {}", refusal.0))
    };
    let state_dir = PathBuf::from("S");
    let wanted = |style, action| Request { state_dir: state_dir.clone(), style, action };
    assert_eq!(request(&["list", "--state-dir", "S"]), wanted(Style::Text, Action::List));
    assert_eq!(
        request(&["verify", "--state-dir=S", "--format", "json"]),
        wanted(Style::Json, Action::Verify)
    );
    assert_eq!(
        request(&["forget", "--state-dir=S", "--all"]),
        wanted(Style::Text, Action::ForgetAll)
    );
    let paths = vec![b"a".to_vec(), b"b/".to_vec()];
    assert_eq!(
        request(&["forget", "--state-dir=S", "a", "b/"]),
        wanted(Style::Text, Action::Forget(paths))
    );
}

#[test]
fn actions_on_offsets_that_do_not_say_what_they_are_about_are_refused_by_name() {
    for (arguments, named) in [
        (&["list", "--state-dir="][..], "--state-dir"),
        (&["forget", "--state-dir=S"], "<PATH"),
        (&["forget", "--state-dir=S", "--all", "a"], "--all"),
        (&["forget", "--state-dir=S", ""], "PATH"),
        (&["list", "--state-dir=S", "a"], "'a'"),
        (&["list", "--state-dir=S", "--format", "raw"], "--format"),
        (&["forget", "--state-dir=S", "--recursive", "a"], "--recursive"),
    ] {
        let refusal = offsets(arguments).expect_err("refused");
        assert_eq!(refusal.exit_code(), 2, "{arguments:?}");
        let text = refusal.0.render().to_string();
        assert!(text.contains(named), "{arguments:?}: {text}");
    }
}
