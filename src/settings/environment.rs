//! Environment variables `MANYTAIL_<KEY>`: what they say of the settings.
//!
//! In: the variables of the process. Out: values by key, and a warning for each name that begins
//! like ours and is none of them. That is no refusal: where services are linked to each other,
//! variables come by names alone (`MANYTAIL_PORT`).
//! Always holds: an empty value is refused. It is an unset variable in a script, most likely.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;

use super::{Form, Given, Row, SettingError, Source, TABLE, Values, similar};

/// What the names of all variables begin with.
pub(crate) const PREFIX: &str = "MANYTAIL_";

/// Reads the variables. Gives what they say, and the warnings.
pub(crate) fn read(
    variables: &[(OsString, OsString)],
) -> Result<(Values, Vec<String>), SettingError> {
    let mut ours: Vec<_> = variables
        .iter()
        .filter(|(name, _)| name.as_bytes().starts_with(PREFIX.as_bytes()))
        .collect();
    ours.sort();
    let (mut values, mut warnings) = (Values::new(), Vec::new());
    for (name, value) in ours {
        let name = name.to_string_lossy();
        match TABLE.iter().find(|row| row.variable() == name) {
            Some(row) => {
                values.insert(row.key, given(row, value, &Source::Variable(Rc::from(&*name)))?);
            }
            None => warnings.push(unknown(&name)),
        }
    }
    Ok((values, warnings))
}

fn unknown(name: &str) -> String {
    let bare = name[PREFIX.len()..].to_ascii_lowercase();
    let meant = similar(&bare, TABLE.iter().map(|row| row.name));
    let meant = TABLE
        .iter()
        .find(|row| meant == Some(row.name))
        .map(|row| format!("; did you mean {}?", row.variable()));
    format!(
        "the environment variable {name} is no setting and changes nothing{}",
        meant.unwrap_or_default()
    )
}

fn given(row: &Row, value: &OsString, source: &Source) -> Result<Given, SettingError> {
    let refuse = |reason: &str| SettingError::Value {
        at: source.clone(),
        key: row.name.to_owned(),
        reason: reason.to_owned(),
    };
    if value.is_empty() {
        return Err(refuse("is empty: unset it, or say a value"));
    }
    match row.kind.form() {
        Form::Boolean if value != "true" && value != "false" => {
            Err(refuse("expected true or false"))
        }
        Form::List => {
            let texts = split(value.as_bytes()).into_iter().map(OsString::from_vec);
            Ok(Given::new(row.key, texts, source))
        }
        _ => Ok(Given::new(row.key, [value.clone()], source)),
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
