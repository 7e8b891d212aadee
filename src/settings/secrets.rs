//! Secrets, which settings name the files of, and what people write instead.
//!
//! In: names of keys, and values that are refused. Out: whether a name sounds like that of a
//! secret; a value as it may be shown; where the file of a secret is.
//! Always holds: nothing here opens such a file.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::references::Variables;

/// Where the service manager puts the credentials of a service (`LoadCredential=`,
/// systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// What the names of secrets have in them.
const WORDS: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "token", "seed", "jwt", "nkey", "credential"];

/// Whether a name, or a line with it, sounds like that of a secret.
pub(super) fn sounds_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}

/// An address without what is in front of its host: `nats://user:password@host:4222`.
pub(crate) fn without_user(text: &OsStr) -> Cow<'_, str> {
    let text = text.to_string_lossy();
    match text.rfind('@') {
        Some(at) => Cow::Owned(format!("...{}", &text[at..])),
        None => text,
    }
}

/// The path of a file that a settings file names: a relative one leads from the directory of the
/// service manager's credentials if the file is there, else from that of the settings file.
pub(super) fn path(name: &str, settings_file: &Path, variables: Variables<'_>) -> OsString {
    let credential = variables
        .get(CREDENTIALS_DIRECTORY)
        .map(|directory| Path::new(directory).join(name))
        .filter(|path| path.exists());
    let path = credential.unwrap_or_else(|| beside(name, settings_file));
    std::path::absolute(&path).unwrap_or(path).into_os_string()
}

fn beside(name: &str, file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}
