//! `check --path`: which input follows a path, and what its records tell beside the line.
//!
//! In: the inputs of the settings, and a path as text. Out: the input, its labels and the fields of
//! the job; or why nothing follows the path.
//! Always holds: no file system call is made: a path need not exist.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::{EngineConfig, InputConfig, file_name};
use crate::patterns::Refused;
use crate::record::printable;
use crate::status::file::shown;
use crate::tools::style::Style;

/// A field of a job: its name and its value.
type Field = (String, String);

/// The input that follows a path.
struct Follower<'a> {
    /// From 1 on.
    number: usize,
    /// Where it is set.
    source: &'a str,
    input: &'a InputConfig,
    /// The fields of the job; `None`: the pattern does not match.
    fields: Option<Vec<Field>>,
}

/// Writes what becomes of each path. `sources`: where each input is set. Returns whether all are
/// followed.
///
/// # Errors
/// Those of the writer.
pub(crate) fn write(
    config: &EngineConfig,
    sources: &[String],
    paths: &[PathBuf],
    style: Style,
    out: &mut impl Write,
) -> io::Result<bool> {
    let mut are_all_followed = true;
    for path in paths {
        let path = bytes(path);
        let follower = follower(config, sources, &path);
        are_all_followed &= follower.is_ok();
        match style {
            Style::Text => write_text(&path, &follower, out)?,
            Style::Json => write_json(&path, &follower, out)?,
        }
    }
    out.flush()?;
    Ok(are_all_followed)
}

fn bytes(path: &Path) -> Vec<u8> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.as_os_str().as_bytes().to_vec()
}

/// The part of a path below a PATH; empty: it is the PATH itself.
fn below<'a>(path: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    let above = bytes(Path::new(std::ffi::OsStr::from_bytes(above)));
    let above = above.strip_suffix(b"/").unwrap_or(&above);
    let rest = path.strip_prefix(above)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// The input that follows a path, or why none does.
fn follower<'a>(
    config: &'a EngineConfig,
    sources: &'a [String],
    path: &[u8],
) -> Result<Follower<'a>, String> {
    let mut candidates: Vec<(usize, &[u8])> = Vec::new();
    for (at, input) in config.inputs.iter().enumerate() {
        candidates.extend(input.paths.iter().filter_map(|above| Some((at, below(path, above)?))));
    }
    // The innermost PATH first; of the same PATH, the first input.
    candidates.sort_by_key(|&(at, below)| (below.len(), at));
    let mut why = None;
    for (at, below) in candidates {
        let (number, input) = (at + 1, &config.inputs[at]);
        match refusal(config, input, path, below) {
            None => {
                let fields = fields(input, path, below);
                return Ok(Follower { number, source: &sources[at], input, fields });
            }
            Some(reason) => _ = why.get_or_insert_with(|| format!("input {number}: {reason}")),
        }
    }
    Err(why.unwrap_or_else(|| "it is below no PATH".to_owned()))
}

/// Why an input does not follow a file below its PATH, if it does not.
fn refusal(
    config: &EngineConfig,
    input: &InputConfig,
    path: &[u8],
    below: &[u8],
) -> Option<String> {
    let in_words = |refused: Refused<'_>, what: &[u8]| match refused {
        Refused::Excluded(glob) => format!("`exclude` leaves out {}: {glob}", shown(what)),
        Refused::NotIncluded => format!("no glob of `include` matches {}", shown(what)),
    };
    for slash in memchr::memchr_iter(b'/', below) {
        let directory = &below[..slash];
        if !config.recursive {
            return Some(format!("{} is a sub-directory (recursive = false)", shown(directory)));
        }
        if let Some(refused) = input.patterns.refusal_of_directory(file_name(directory), directory)
        {
            return Some(in_words(refused, directory));
        }
    }
    let name = file_name(path);
    let below = if below.is_empty() { name } else { below };
    input.patterns.refusal_of_file(name, below).map(|refused| in_words(refused, below))
}

/// The fields of the job; `None`: the pattern does not match.
fn fields(input: &InputConfig, path: &[u8], below: &[u8]) -> Option<Vec<Field>> {
    let Some(pattern) = &input.job.pattern else { return Some(Vec::new()) };
    let name = file_name(path);
    pattern.all_fields(pattern.text_of(name, if below.is_empty() { name } else { below }))
}

/// As `name=value`, without control characters.
fn as_words(pairs: &[(String, String)]) -> impl Iterator<Item = String> {
    pairs.iter().map(|(name, value)| printable(&format!("{name}={value}")))
}

fn write_text(
    path: &[u8],
    follower: &Result<Follower<'_>, String>,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "{}", shown(path))?;
    let Follower { number, source, input, fields } = match follower {
        Ok(follower) => follower,
        Err(why) => return writeln!(out, "  not followed: {}", printable(why)),
    };
    writeln!(out, "  {:<7} {number} ({source})", "input")?;
    let labels: Vec<String> = as_words(&input.labels).collect();
    if !labels.is_empty() {
        writeln!(out, "  {:<7} {}", "labels", labels.join(" "))?;
    }
    if input.job.is_empty() {
        return Ok(());
    }
    let mut words: Vec<String> = Vec::new();
    match (fields, &input.job.pattern) {
        (None, Some(pattern)) => {
            words.push(printable(&format!("`{}` does not match", pattern.text())));
        }
        (fields, _) => words.extend(fields.iter().flat_map(|fields| as_words(fields))),
    }
    if input.job.uid {
        words.push("uid=(the file's owner)".to_owned());
    }
    writeln!(out, "  {:<7} {}", "job", words.join(" "))
}

fn write_json(
    path: &[u8],
    follower: &Result<Follower<'_>, String>,
    out: &mut impl Write,
) -> io::Result<()> {
    let object = |pairs: &[(String, String)]| {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        Value::Object(pairs.collect())
    };
    let mut answer = Map::new();
    answer.insert("path".to_owned(), String::from_utf8_lossy(path).into());
    match follower {
        Err(why) => {
            answer.insert("input".to_owned(), Value::Null);
            answer.insert("why".to_owned(), why.as_str().into());
        }
        Ok(Follower { number, source, input, fields }) => {
            answer.insert("input".to_owned(), (*number).into());
            answer.insert("source".to_owned(), (*source).into());
            answer.insert("labels".to_owned(), object(&input.labels));
            if input.job.pattern.is_some() {
                let fields = fields.as_deref().map_or(Value::Null, object);
                answer.insert("job".to_owned(), fields);
            }
            answer.insert("uid".to_owned(), input.job.uid.into());
        }
    }
    serde_json::to_writer(&mut *out, &answer)?;
    out.write_all(b"\n")
}
