//! What `doctor` and `jobs` walk through: the trees of a run, by its settings or by options.
//!
//! In: the settings of a run, or the options that a settings file says instead. Out: [`Trees`].

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::convert::patterns;
use super::{Refusal, refuse};
use crate::config::{ConfigError, EngineConfig, Symlinks};
use crate::settings::{Key, View};
use crate::tools::walk::{Input, Trees};

/// As a run with these settings would follow them; takes the inputs out of them.
pub(super) fn of_settings(engine: &mut EngineConfig) -> Trees {
    let inputs = std::mem::take(&mut engine.inputs).into_iter().map(|input| Input {
        paths: input.paths,
        patterns: input.patterns,
        job: input.job.pattern,
        record: input.multiline.map(|rules| rules.rule),
    });
    Trees {
        inputs: inputs.collect(),
        recursive: engine.recursive,
        follow_links: engine.follow_links,
        same_owner: engine.same_owner,
    }
}

/// As the options of a command say.
pub(super) fn of_options(command: &str, run: View<'_>) -> Result<Trees, Refusal> {
    let paths: Vec<OsString> = run.list(Key::Paths);
    if paths.iter().any(|path| path.is_empty()) {
        return Err(refuse(command, "PATH", &ConfigError::EmptyPath.to_string()));
    }
    let patterns = patterns(run).map_err(|error| refuse(command, error.key, &error.to_string()))?;
    let input = Input {
        paths: paths.into_iter().map(OsString::into_vec).collect(),
        patterns,
        job: run.optional(Key::Job),
        record: None,
    };
    Ok(Trees {
        inputs: vec![input],
        recursive: run.value(Key::Recursive),
        follow_links: run
            .value::<Symlinks>(Key::FollowSymlinks)
            .rule()
            .map_err(|error| refuse(command, error.key(), &error.to_string()))?,
        same_owner: run.value(Key::SameOwner),
    })
}
