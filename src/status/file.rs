//! The status of one file, as `manytail status FILE` shows it.
//!
//! In: nothing; [`crate::engine::Engine::explain`] fills it in. Out: [`FileStatus`], sent as JSON
//! from the daemon to its clients.
//! Always holds: every answer has a state, and words that explain it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

pub(crate) use crate::record::shown;

/// A path in JSON, as in records: text, and also the bytes if they are not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathText {
    /// The path as text, with U+FFFD for bytes that are not UTF-8.
    pub path: String,
    /// All of its bytes in base64, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
}

impl PathText {
    /// Makes it from the bytes of a path.
    #[must_use]
    pub fn new(path: &[u8]) -> PathText {
        let path_bytes = str::from_utf8(path).is_err().then(|| STANDARD.encode(path));
        PathText { path: String::from_utf8_lossy(path).into_owned(), path_bytes }
    }

    /// The path for people, escaped as in `text` records: nothing in it controls a terminal.
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
    /// Everything is read except a last line that has no newline yet.
    Unfinished,
    /// Has unread bytes, and its turn comes.
    Queued,
    /// Has unread bytes, and was read a moment ago (`--coalesce`).
    CoolingDown,
    /// The next turn resolves its name.
    BeingLookedAt,
    /// It has no name in the tree any more, but is held open until it is read to its end.
    Finishing,

    /// The output takes nothing.
    OutputBlocked,
    /// The previous file of its name is read first.
    WaitsForPredecessor,
    /// Files that a listing found are read in order once the listing is complete.
    WaitsForListing,
    /// Its first record waits until its `file` number is stored in the state directory.
    WaitsForStore,
    /// Something failed, and is going to be tried again.
    Retried,
    /// It is longer than known: no event reported the growth.
    NotNoticed,
    /// It was written before the offset without a truncation: these bytes are not read yet.
    WrittenBefore,
    /// It is in the tree, but no event reported it.
    NotSeen,
    /// The run is stopping: nothing more is read.
    Stopping,

    /// No PATH covers it.
    NotCovered,
    /// It is in a sub-directory, and those are not followed (`--recursive false`).
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
    /// It, or a directory above it, is a symbolic link that is not followed: no link is, or none
    /// that leads to another owner's file.
    LinkNotFollowed,
    /// Its owner is not that of the first component below PATH (`--same-owner`).
    OtherOwner,
    /// It, or a directory above it, is in a mount that a user other than root made.
    UserMount,
    /// Its first block is binary, and such files are excluded.
    Binary,
    /// It cannot be opened or examined.
    Unreadable,
    /// The directory it is in cannot be listed.
    UnreadableDirectory,
    /// It is the output or the diagnostics of this run.
    OwnOutput,
    /// It is in the state directory of this run.
    StateDirectory,
    /// It left the tree, and is remembered for some minutes.
    LeftTree,
    /// It was deleted a moment ago, after it was read to its end.
    Deleted,
    /// It was deleted a moment ago, perhaps before it was read to its end.
    DeletedUnread,
    /// There is no such file.
    Missing,
}

impl FileState {
    /// Whether the file is read, or about to be.
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

/// A list that `status --list` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Files and directories that cannot be read.
    Unreadable,
    /// Files that are not read because the output takes nothing.
    Blocked,
    /// Directories that are polled every second.
    Polled,
    /// Files and directories that are not followed.
    Excluded,
    /// The last files that lost data.
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
    /// The path, as in records.
    #[serde(flatten)]
    pub path: PathText,
    /// Why the file or directory is in the list.
    pub why: String,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPage {
    /// The entries; there may be none even if further parts follow.
    pub entries: Vec<Listed>,
    /// The cursor of the next part; `None`: this is the last one.
    pub next: Option<u64>,
    /// The number of entries that are no longer remembered.
    pub forgotten: u64,
}

/// The status of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// The path as in records if the file is known, else as in the request.
    #[serde(flatten)]
    pub path: PathText,
    /// The path as in the request, if that is another spelling or another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<PathText>,
    /// The state.
    pub state: FileState,
    /// The state in words, with details.
    pub why: String,
    /// The `file` of its json records, once the file is identified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The offset of the first byte that is not encoded yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The current length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Bytes after the offset: unread lines, and an unfinished last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_bytes: Option<u64>,
    /// The part of them that is a last line without a newline, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished_bytes: Option<u64>,
    /// The time of the last modification, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// When the file was last read to its end, RFC 3339; known only with a state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_to_end: Option<String>,
    /// Whether the content that was there when the file was first seen was skipped (`--from end`,
    /// `--ignore-older`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started_at_end: bool,
    /// The input that follows it: its place in the settings, from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<usize>,
    /// The labels of its records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What its name says of the job. `None`: its input has no pattern, or the pattern does not
    /// match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<BTreeMap<String, String>>,
    /// The owner, as a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

/// A part of the files of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPage {
    /// Files; there may be none even if further parts follow.
    pub files: Vec<FileStatus>,
    /// The cursor of the next part; `None`: this is the last one.
    pub next: Option<u64>,
    /// Whether some input has a pattern with the group `id`.
    pub is_told: bool,
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
