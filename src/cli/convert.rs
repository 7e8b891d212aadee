//! The settings that count -> [`Config`]: what one setting alone cannot tell.
//!
//! In: layers of values, each well-formed by itself. Out: a [`Config`], which nothing has to check
//! again, or everything that does not fit.
//! Always holds: every refusal names the setting; zero never reaches the engine where it means
//! "never" or "off".

mod brokers;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use brokers::Surrounding;

use crate::config::{
    Build, CarriageReturn, Config, ConfigError, EndRules, EngineConfig, Filters, Format, Host,
    InputConfig, JobPattern, JobRules, LINE_BYTES_LIMIT, Output, RecordRule, RecordRules,
    SOCKET_PATH_BYTES_MAX, StartAt, Symlinks, UID, name_of,
};
use crate::patterns::{PatternError, Patterns};
use crate::settings::{InputTable, Key, Layers, View};
use crate::sys::host;

/// A [`ConfigError`], and the input that it is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Its number, counted from 0; 0 also if it is about none.
    pub(crate) input: usize,
    /// What is wrong.
    pub(crate) error: ConfigError,
}

impl From<ConfigError> for Misfit {
    fn from(error: ConfigError) -> Misfit {
        Misfit { input: 0, error }
    }
}

/// Settings of a run of this build, and of its inputs: at least one. Else all that does not fit.
pub(super) fn config(
    layers: &Layers,
    inputs: &[Option<&InputTable>],
    build: Build,
) -> Result<Config, Vec<Misfit>> {
    let run = layers.view(None);
    let (format, output) = (run.value(Key::Format), run.value(Key::Output));
    let once = run.value(Key::Once);
    let mut misfits = Vec::new();
    let mut configs = Vec::new();
    for (number, &input) in inputs.iter().enumerate() {
        let labels = layers.labels(input).into_iter().map(|label| (label.name, label.value));
        match input_config(layers.view(input), labels.collect(), format, once) {
            Ok(config) => configs.push(config),
            Err(error) => misfits.push(Misfit { input: number, error }),
        }
    }
    let follow_links = noted(run.value::<Symlinks>(Key::FollowSymlinks).rule(), &mut misfits);
    let line_bytes_max = checked_line_bytes_max(run.value(Key::MaxLineBytes));
    let line_bytes_max = noted(line_bytes_max, &mut misfits);
    let control_socket = checked_socket_path(run.optional(Key::ControlSocket));
    let control_socket = noted(control_socket, &mut misfits);
    let host = noted(checked_host(run.value(Key::Host), format), &mut misfits).flatten();
    misfits.extend(format_misfit(format, &output).map(Misfit::from));
    let state_dir: Option<PathBuf> = run.optional(Key::StateDir);
    let commit_interval = run.value(Key::CommitInterval);
    let routes = noted(brokers::routes(run, &output, host.as_deref()), &mut misfits).flatten();
    let (kafka, nats) = (brokers::kafka(run), brokers::nats(run));
    let around = Surrounding { run, build, commit_interval, is_kept: state_dir.is_some() };
    let of_broker = brokers::misfits(&output, &kafka, &nats, routes.as_ref(), &around);
    misfits.extend(of_broker.into_iter().map(Misfit::from));
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let engine = EngineConfig {
        inputs: configs,
        recursive: run.value(Key::Recursive),
        follow_links: follow_links.flatten(),
        same_owner: run.value(Key::SameOwner),
        format,
        host,
        routes,
        once,
        coalesce: run.value(Key::Coalesce),
        line_bytes_max: line_bytes_max.expect("there is no misfit"),
        partial_after: unless_zero(run.value(Key::PartialAfter)),
        rescan: unless_zero(run.value(Key::Rescan)),
        rescan_remote: unless_zero(run.value(Key::RescanRemote)),
        ignore_older: run.optional(Key::IgnoreOlder).and_then(unless_zero),
    };
    Ok(Config {
        engine,
        output,
        kafka,
        nats,
        pace: run.value(Key::Pace),
        adaptive: run.value(Key::Adaptive),
        sched_batch: run.value(Key::SchedBatch),
        keep_open: run.value(Key::KeepOpen),
        shutdown_timeout: run.value(Key::ShutdownTimeout),
        state_dir,
        commit_interval,
        metrics: run.list(Key::Metrics),
        control_socket: control_socket.flatten(),
    })
}

/// What fits; what does not is noted.
fn noted<T>(checked: Result<T, ConfigError>, misfits: &mut Vec<Misfit>) -> Option<T> {
    checked.map_err(|error| misfits.push(error.into())).ok()
}

/// A format that the output cannot have.
fn format_misfit(format: Format, output: &Output) -> Option<ConfigError> {
    match output {
        Output::File(_) if format == Format::Syslog => Some(ConfigError::SyslogFile),
        Output::Kafka(_) | Output::Nats(_) if format == Format::Syslog => {
            Some(ConfigError::SyslogBroker)
        }
        _ => None,
    }
}

fn checked_host(host: Host, format: Format) -> Result<Option<String>, ConfigError> {
    match host {
        // Each message has a place for it.
        Host::Off if format == Format::Syslog => Ok(host::name().ok()),
        Host::Off => Ok(None),
        Host::Named(name) => Ok(Some(name)),
        Host::Own => host::name()
            .map(Some)
            .map_err(|error| ConfigError::NoHostName { reason: error.to_string() }),
    }
}

fn checked_job(pattern: Option<JobPattern>, uid: bool) -> Result<JobRules, ConfigError> {
    if uid && pattern.iter().flat_map(JobPattern::names).any(|name| name == UID) {
        return Err(ConfigError::JobUid);
    }
    Ok(JobRules { pattern, uid })
}

/// Without json or syslog, nobody could put the bytes together again.
fn checked_carriage_return(
    rule: CarriageReturn,
    format: Format,
) -> Result<CarriageReturn, ConfigError> {
    match (rule, format) {
        (CarriageReturn::Split | CarriageReturn::Latest, Format::Raw | Format::Text) => {
            Err(ConfigError::CarriageReturn {
                rule: name_of(&CarriageReturn::NAMES, &rule),
                format: name_of(&Format::NAMES, &format),
            })
        }
        _ => Ok(rule),
    }
}

/// Only json has a place for what is no line.
fn checked_ends(input: View<'_>, format: Format) -> Result<EndRules, ConfigError> {
    let duration = |key: Key| input.optional::<Duration>(key).and_then(unless_zero);
    let rules = EndRules { closed: duration(Key::End), idle: duration(Key::EndIdle) };
    if rules.are_any() {
        json_only(if rules.closed.is_some() { Key::End } else { Key::EndIdle }, format)?;
    }
    Ok(rules)
}

fn json_only(key: Key, format: Format) -> Result<(), ConfigError> {
    if format == Format::Json {
        return Ok(());
    }
    let format = name_of(&Format::NAMES, &format);
    Err(ConfigError::JsonOnly { key: key.name(), format })
}

/// Elsewhere a record is a line. A rule for records takes the place of the rule of a preset for
/// carriage returns; somebody who says both means something else.
fn checked_records(
    input: View<'_>,
    format: Format,
    carriage_return: &mut CarriageReturn,
) -> Result<Option<RecordRules>, ConfigError> {
    let Some(rule) = input.optional::<RecordRule>(Key::Record) else { return Ok(None) };
    json_only(Key::Record, format)?;
    if *carriage_return != CarriageReturn::Data && !input.is_of_preset(Key::CarriageReturn) {
        let rule = name_of(&CarriageReturn::NAMES, carriage_return);
        return Err(ConfigError::RecordOfSegments { rule });
    }
    *carriage_return = CarriageReturn::Data;
    Ok(Some(RecordRules { rule, after: unless_zero(input.value(Key::RecordAfter)) }))
}

/// Records of other formats do not tell their offsets: what is left out could not be told from what
/// is still to come.
fn checked_filters(input: View<'_>, format: Format) -> Result<Filters, ConfigError> {
    let (keep, drop) = (input.list(Key::Keep), input.list(Key::Drop));
    for (key, patterns) in [(Key::Keep, &keep), (Key::Drop, &drop)] {
        if !patterns.is_empty() {
            json_only(key, format)?;
        }
    }
    Filters::new(&keep, &drop).map_err(|key| ConfigError::Patterns { key })
}

fn checked_socket_path(path: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    match path {
        Some(path) if !(1..=SOCKET_PATH_BYTES_MAX).contains(&path.as_os_str().len()) => {
            Err(ConfigError::ControlSocket)
        }
        path => Ok(path),
    }
}

fn input_config(
    input: View<'_>,
    labels: Vec<(String, String)>,
    format: Format,
    is_once: bool,
) -> Result<InputConfig, ConfigError> {
    let paths: Vec<OsString> = input.list(Key::Paths);
    let (include, exclude) = (input.list(Key::Include), input.list(Key::Exclude));
    let from = input.value(Key::From);
    if paths.is_empty() {
        return Err(ConfigError::NoPath);
    }
    if paths.iter().any(|path| path.is_empty()) {
        return Err(ConfigError::EmptyPath);
    }
    if is_once && from == StartAt::End {
        return Err(ConfigError::OnceFromEnd);
    }
    let job = checked_job(input.optional(Key::Job), input.value(Key::Uid))?;
    let mut carriage_return = checked_carriage_return(input.value(Key::CarriageReturn), format)?;
    let multiline = checked_records(input, format, &mut carriage_return)?;
    let filters = checked_filters(input, format)?;
    let ends = checked_ends(input, format)?;
    for (key, globs) in [("include", &include), ("exclude", &exclude)] {
        let begins =
            globs.iter().find_map(|glob: &String| Some((glob, below_a_path(glob, &paths)?)));
        if let Some((glob, below)) = begins {
            // Without a slash it would match at any depth.
            let below = if below.contains('/') { below.to_owned() } else { format!("/{below}") };
            let reason = format!(
                "a glob is matched to the path below PATH, and this one begins with PATH: write \
                `{below}`"
            );
            return Err(PatternError { key, glob: glob.clone(), reason }.into());
        }
    }
    Ok(InputConfig {
        patterns: patterns(input)?,
        paths: paths.into_iter().map(OsString::into_vec).collect(),
        from,
        binary: input.value(Key::Binary),
        carriage_return,
        multiline,
        filters,
        ends,
        job,
        labels,
    })
}

/// The globs of an input.
pub(super) fn patterns(input: View<'_>) -> Result<Patterns, PatternError> {
    let (include, exclude) = (input.list(Key::Include), input.list(Key::Exclude));
    Patterns::new(&include, &exclude, !input.value::<bool>(Key::NoDefaultExcludes))
}

/// What remains of a glob that begins with one of the PATHs.
fn below_a_path<'a>(glob: &'a str, paths: &[OsString]) -> Option<&'a str> {
    let absolute = paths
        .iter()
        .filter_map(|path| std::path::absolute(path).ok())
        .filter_map(|path| path.into_os_string().into_string().ok());
    absolute.into_iter().find_map(|path| {
        let below = glob
            .strip_prefix(path.trim_end_matches('/'))?
            .strip_prefix('/')
            .filter(|_| path != "/")?;
        Some(if below.trim_matches('/').is_empty() { "**" } else { below })
    })
}

fn checked_line_bytes_max(bytes: u64) -> Result<usize, ConfigError> {
    match usize::try_from(bytes) {
        Ok(len) if (1..=LINE_BYTES_LIMIT).contains(&bytes) => Ok(len),
        _ => Err(ConfigError::LineBytesMax { bytes }),
    }
}

fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
