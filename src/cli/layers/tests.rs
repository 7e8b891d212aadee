//! Settings from all layers at once: which value counts, what its source is, and every refusal of
//! files and variables.

mod brokers;
mod refusals;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::cli::{Command, parse_for};
use crate::config::{Build, Format, Output, StartAt};
use crate::settings::{Form, Kind, Row, TABLE, Value};

/// A build that can talk to all brokers.
const ALL: Build = Build { kafka: true, kafka_tls: true, kafka_gssapi: true, nats: true };

/// A directory with settings files, variables, and what is given on the command line.
struct Surroundings {
    directory: TempDir,
    variables: Vec<(OsString, OsString)>,
    build: Build,
}

impl Surroundings {
    fn new(files: &[(&str, &str)]) -> Surroundings {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("conf.d")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Surroundings { directory, variables: Vec::new(), build: ALL }
    }

    fn with(mut self, name: &str, value: &str) -> Surroundings {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, arguments: &[&str]) -> Result<Box<Settings>, Refusal> {
        let words = ["manytail", "run"].iter().chain(arguments).map(OsString::from);
        match parse_for(self.build, words, self.variables.clone())? {
            Command::Run(settings) => Ok(settings),
            _ => unreachable!("run was asked for"),
        }
    }

    /// With the file `main.toml`, which must be good.
    #[track_caller]
    fn settings(&self, arguments: &[&str]) -> Box<Settings> {
        self.with_main(arguments)
            .unwrap_or_else(|refusal| panic!("{arguments:?} refused: {refusal}"))
    }

    /// With the file `main.toml`.
    fn with_main(&self, arguments: &[&str]) -> Result<Box<Settings>, Refusal> {
        let main = self.path("main.toml");
        self.read(&[&["--config", main.to_str().unwrap()], arguments].concat())
    }

    /// With the file `main.toml`: why it is refused, without the directory's name.
    #[track_caller]
    fn refusal(&self, arguments: &[&str]) -> String {
        let refusal = self.with_main(arguments).expect_err("refused");
        assert_eq!(refusal.exit_code(), 2);
        refusal.to_string().replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn file(text: &str) -> Surroundings {
    Surroundings::new(&[("main.toml", text)])
}

/// The source of a setting of the whole run, without the directory's name.
fn source(settings: &Settings, key: &str) -> String {
    let setting =
        settings.origin.effective.settings.iter().find(|setting| setting.key == key).unwrap();
    setting.source.to_string().rsplit('/').next().unwrap().to_owned()
}

fn paths(settings: &Settings) -> Vec<Vec<String>> {
    let text = |path: &Vec<u8>| String::from_utf8(path.clone()).unwrap();
    settings
        .config
        .engine
        .inputs
        .iter()
        .map(|input| input.paths.iter().map(text).collect())
        .collect()
}

#[test]
fn command_line_goes_before_environment_before_file_before_default() {
    let all = Surroundings::new(&[(
        "main.toml",
        "paths = ['D']\ncoalesce = '3ms'\npace = '3ms'\nrescan = '3min'\n",
    )])
    .with("MANYTAIL_COALESCE", "2ms")
    .with("MANYTAIL_PACE", "2ms");
    let settings = all.settings(&["--coalesce=1ms"]);
    let engine = &settings.config.engine;
    assert_eq!(
        (engine.coalesce, settings.config.pace),
        (Duration::from_millis(1), Duration::from_millis(2))
    );
    assert_eq!(
        (engine.rescan, engine.partial_after),
        (Some(Duration::from_secs(180)), Some(Duration::from_secs(30)))
    );
    let sources = ["coalesce", "pace", "rescan", "partial_after"].map(|key| source(&settings, key));
    assert_eq!(
        sources,
        ["command line", "environment variable MANYTAIL_PACE", "main.toml:4", "default"]
    );
}

#[test]
fn a_value_of_the_command_line_goes_before_others_also_where_it_is_the_default() {
    let settings = file("paths = ['D']\nformat = 'json'\n").settings(&["--format=text"]);
    assert_eq!(
        (settings.config.engine.format, &*source(&settings, "format")),
        (Format::Text, "command line")
    );
}

/// A value that is not the default.
fn other_value(row: &Row) -> &'static str {
    match row.kind {
        Kind::Switch => "true",
        Kind::Boolean => "false",
        Kind::Symlinks => "owner",
        Kind::Choice(choices) | Kind::Listed(_, choices) => {
            choices.names().into_iter().find(|name| Some(*name) != row.default).unwrap()
        }
        Kind::Duration => "7d",
        Kind::Size | Kind::Count => "7",
        Kind::Output => "fd:7",
        Kind::Metrics => "tcp:h:7",
        Kind::Labels => "key=value",
        Kind::Path(_) | Kind::Paths | Kind::Globs | Kind::Host => "value",
        Kind::Addresses | Kind::Brokers => "h:7",
        Kind::Servers => "tls://h:7",
        Kind::Several(_) => "path",
        Kind::Name(_) | Kind::Topic | Kind::Stream | Kind::File => "value",
        Kind::RecordKey => "path",
        Kind::JobPattern => "(?P<id>a)",
        Kind::LinePatterns => "^a$",
        Kind::RecordRule => "start=^a",
        Kind::Properties => "'linger.ms' = 7",
    }
}

fn run(settings: &Settings) -> String {
    format!("{:?} {:?}", settings.config, settings.diagnostics)
}

#[test]
fn every_setting_can_be_said_everywhere_and_changes_the_run() {
    let plain = run(&file("").settings(&["D"]));
    // Other tests say these.
    for row in TABLE.iter().filter(|row| ![Key::Config, Key::Brokers].contains(&row.key)) {
        let value = other_value(row);
        let option = match row.kind {
            Kind::Paths => value.to_owned(),
            Kind::Switch => format!("--{}", row.option()),
            _ => format!("--{}={value}", row.option()),
        };
        let (in_file, in_variable) = match row.kind.form() {
            Form::Boolean => (format!("{} = {value}", row.name), value.to_owned()),
            Form::List => (format!("{} = ['{value}']", row.name), value.replace(':', "\\:")),
            _ => (format!("{} = '{value}'", row.name), value.to_owned()),
        };
        let path: &[&str] = match row.key {
            Key::Paths => &[],
            Key::CarriageReturn | Key::End | Key::EndIdle => &["D", "--format=json"],
            Key::Record | Key::Keep | Key::Drop => &["D", "--format=json"],
            Key::RecordAfter => &["D", "--format=json", "--record=end=^a"],
            _ => &["D"],
        };
        let variable = row.variable();
        let mut said = vec![
            (file("").settings(&[path, &[&option]].concat()), "command line".to_owned()),
            (
                file("").with(&variable, &in_variable).settings(path),
                format!("environment variable {variable}"),
            ),
        ];
        if row.is_in_files() {
            said.push((file(&in_file).settings(path), "main.toml:1".to_owned()));
        }
        for (settings, place) in &said {
            assert_ne!(run(settings), plain, "{}, {place}", row.name);
            assert_eq!(run(settings), run(&said[0].0), "{}, {place}", row.name);
            let effective = &settings.origin.effective;
            let mut all = effective.settings.iter().chain(effective.inputs.iter().flatten());
            let setting = all.find(|setting| setting.key == row.name).unwrap();
            assert!(
                setting.source.to_string().ends_with(place),
                "{}: {}",
                row.name,
                setting.source
            );
        }
    }
}

#[test]
fn the_settings_file_may_be_named_by_a_variable() {
    let surroundings = file("pace = '7s'\n");
    let main = surroundings.path("main.toml");
    let surroundings = surroundings.with("MANYTAIL_CONFIG", main.to_str().unwrap());
    assert_eq!(surroundings.read(&["D"]).unwrap().config.pace, Duration::from_secs(7));
}

#[test]
fn later_files_win_for_single_values_and_lists_and_their_inputs_add() {
    let settings = Surroundings::new(&[
        (
            "main.toml",
            "coalesce = '1ms'\npace = '1ms'\nexclude = ['a', 'b']\n[[input]]\npaths = ['A']\n",
        ),
        ("conf.d/20.toml", "coalesce = '3ms'\nexclude = ['c']\n[[input]]\npaths = ['C']\n"),
        ("conf.d/10.toml", "coalesce = '2ms'\n[[input]]\npaths = ['B']\n"),
        ("conf.d/30.conf", "nonsense"),
        ("conf.d/.40.toml", "nonsense"),
    ])
    .settings(&[]);
    assert_eq!(settings.config.engine.coalesce, Duration::from_millis(3));
    assert_eq!(
        ["coalesce", "pace"].map(|key| source(&settings, key)),
        ["20.toml:1", "main.toml:2"]
    );
    assert_eq!(paths(&settings), [["A"], ["B"], ["C"]]);
    let patterns = &settings.config.engine.inputs[0].patterns;
    assert!(patterns.accepts_file(b"a", b"a") && !patterns.accepts_file(b"c", b"c"));
}

#[test]
fn an_input_has_its_own_values_and_those_of_all_where_it_says_none() {
    let text = "from = 'end'\nexclude = ['x']\nformat = 'json'\nlabels = \
        { cluster = 'a', kind = 'job' }\n\
                [[input]]\npaths = ['A', 'B']\n\
                [[input]]\npaths = ['C']\nfrom = 'beginning'\nexclude = []\nlabels.cluster = \
                'c'\nlabels.site = 's'\n";
    let settings = file(text).settings(&[]);
    let inputs = &settings.config.engine.inputs;
    assert_eq!(paths(&settings), [vec!["A", "B"], vec!["C"]]);
    assert_eq!((inputs[0].from, inputs[1].from), (StartAt::End, StartAt::Beginning));
    assert!(
        !inputs[0].patterns.accepts_file(b"x", b"x") && inputs[1].patterns.accepts_file(b"x", b"x")
    );
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(inputs[0].labels, [label("cluster", "a"), label("kind", "job")]);
    assert_eq!(inputs[1].labels, [label("cluster", "c"), label("kind", "job"), label("site", "s")]);
    assert!(settings.origin.warnings.is_empty());
}

#[test]
fn command_line_and_environment_go_before_what_an_input_says() {
    let text = "[[input]]\npaths = ['A']\nfrom = 'end'\ninclude = ['a']\n";
    let settings = file(text).with("MANYTAIL_INCLUDE", "b").settings(&["--from", "beginning"]);
    let input = &settings.config.engine.inputs[0];
    assert_eq!(input.from, StartAt::Beginning);
    assert!(input.patterns.accepts_file(b"b", b"b") && !input.patterns.accepts_file(b"a", b"a"));
}

#[test]
fn paths_from_outside_take_the_place_of_the_inputs_in_files() {
    let text = "exclude = ['x']\n[[input]]\npaths = ['A']\n[[input]]\npaths = ['B']\n";
    for settings in
        [file(text).settings(&["C", "D"]), file(text).with("MANYTAIL_PATHS", "C:D").settings(&[])]
    {
        assert_eq!(paths(&settings), [["C", "D"]]);
        assert!(!settings.config.engine.inputs[0].patterns.accepts_file(b"x", b"x"));
    }
}

#[test]
fn sizes_may_be_integers_and_booleans_are_not_quoted() {
    let settings = file(
        "paths = ['D']\nmax_line_bytes = 0x1_0000\nonce = true\nrecursive = false\nrescan = 0\n",
    )
    .settings(&[]);
    let engine = settings.config.engine;
    assert_eq!(
        (engine.line_bytes_max, engine.once, engine.recursive, engine.rescan),
        (65_536, true, false, None)
    );
}

#[test]
fn a_switch_in_a_file_is_turned_off_by_its_variable() {
    let settings =
        file("paths = ['D']\nonce = true\n").with("MANYTAIL_ONCE", "false").settings(&[]);
    assert!(!settings.config.engine.once);
    assert_eq!(source(&settings, "once"), "environment variable MANYTAIL_ONCE");
}

#[test]
fn lists_in_variables_are_separated_by_colons() {
    let surroundings =
        file("").with("MANYTAIL_PATHS", r"a:b\:c:d e").with("MANYTAIL_INCLUDE", r"*.log:\[x");
    let settings = surroundings.settings(&[]);
    assert_eq!(paths(&settings), [["a", "b:c", "d e"]]);
    let patterns = &settings.config.engine.inputs[0].patterns;
    assert!(
        patterns.accepts_file(b"a.log", b"a.log")
            && patterns.accepts_file(b"[x", b"[x")
            && !patterns.accepts_file(b"b", b"b")
    );
}

#[test]
fn the_state_directory_of_the_service_manager_is_the_last_to_be_asked() {
    let surroundings = file("paths = ['D']\n").with("STATE_DIRECTORY", "/s:/t");
    let settings = surroundings.settings(&[]);
    assert_eq!(settings.config.state_dir, Some("/s".into()));
    assert_eq!(source(&settings, "state_dir"), "environment variable STATE_DIRECTORY");
    let settings =
        file("paths = ['D']\nstate_dir = '/f'\n").with("STATE_DIRECTORY", "/s").settings(&[]);
    assert_eq!(settings.config.state_dir, Some("/f".into()));
}

#[test]
fn what_is_likely_not_meant_so_is_a_warning() {
    let surroundings = file("paths = ['D']\nlabels = { a = 'b' }\n")
        .with("MANYTAIL_COALSECE", "1ms")
        .with("MANYTAIL_X", "1");
    let settings = surroundings.settings(&[]);
    assert_eq!(
        settings.origin.warnings,
        [
            "the environment variable MANYTAIL_COALSECE is no setting and changes nothing; did you \
            mean MANYTAIL_COALESCE?",
            "the environment variable MANYTAIL_X is no setting and changes nothing",
            "labels are part of json and syslog records: with another format they change nothing",
        ]
    );
}

#[test]
fn the_same_is_read_again_until_the_files_change() {
    let surroundings = file("paths = ['D']\ncoalesce = '1ms'\n");
    let settings = surroundings.settings(&["--pace=1ms"]);
    assert_eq!(settings.origin.read_again().unwrap().origin.effective, settings.origin.effective);
    fs::write(surroundings.path("main.toml"), "paths = ['E']\ncoalesce = '2ms'\npace = '2ms'\n")
        .unwrap();
    let again = settings.origin.read_again().unwrap();
    assert_eq!(
        (again.config.engine.coalesce, again.config.pace),
        (Duration::from_millis(2), Duration::from_millis(1))
    );
    let differences: Vec<&str> = settings
        .origin
        .effective
        .differences(&again.origin.effective)
        .map(|(before, _)| &*before.key)
        .collect();
    assert_eq!(differences, ["coalesce"]);
    fs::write(surroundings.path("main.toml"), "coalesce = 2\n").unwrap();
    assert!(
        settings
            .origin
            .read_again()
            .unwrap_err()
            .to_string()
            .contains("main.toml:1: coalesce: `2`")
    );
}

#[test]
fn what_check_prints_is_a_settings_file_that_says_the_same() {
    let text = "format = 'json'\noutput = 'file:/tmp/a\"b'\nonce = true\nhost = true\nlabels = \
        { 'a b' = \"\\u007f\\n\" }\n\
                [[input]]\npaths = ['A', 'B']\ninclude = ['*.log']\n[[input]]\npaths = ['C']\n";
    let settings = file(text).settings(&[]);
    let mut printed = Vec::new();
    settings.origin.effective.write_toml(&mut printed).unwrap();
    let printed = str::from_utf8(&printed).unwrap();
    // Booleans as TOML writes them.
    for (key, value) in [("once", "true"), ("host", "true"), ("follow_symlinks", "false")] {
        assert!(printed.contains(&format!("{key:22} = {value} ")), "{printed}");
    }
    let again = file(printed).settings(&[]);
    let values = |settings: &Settings| {
        let effective = &settings.origin.effective;
        let all = effective
            .settings
            .iter()
            .filter(|setting| setting.key != Key::Config.name())
            .chain(effective.inputs.iter().flatten());
        all.map(|setting| (setting.key.clone(), setting.value.clone()))
            .collect::<Vec<(String, Value)>>()
    };
    assert_eq!(values(&again), values(&settings));
    assert_eq!(again.config.output, Output::File("/tmp/a\"b".into()));
}

#[test]
fn values_of_files_may_refer_to_variables() {
    let text = "paths = ['/srv/${CLUSTER}/jobs']\ncommit_interval = '${EVERY:-3s}'\nhost = \
        '${HOSTNAME}'\nformat = 'json'\n[labels]\nin = '${CLUSTER}-x'\n";
    let settings = file(text).with("CLUSTER", "east").with("HOSTNAME", "node7").settings(&[]);
    assert_eq!(settings.config.engine.inputs[0].paths, [b"/srv/east/jobs"]);
    assert_eq!(settings.config.engine.inputs[0].labels, [("in".to_owned(), "east-x".to_owned())]);
    assert_eq!(
        (settings.config.commit_interval, settings.config.engine.host.as_deref()),
        (Duration::from_secs(3), Some("node7"))
    );
    let refusal = file(text).refusal(&[]);
    assert!(
        refusal.contains("main.toml:1: paths: ${CLUSTER}: the environment variable is not set"),
        "{refusal}"
    );
    assert!(refusal.contains("main.toml:6: labels.in:"), "{refusal}");
}

#[test]
fn labels_of_the_command_line_win_and_are_those_of_all_inputs() {
    let text = "format = 'json'\n[labels]\na = 'file'\nb = 'file'\n[[input]]\npaths = \
        ['D']\nlabels = { c = 'input' }\n";
    let settings = file(text).settings(&["--label", "b=line", "--label=d=x=y"]);
    let labels: Vec<String> = settings.config.engine.inputs[0]
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(labels, ["a=file", "b=line", "c=input", "d=x=y"]);
    for bad in ["--label=plain", "--label==x"] {
        assert!(file(text).refusal(&[bad]).contains("KEY=VALUE"), "{bad}");
    }
}

#[test]
fn a_host_is_named_as_it_is_called_or_as_is_said() {
    let host = |given: &str| {
        file(&format!("paths = ['D']\nformat = 'json'\n{given}\n")).settings(&[]).config.engine.host
    };
    assert_eq!(host(""), None);
    assert_eq!(host("host = false"), None);
    assert_eq!(host("host = true"), Some(crate::sys::host::name().unwrap()));
    assert_eq!(host("host = 'node7'"), Some("node7".to_owned()));
    let with = |option: &str| {
        file("paths = ['D']\nformat = 'json'\n").settings(&[option]).config.engine.host
    };
    assert_eq!(
        (with("--host=node8"), with("--host")),
        (Some("node8".to_owned()), Some(crate::sys::host::name().unwrap()))
    );
    assert!(
        file("paths = ['D']\nhost = ''\n").refusal(&[]).contains("main.toml:2: host: is empty")
    );
}

#[test]
fn a_preset_counts_where_it_is_given_and_values_of_the_same_place_win() {
    let all = file(
        "format = 'json'\ninclude = ['*.outer']\n[[input]]\npaths = ['A']\npreset = 'slurm'\n\
        [[input]]\npaths = ['B']\npreset = 'pbs'\ninclude = ['*.mine']\n[[input]]\npaths = ['C']\n",
    );
    let globs = |settings: &Settings, input: usize, name: &str| {
        settings.config.engine.inputs[input].patterns.accepts_file(name.as_bytes(), b"")
    };
    let settings = all.settings(&[]);
    let inputs = &settings.config.engine.inputs;
    assert!(globs(&settings, 0, "a.out") && !globs(&settings, 0, "a.outer"), "nearer than outer");
    assert!(globs(&settings, 1, "a.mine") && !globs(&settings, 1, "a.OU"));
    assert!(globs(&settings, 2, "a.outer") && !globs(&settings, 2, "a.out"));
    let jobs = |at: usize| inputs[at].job.pattern.as_ref().map(|pattern| pattern.text().len());
    assert!(jobs(0).is_some() && jobs(1).is_some() && jobs(2).is_none());
    assert_eq!(inputs[0].carriage_return, crate::config::CarriageReturn::Split);
    let of_input = &settings.origin.effective.inputs[0];
    let job = of_input.iter().find(|setting| setting.key == "job").unwrap();
    let source = job.source.to_string();
    assert!(source.starts_with("preset slurm, ") && source.ends_with("main.toml:5"), "{source}");
    let of_option = all.settings(&["--preset", "arc"]);
    assert!(globs(&of_option, 0, "job.x.errors") && !globs(&of_option, 0, "a.out"));
    let own = all.settings(&["--preset", "arc", "--include", "*.x"]);
    assert!(globs(&own, 1, "a.x") && !globs(&own, 1, "job.x.errors"));
    // Text has no place for what ends a record.
    let text = file("paths = ['A']\npreset = 'slurm'\n").settings(&[]);
    assert_eq!(text.config.engine.inputs[0].carriage_return, crate::config::CarriageReturn::Data);
    let refusal = file("paths = ['A']\npreset = 'lsf'\n").refusal(&[]);
    assert!(
        refusal.contains("main.toml:2: preset: `lsf`: expected slurm, gridengine, pbs"),
        "{refusal}"
    );
}
