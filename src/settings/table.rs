//! The table of settings: all there is to say of each of them, once.
//!
//! In: nothing. Out: [`TABLE`], of which are made the options of `run` (those that `doctor` and
//! `check` take, too), the keys of settings files, the variables, what `check` prints, and what a
//! run does with a new value; the pages of dist/doc are compared with it. What only a table of a
//! settings file says is in [`BROKERS`].
//! Always holds: a row is in the place of its [`Key`]; each default is well-formed.

use super::brokers::BROKERS;
use super::kind::Kind;
use super::presets::PRESETS;
use super::row::{Change, Key, Live, Row, Scope};
use crate::config::{Binary, CarriageReturn, Format, StartAt};
use crate::diagnostics::{Level, LogFormat};

/// All settings: the options, then those of tables.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().chain(&BROKERS)
}

impl Key {
    /// The key that is called so in a file.
    pub(crate) fn named(name: &str) -> Key {
        rows().find(|row| row.name == name).expect("it is a setting").key
    }

    pub(crate) fn row(self) -> &'static Row {
        let at = self as usize;
        TABLE.get(at).unwrap_or_else(|| &BROKERS[at - TABLE.len()])
    }

    /// As it is called in a file.
    pub(crate) fn name(self) -> &'static str {
        self.row().name
    }
}

const SETTINGS: &str = "Settings";
const OUTPUT: &str = "Output";
const FILES: &str = "Which files";
const READ: &str = "What is read";
const STATE: &str = "State";
const TIMING: &str = "Timing";
const INSIGHT: &str = "Insight";
const DIAGNOSTICS: &str = "Diagnostics";

/// All settings, in the order of their keys and of the help.
#[rustfmt::skip] // A table is read line by line.
pub static TABLE: [Row; 43] = [
    Row { key: Key::Config, name: "config", short: None, kind: Kind::Path("FILE"),
        default: None, in_words: Some("none"),
        scope: Scope::CommandLine, change: Change::Restart, heading: SETTINGS,
        help: "A TOML file with these options as keys; then conf.d/*.toml beside it" },
    Row { key: Key::Output, name: "output", short: Some('o'), kind: Kind::Output,
        default: Some("stdout"), in_words: None,
        scope: Scope::Run, change: Change::Restart, heading: OUTPUT,
        help: "stdout, fd:N, file:PATH, unix:PATH, tcp:HOST:PORT, kafka:TOPIC or nats:SUBJECT" },
    Row { key: Key::Brokers, name: "brokers", short: None, kind: Kind::Addresses,
        default: None, in_words: Some("those of the settings file"),
        scope: Scope::CommandLine, change: Change::Restart, heading: OUTPUT,
        help: "Some brokers of kafka: or servers of nats:" },
    Row { key: Key::Format, name: "format", short: Some('f'), kind: Kind::Choice(&Format::NAMES),
        default: Some("text"), in_words: Some("text; brokers: json"),
        scope: Scope::Run, change: Change::Restart, heading: OUTPUT,
        help: "How records are written" },
    Row { key: Key::Host, name: "host", short: None, kind: Kind::Host,
        default: Some("false"), in_words: Some("off; syslog, brokers: on"),
        scope: Scope::Run, change: Change::Live(Live::Host), heading: OUTPUT,
        help: "json, syslog: each record names the host; =NAME: as this" },
    Row { key: Key::Label, name: "label", short: None, kind: Kind::Labels,
        default: None, in_words: Some("none"),
        scope: Scope::CommandLine, change: Change::Inputs, heading: OUTPUT,
        help: "json, syslog: this label in each record (repeat)" },
    Row { key: Key::ShutdownTimeout, name: "shutdown_timeout", short: None, kind: Kind::Duration,
        default: Some("5s"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::ShutdownTimeout), heading: OUTPUT,
        help: "On SIGTERM, wait this long for the output to take what was read" },
    Row { key: Key::Paths, name: "paths", short: None, kind: Kind::Paths,
        default: None, in_words: Some("those of the settings file"),
        scope: Scope::Input, change: Change::Inputs, heading: FILES,
        help: "Directories and files to follow" },
    Row { key: Key::Preset, name: "preset", short: None, kind: Kind::Listed("NAME", &PRESETS),
        default: None, in_words: Some("none"),
        scope: Scope::Input, change: Change::Inputs, heading: FILES,
        help: "A scheduler: globs for its logs, and the job in their names" },
    Row { key: Key::Include, name: "include", short: None, kind: Kind::Globs,
        default: None, in_words: Some("all"),
        scope: Scope::Input, change: Change::Inputs, heading: FILES,
        help: "Only files that match; a / in it: match the path below PATH (repeat)" },
    Row { key: Key::Exclude, name: "exclude", short: None, kind: Kind::Globs,
        default: None, in_words: Some("*.gz *.bz2 *.xz *.zst *.lz4 *.zip *.Z core core.[0-9]* *.core"),
        scope: Scope::Input, change: Change::Inputs, heading: FILES,
        help: "Leave out (repeat)" },
    Row { key: Key::NoDefaultExcludes, name: "no_default_excludes", short: None, kind: Kind::Switch,
        default: Some("false"), in_words: Some("off"),
        scope: Scope::Input, change: Change::Inputs, heading: FILES,
        help: "Do not exclude compressed files and core dumps" },
    Row { key: Key::From, name: "from", short: None, kind: Kind::Choice(&StartAt::NAMES),
        default: Some("beginning"), in_words: None,
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "Where to start in files that exist at the first start" },
    Row { key: Key::Binary, name: "binary", short: None, kind: Kind::Choice(&Binary::NAMES),
        default: Some("deliver"), in_words: None,
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "Deliver or skip new files with NULs in the first block, unless UTF-16 or UTF-32" },
    Row { key: Key::CarriageReturn, name: "carriage_return", short: None,
        kind: Kind::Choice(&CarriageReturn::NAMES),
        default: Some("data"), in_words: None,
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json, syslog: a \\r without \\n ends a record; latest: only the last one of a read" },
    Row { key: Key::Record, name: "record", short: None, kind: Kind::RecordRule,
        default: None, in_words: Some("off"),
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json: several lines make a record: how it ends, begins or goes on" },
    Row { key: Key::RecordAfter, name: "record_after", short: None, kind: Kind::Duration,
        default: Some("1s"), in_words: None,
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "Deliver a record that may go on after this long without growth; 0 = never" },
    Row { key: Key::Keep, name: "keep", short: None, kind: Kind::LinePatterns,
        default: None, in_words: Some("all"),
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json: only records in which one of these matches (repeat)" },
    Row { key: Key::Drop, name: "drop", short: None, kind: Kind::LinePatterns,
        default: None, in_words: Some("none"),
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json: no records in which one of these matches (repeat)" },
    Row { key: Key::End, name: "end", short: None, kind: Kind::Duration,
        default: None, in_words: Some("off"),
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json: tell that a log is over: closed and at rest for this long, or gone" },
    Row { key: Key::EndIdle, name: "end_idle", short: None, kind: Kind::Duration,
        default: None, in_words: Some("off"),
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json: the same if nothing came for this long, also without a close" },
    Row { key: Key::Job, name: "job", short: None, kind: Kind::JobPattern,
        default: None, in_words: Some("none"),
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json: fields of job, from the name or, with a /, the path: (?P<id>\\d+)" },
    Row { key: Key::Uid, name: "uid", short: None, kind: Kind::Switch,
        default: Some("false"), in_words: Some("off"),
        scope: Scope::Input, change: Change::Inputs, heading: READ,
        help: "json: the owner of the file, as a number in job" },
    Row { key: Key::Recursive, name: "recursive", short: None, kind: Kind::Boolean,
        default: Some("true"), in_words: None,
        scope: Scope::Run, change: Change::Restart, heading: FILES,
        help: "Follow sub-directories" },
    Row { key: Key::FollowSymlinks, name: "follow_symlinks", short: None, kind: Kind::Symlinks,
        default: Some("false"), in_words: Some("off"),
        scope: Scope::Run, change: Change::Restart, heading: FILES,
        help: "Follow symbolic links: owner, any or any-privileged, see below; bare: owner" },
    Row { key: Key::SameOwner, name: "same_owner", short: None, kind: Kind::Switch,
        default: Some("false"), in_words: Some("off"),
        scope: Scope::Run, change: Change::Restart, heading: FILES,
        help: "Only files whose owner also owns the first component below PATH" },
    Row { key: Key::Once, name: "once", short: None, kind: Kind::Switch,
        default: Some("false"), in_words: Some("off"),
        scope: Scope::Run, change: Change::Restart, heading: READ,
        help: "Read up to the end of each file, then exit" },
    Row { key: Key::IgnoreOlder, name: "ignore_older", short: None, kind: Kind::Duration,
        default: None, in_words: Some("off"),
        scope: Scope::Run, change: Change::Live(Live::IgnoreOlder), heading: READ,
        help: "Start at the end of files not modified for this long; 0 = off" },
    Row { key: Key::MaxLineBytes, name: "max_line_bytes", short: None, kind: Kind::Size,
        default: Some("1MiB"), in_words: Some("1MiB; brokers: 128KiB"),
        scope: Scope::Run, change: Change::Live(Live::MaxLineBytes), heading: READ,
        help: "Deliver longer lines in pieces of this size, at most 1GiB" },
    Row { key: Key::PartialAfter, name: "partial_after", short: None, kind: Kind::Duration,
        default: Some("30s"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::PartialAfter), heading: READ,
        help: "Deliver an unfinished last line that rests for this long; 0 = never" },
    Row { key: Key::StateDir, name: "state_dir", short: None, kind: Kind::Path("DIR"),
        default: None, in_words: Some("$STATE_DIRECTORY, else none"),
        scope: Scope::Run, change: Change::Restart, heading: STATE,
        help: "Keep offsets in this directory across restarts" },
    Row { key: Key::CommitInterval, name: "commit_interval", short: None, kind: Kind::Duration,
        default: Some("1s"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::CommitInterval), heading: STATE,
        help: "How often acknowledged offsets become durable" },
    Row { key: Key::Coalesce, name: "coalesce", short: None, kind: Kind::Duration,
        default: Some("5ms"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::Coalesce), heading: TIMING,
        help: "After a read, wait up to this long to read the file again; 0 = at once" },
    Row { key: Key::Pace, name: "pace", short: None, kind: Kind::Duration,
        default: Some("500us"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::Pace), heading: TIMING,
        help: "Rest for up to this long between two turns of the loop; 0 = none" },
    Row { key: Key::Adaptive, name: "adaptive", short: None, kind: Kind::Boolean,
        default: Some("true"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::Adaptive), heading: TIMING,
        help: "Adapt --coalesce and --pace to the load; false: always use their full values" },
    Row { key: Key::SchedBatch, name: "sched_batch", short: None, kind: Kind::Boolean,
        default: Some("true"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::SchedBatch), heading: TIMING,
        help: "Let the writer finish first (SCHED_BATCH), while that costs no time" },
    Row { key: Key::KeepOpen, name: "keep_open", short: None, kind: Kind::Count,
        default: Some("256"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::KeepOpen), heading: TIMING,
        help: "Keep up to N files open for up to 2s after a read; 0 = none" },
    Row { key: Key::Rescan, name: "rescan", short: None, kind: Kind::Duration,
        default: Some("5min"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::Rescan), heading: TIMING,
        help: "Check each file for missed changes once in this time; 0 = never" },
    Row { key: Key::RescanRemote, name: "rescan_remote", short: None, kind: Kind::Duration,
        default: Some("5s"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::Rescan), heading: TIMING,
        help: "Replaces --rescan on NFS, Lustre, FUSE, overlay and the like; 0 = use --rescan" },
    Row { key: Key::Metrics, name: "metrics", short: None, kind: Kind::Metrics,
        default: None, in_words: Some("none"),
        scope: Scope::Run, change: Change::Restart, heading: INSIGHT,
        help: "Metrics for Prometheus: tcp:HOST:PORT, unix:PATH or textfile:PATH (repeat)" },
    Row { key: Key::ControlSocket, name: "control_socket", short: None, kind: Kind::Path("PATH"),
        default: None, in_words: Some("$RUNTIME_DIRECTORY/control.sock, else none"),
        scope: Scope::Run, change: Change::Restart, heading: INSIGHT,
        help: "Socket for `manytail status` and `top`" },
    Row { key: Key::LogLevel, name: "log_level", short: None, kind: Kind::Listed("LEVEL", &Level::NAMES),
        default: Some("info"), in_words: None,
        scope: Scope::Run, change: Change::Live(Live::LogLevel), heading: DIAGNOSTICS,
        help: "Lowest level to log" },
    Row { key: Key::LogFormat, name: "log_format", short: None, kind: Kind::Choice(&LogFormat::NAMES),
        default: Some("text"), in_words: None,
        scope: Scope::Run, change: Change::Restart, heading: DIAGNOSTICS,
        help: "Format of the log" },
];

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::config::{ConfigError, KEEP_OPEN, Metrics, Output};
    use crate::patterns::DEFAULT_EXCLUDES;
    use crate::settings::Form;

    #[test]
    fn each_row_is_in_the_place_of_its_key_and_is_called_like_it() {
        for (at, row) in rows().enumerate() {
            assert_eq!(row.key as usize, at, "{}", row.name);
            assert_eq!(row.name.replace(['_', '.'], ""), format!("{:?}", row.key).to_lowercase());
            assert_eq!(Key::named(row.name), row.key);
            assert!(std::ptr::eq(row.key.row(), row));
            let in_table = row.table().map(|table| format!("{table}.{}", row.bare_name()));
            assert_eq!(in_table.as_deref().unwrap_or(row.bare_name()), row.name);
        }
    }

    #[test]
    fn each_default_is_a_value_and_what_has_none_says_so_in_words() {
        for row in rows() {
            let is_value = |text| row.kind.parse(OsStr::new(text)).is_ok();
            assert!(row.default.is_none_or(is_value), "{}", row.name);
            assert!(row.kind.bare().is_none_or(is_value), "{}", row.name);
            assert!(row.default.is_some() || row.in_words.is_some(), "{}", row.name);
            // What the bare option turns on is off, and lists are empty.
            let is_off = matches!(row.kind, Kind::Switch) || row.kind.bare().is_some();
            assert!(!is_off || row.default == Some("false"), "{}", row.name);
            let is_empty = matches!(row.kind.form(), Form::List | Form::Table);
            assert!(!is_empty || row.default.is_none(), "{}", row.name);
        }
        assert_eq!(Key::KeepOpen.row().default, Some(KEEP_OPEN.to_string().as_str()));
        assert_eq!(Key::Exclude.row().in_words, Some(DEFAULT_EXCLUDES.join(" ").as_str()));
    }

    #[test]
    fn a_new_value_is_taken_as_the_setting_that_it_is_of() {
        for row in rows() {
            match row.change {
                Change::Live(live) => {
                    let key = format!("{:?}", row.key);
                    assert_eq!(key.trim_end_matches("Remote"), format!("{live:?}"));
                }
                Change::Inputs => assert!(row.scope == Scope::Input || row.key == Key::Label),
                Change::Restart => assert_ne!(row.scope, Scope::Input, "{}", row.name),
            }
        }
    }

    #[test]
    fn no_key_takes_a_secret_itself() {
        for row in &BROKERS {
            let name = row.bare_name();
            let is_secret =
                ["password", "nkey", "credentials"].iter().any(|word| name.contains(word));
            assert!(!is_secret || matches!(row.kind, Kind::File), "{}", row.name);
            assert_eq!(matches!(row.kind, Kind::File), name.ends_with("_file"), "{}", row.name);
        }
    }

    #[test]
    fn the_help_names_every_kind_of_output_and_of_metrics() {
        for (key, kinds) in [(Key::Output, &Output::KINDS[..]), (Key::Metrics, &Metrics::KINDS[..])]
        {
            let help = key.row().help;
            let places: Vec<usize> = kinds.iter().map(|kind| help.find(kind).unwrap()).collect();
            assert!(places.is_sorted(), "{help}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_as_a_setting_that_there_is() {
        for error in [
            ConfigError::ControlSocket,
            ConfigError::LineBytesMax { bytes: 0 },
            ConfigError::AnyPrivileged,
            ConfigError::SyslogFile,
            ConfigError::SyslogBroker,
            ConfigError::NoBroker { output: String::new() },
            ConfigError::NoHostName { reason: String::new() },
            ConfigError::OnceFromEnd,
            ConfigError::CarriageReturn { rule: "split", format: "raw" },
            ConfigError::JsonOnly { key: "end", format: "raw" },
            ConfigError::JobUid,
        ] {
            Key::named(error.key());
        }
    }
}
