//! Environment variables `MANYTAIL_<KEY>`: what they say of the settings.
//!
//! In: the variables of the process. Out: values by key, and a warning for each name that begins
//! like ours and is none of them. That is no refusal: where services are linked to each other,
//! variables come by names alone (`MANYTAIL_PORT`).
//! Always holds: an empty value is refused. It is an unset variable in a script, most likely.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;

use super::{Given, Key, Kind, SettingError, Source, Values, similar};

/// What the names of all variables begin with.
pub(crate) const PREFIX: &str = "MANYTAIL_";

/// Reads the variables. Gives what they say, and the warnings.
pub(crate) fn read(
    variables: &[(OsString, OsString)],
    keys: &[Key],
) -> Result<(Values, Vec<String>), SettingError> {
    let mut ours: Vec<_> = variables
        .iter()
        .filter(|(name, _)| name.as_bytes().starts_with(PREFIX.as_bytes()))
        .collect();
    ours.sort();
    let (mut values, mut warnings) = (Values::new(), Vec::new());
    for (name, value) in ours {
        let name = name.to_string_lossy();
        match keys.iter().find(|key| key.variable() == name) {
            Some(key) => {
                values.insert(
                    key.name.clone(),
                    given(key, value, &Source::Variable(Rc::from(&*name)))?,
                );
            }
            None => warnings.push(unknown(&name, keys)),
        }
    }
    Ok((values, warnings))
}

fn unknown(name: &str, keys: &[Key]) -> String {
    let bare = name[PREFIX.len()..].to_ascii_lowercase();
    let meant = similar(&bare, keys.iter().map(|key| key.name.as_str()));
    let meant = keys
        .iter()
        .find(|key| meant == Some(&key.name))
        .map(|key| format!("; did you mean {}?", key.variable()));
    format!(
        "the environment variable {name} is no setting and changes nothing{}",
        meant.unwrap_or_default()
    )
}

fn given(key: &Key, value: &OsString, source: &Source) -> Result<Given, SettingError> {
    let refuse = |reason: &str| SettingError::Value {
        at: source.clone(),
        key: key.name.clone(),
        reason: reason.to_owned(),
    };
    if value.is_empty() {
        return Err(refuse("is empty: unset it, or say a value"));
    }
    match key.kind {
        Kind::Switch | Kind::Boolean if value != "true" && value != "false" => {
            Err(refuse("expected true or false"))
        }
        Kind::List => {
            Ok(Given::new(split(value.as_bytes()).into_iter().map(OsString::from_vec), source))
        }
        _ => Ok(Given::new([value.clone()], source)),
    }
}

/// Lists are separated by `:`, as in `$PATH`; `\:` is a colon of a value. Other backslashes are
/// left to the globs.
fn split(value: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    for &byte in value {
        let part = parts.last_mut().expect("there is one from the start");
        match byte {
            b':' if part.last() == Some(&b'\\') => *part.last_mut().expect("just seen") = b':',
            b':' => parts.push(Vec::new()),
            _ => part.push(byte),
        }
    }
    parts
}
