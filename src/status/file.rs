//! What is known of one file, as `manytail status FILE` tells it.
//!
//! In: nothing; [`crate::engine::Engine::explain`] fills it in. Out: [`FileStatus`], as JSON
//! between the daemon and whoever asks.
//! Always holds: every answer has a state, and a sentence that says why in words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

pub use crate::record::shown;

/// A path in JSON, as in records: text, and also the bytes if they are not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathText {
    /// With U+FFFD for what is not UTF-8.
    pub path: String,
    /// All of its bytes in base64, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
}

impl PathText {
    /// Of the path's bytes.
    #[must_use]
    pub fn new(path: &[u8]) -> PathText {
        let path_bytes = str::from_utf8(path).is_err().then(|| STANDARD.encode(path));
        PathText { path: String::from_utf8_lossy(path).into_owned(), path_bytes }
    }

    /// For people, escaped as in `text` records: it contains nothing that a terminal obeys.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.path_bytes.as_ref().and_then(|encoded| STANDARD.decode(encoded).ok()) {
            Some(bytes) => shown(&bytes),
            None => shown(self.path.as_bytes()),
        }
    }
}

/// The state of a file. Those of the first group are as they should be, those of the second wait
/// for something, those of the third are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Nothing is unread.
    ReadToEnd,
    /// All is read but a last line that has no newline yet.
    Unfinished,
    /// Has unread bytes, and its turn comes.
    Queued,
    /// Has unread bytes, and was read a moment ago (`--coalesce`).
    CoolingDown,
    /// What its name stands for is looked at with the next turn.
    BeingLookedAt,
    /// Without a name in the tree, but held open until it is read to its end.
    Finishing,

    /// The output takes nothing.
    OutputBlocked,
    /// The file that had its name before is read first.
    WaitsForPredecessor,
    /// Files that a listing brings up are read in order, once it is through.
    WaitsForListing,
    /// Its first record waits until its `file` number is stored in the state directory.
    WaitsForStore,
    /// Something failed, and is tried again.
    Retried,
    /// Longer than was noticed: no event told of it.
    NotNoticed,
    /// Written before the offset, without truncation: what was written is not read yet.
    WrittenBefore,
    /// In the tree, but no event told of it.
    NotSeen,
    /// A stop was asked for: nothing more is read.
    Stopping,

    /// No PATH covers it.
    NotCovered,
    /// Below a sub-directory, and those are not followed (`--recursive false`).
    NotRecursive,
    /// A glob of `--exclude` matches its name.
    Excluded,
    /// A glob of `--exclude` matches a directory above it.
    ExcludedDirectory,
    /// No glob of `--include` matches.
    NotIncluded,
    /// A FIFO, a socket or a device.
    NotRegular,
    /// A directory.
    Directory,
    /// It, or a directory above it, is a symbolic link, and those, or those of its owner to what
    /// others own, are not followed.
    LinkNotFollowed,
    /// Another user owns it than the directory below PATH through which it is reached
    /// (`--same-owner`).
    OtherOwner,
    /// It, or a directory above it, is in a mount that a user other than root made.
    UserMount,
    /// Its first block is binary, and such files are left out.
    Binary,
    /// It cannot be opened or looked at.
    Unreadable,
    /// The directory it is in cannot be listed.
    UnreadableDirectory,
    /// Our own output or diagnostics.
    OwnOutput,
    /// In our own state directory.
    StateDirectory,
    /// Left the tree; remembered for some minutes.
    LeftTree,
    /// Deleted a moment ago, after it was read to its end.
    Deleted,
    /// Deleted a moment ago, perhaps before it was read to its end.
    DeletedUnread,
    /// There is no such file.
    Missing,
}

impl FileState {
    /// Read, or about to be: nothing is in the way.
    #[must_use]
    pub fn is_well(self) -> bool {
        use FileState::{
            BeingLookedAt, CoolingDown, Deleted, Finishing, Queued, ReadToEnd, Unfinished,
        };
        matches!(
            self,
            ReadToEnd | Unfinished | Queued | CoolingDown | BeingLookedAt | Finishing | Deleted
        )
    }
}

/// What `status --list` is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Files and directories that cannot be read.
    Unreadable,
    /// Files that are not read because the output takes nothing.
    Blocked,
    /// Directories that are listed every second.
    Polled,
    /// Files and directories that are left out.
    Excluded,
    /// The last files of which something was lost.
    Lost,
}

impl ListKind {
    /// Every value with its name.
    pub const NAMES: [(&'static str, ListKind); 5] = [
        ("unreadable", ListKind::Unreadable),
        ("blocked", ListKind::Blocked),
        ("polled", ListKind::Polled),
        ("excluded", ListKind::Excluded),
        ("lost", ListKind::Lost),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).expect("each has one").0
    }
}

/// A file or directory in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// As records show it.
    #[serde(flatten)]
    pub path: PathText,
    /// Why it is in the list.
    pub why: String,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPage {
    /// May be empty though more is to come.
    pub entries: Vec<Listed>,
    /// Where the next part begins; `None`: this was the last one.
    pub next: Option<u64>,
    /// Entries that are not remembered any more.
    pub forgotten: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// As records show it, if the file is known; else as it was asked for.
    #[serde(flatten)]
    pub path: PathText,
    /// As it was asked for, if that is another spelling or a further name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<PathText>,
    /// Where it stands.
    pub state: FileState,
    /// The same in words, with what and since when.
    pub why: String,
    /// `file` of json records, once the file is identified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Bytes from the start of the file up to the first that was not yet encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Length in bytes, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes behind the offset: lines to be read, and an unfinished last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_bytes: Option<u64>,
    /// Of those, the last line that has no newline yet, as far as it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished_bytes: Option<u64>,
    /// When the file was modified last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// When it was read to its end last, RFC 3339; kept only with a state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_to_end: Option<String>,
    /// What was there when it was first seen was skipped (`--from end`, `--ignore-older`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started_at_end: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_path_holds_nothing_that_a_terminal_obeys() {
        assert_eq!(shown(b"d/a\x1b[31m\xff\\.log"), r"d/a\x1b[31m\xff\x5c.log");
        assert_eq!(shown("a\u{9b}b\u{e9}".as_bytes()), "a\\xc2\\x9bb\u{e9}");
    }

    #[test]
    fn a_path_that_is_not_utf8_comes_back_from_json_byte_for_byte() {
        let path = PathText::new(b"a\xff\x01");
        let back: PathText = serde_json::from_str(&serde_json::to_string(&path).unwrap()).unwrap();
        assert_eq!(back.shown(), r"a\xff\x01");
        assert_eq!(PathText::new(b"plain").path_bytes, None);
    }
}
