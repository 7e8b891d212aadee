//! The options of `run` -> [`Config`]: what one option alone cannot tell.
//!
//! In: options, each well-formed by itself. Out: a [`Config`], which nothing has to check again, or
//! everything that does not fit.
//! Always holds: every refusal names the setting; zero never reaches the engine where it means
//! "never" or "off".

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use super::{InputOptions, RunOptions};
use crate::config::{
    Config, ConfigError, EngineConfig, Format, Host, InputConfig, LINE_BYTES_LIMIT, Output,
    SOCKET_PATH_BYTES_MAX, StartAt,
};
use crate::patterns::{PatternError, Patterns};
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

/// Settings of a run, and of its inputs with their labels: at least one. Else all that does not
/// fit.
pub(super) fn config(
    options: RunOptions,
    inputs: Vec<(InputOptions, Vec<(String, String)>)>,
) -> Result<Config, Vec<Misfit>> {
    let mut misfits = Vec::new();
    let mut configs = Vec::new();
    for (number, (input, labels)) in inputs.into_iter().enumerate() {
        match input_config(input, labels, options.once) {
            Ok(config) => configs.push(config),
            Err(error) => misfits.push(Misfit { input: number, error }),
        }
    }
    let follow_links = noted(options.follow_symlinks.rule(), &mut misfits);
    let line_bytes_max = noted(checked_line_bytes_max(options.max_line_bytes), &mut misfits);
    let control_socket = noted(checked_socket_path(options.control_socket), &mut misfits);
    let host = noted(checked_host(options.host, options.format), &mut misfits);
    if options.format == Format::Syslog && matches!(options.output, Output::File(_)) {
        misfits.push(ConfigError::SyslogFile.into());
    }
    if options.state_dir.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
        misfits.push(ConfigError::EmptyStateDir.into());
    }
    if !misfits.is_empty() {
        return Err(misfits);
    }
    let engine = EngineConfig {
        inputs: configs,
        recursive: options.recursive,
        follow_links: follow_links.flatten(),
        same_owner: options.same_owner,
        format: options.format,
        host: host.flatten(),
        once: options.once,
        coalesce: options.coalesce,
        line_bytes_max: line_bytes_max.expect("there is no misfit"),
        partial_after: unless_zero(options.partial_after),
        rescan: unless_zero(options.rescan),
        rescan_remote: unless_zero(options.rescan_remote),
        ignore_older: options.ignore_older.and_then(unless_zero),
    };
    Ok(Config {
        engine,
        output: options.output,
        pace: options.pace,
        adaptive: options.adaptive,
        sched_batch: options.sched_batch,
        keep_open: options.keep_open,
        shutdown_timeout: options.shutdown_timeout,
        state_dir: options.state_dir,
        commit_interval: options.commit_interval,
        metrics: options.metrics,
        control_socket: control_socket.flatten(),
    })
}

/// What fits; what does not is noted.
fn noted<T>(checked: Result<T, ConfigError>, misfits: &mut Vec<Misfit>) -> Option<T> {
    checked.map_err(|error| misfits.push(error.into())).ok()
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

fn checked_socket_path(path: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    match path {
        Some(path) if !(1..=SOCKET_PATH_BYTES_MAX).contains(&path.as_os_str().len()) => {
            Err(ConfigError::ControlSocket)
        }
        path => Ok(path),
    }
}

fn input_config(
    options: InputOptions,
    labels: Vec<(String, String)>,
    is_once: bool,
) -> Result<InputConfig, ConfigError> {
    if options.paths.is_empty() {
        return Err(ConfigError::NoPath);
    }
    if options.paths.iter().any(|path| path.is_empty()) {
        return Err(ConfigError::EmptyPath);
    }
    if is_once && options.from == StartAt::End {
        return Err(ConfigError::OnceFromEnd);
    }
    for (key, globs) in [("include", &options.include), ("exclude", &options.exclude)] {
        let begins =
            globs.iter().find_map(|glob| Some((glob, below_a_path(glob, &options.paths)?)));
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
        patterns: Patterns::new(&options.include, &options.exclude, !options.no_default_excludes)?,
        paths: options.paths.into_iter().map(OsString::into_vec).collect(),
        from: options.from,
        binary: options.binary,
        labels,
    })
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
