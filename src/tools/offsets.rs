//! `manytail offsets`: prints and checks the offsets in a state directory, and removes some of
//! them.
//!
//! In: a [`Request`]. Out: text or JSON, and whether everything was done.
//! Always holds: nothing is done while another process has the directory; `list` and `verify`
//! change nothing; a journal that cannot be read is never deleted.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::format::{Item, put};
use crate::checkpoint::state::StoredOffsets;
use crate::checkpoint::store::{Found, Store, StoreError, look, set_aside};
use crate::checkpoint::{CommitError, Entry, OWN_OUTPUT};
use crate::record::{push_file, push_json_path, push_json_text, push_second, push_text_path};
use crate::status::file::shown;
use crate::status::numbers::plural;
use crate::sys::disk::{Access, DiskError, LinuxDisk};
use crate::sys::{FileSystem, Links, Linux};
use crate::tools::style::Style;

/// The approximate size of a part of a snapshot.
const PART_BYTES: usize = 1 << 20;

/// A request about a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The directory.
    pub state_dir: PathBuf,
    /// How the answer is written.
    pub style: Style,
    /// What to do.
    pub action: Action,
}

/// What to do with a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Print all entries.
    List,
    /// Forget these files, and all files below these directories.
    Forget(Vec<Vec<u8>>),
    /// Forget all files, and a journal that cannot be read.
    ForgetAll,
    /// Part with the output: what the last commits brought there may come again.
    Settle,
    /// Read the journal, compare each entry with its file, and count the results.
    Verify,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OffsetsError {
    /// The directory cannot be opened or locked.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Its journal cannot be used.
    #[error("cannot use the state directory {path}")]
    Store {
        /// The directory.
        path: PathBuf,
        /// The reason.
        #[source]
        source: StoreError,
    },
    /// There is no journal.
    #[error("no journal in the state directory {0}: no run stored offsets there")]
    NoJournal(PathBuf),
    /// A new journal could not be written: the old one is unchanged.
    #[error("nothing was forgotten")]
    Commit(#[from] CommitError),
    /// It is not known whether the last commit counts.
    #[error(
        "the last commit ({0}) is in doubt: the output alone knows whether it was made; start a \
        run that can reach the output, or accept repeated lines with `manytail offsets settle`"
    )]
    InDoubt(u64),
    /// There are no entries for some PATHs.
    #[error("no offsets are stored for {0}, nor for files below")]
    NotFound(String),
    /// The answer could not be written.
    #[error("cannot write the answer to standard output")]
    Answer(#[from] io::Error),
}

/// Carries out a request, and writes the answer. A reader that stops early (`| head`) is not an
/// error.
///
/// # Errors
/// When the request was not carried out, or only in part.
pub(crate) fn run(request: &Request, out: &mut impl Write) -> Result<(), OffsetsError> {
    let Request { state_dir, style, action } = request;
    let mut out = BufWriter::new(out);
    let outcome = match action {
        Action::List => list(state_dir, *style, &mut out),
        Action::Verify => verify(state_dir, *style, &mut out),
        Action::Forget(paths) => forget(state_dir, paths, *style, &mut out),
        Action::ForgetAll => forget_all(state_dir, *style, &mut out),
        Action::Settle => settle(state_dir, *style, &mut out),
    };
    let (undone, written) = match outcome {
        Ok(undone) => (undone, out.flush()),
        Err(OffsetsError::Answer(error)) => (None, Err(error)),
        Err(error) => return Err(error),
    };
    match (undone, written) {
        (Some(undone), _) => Err(undone),
        (None, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        (None, _) => Ok(()),
    }
}

/// `Some`: there was an answer, but also this error.
type Outcome = Result<Option<OffsetsError>, OffsetsError>;

/// Reads the journal. The directory is unlocked before anything is printed: a reader of the answer
/// may be slow.
fn read(directory: &Path) -> Result<Found, OffsetsError> {
    let mut disk = LinuxDisk::open(directory, Access::Look)?;
    let found = look(&mut disk)
        .map_err(|source| OffsetsError::Store { path: directory.to_owned(), source })?;
    found.ok_or_else(|| OffsetsError::NoJournal(directory.to_owned()))
}

fn list(directory: &Path, style: Style, out: &mut impl Write) -> Outcome {
    let state = read(directory)?.state;
    let mut entries: Vec<(Entry, &[u8])> = state.entries().collect();
    entries.sort_unstable_by(|(entry, path), (other, other_path)| {
        path.cmp(other_path).then(entry.id.cmp(&other.id))
    });
    let mut line = Vec::new();
    for (entry, path) in entries {
        line.clear();
        match style {
            Style::Text => push_text_entry(&entry, path, &mut line),
            Style::Json => push_json_entry(&entry, path, &mut line),
        }
        out.write_all(&line)?;
    }
    Ok(None)
}

fn push_text_entry(entry: &Entry, path: &[u8], line: &mut Vec<u8>) {
    match entry.offset {
        OWN_OUTPUT => line.push(b'-'),
        offset => line.extend_from_slice(offset.to_string().as_bytes()),
    }
    line.push(b'\t');
    push_file(entry.id.device, entry.id.inode, entry.generation, line);
    line.push(b'\t');
    push_text_path(path, line);
    if entry.absent_since != 0 {
        line.extend_from_slice(b"\tabsent since ");
        push_second(entry.absent_since, line);
    }
    line.push(b'\n');
}

fn push_json_entry(entry: &Entry, path: &[u8], line: &mut Vec<u8>) {
    line.push(b'{');
    push_json_path(path, line);
    line.extend_from_slice(b",\"file\":\"");
    push_file(entry.id.device, entry.id.inode, entry.generation, line);
    let offset =
        if entry.offset == OWN_OUTPUT { "null".to_owned() } else { entry.offset.to_string() };
    line.extend_from_slice(format!("\",\"offset\":{offset}").as_bytes());
    if entry.absent_since != 0 {
        line.extend_from_slice(b",\"absent_since\":\"");
        push_second(entry.absent_since, line);
        line.push(b'"');
    }
    line.extend_from_slice(b"}\n");
}

fn forget(directory: &Path, paths: &[Vec<u8>], style: Style, out: &mut impl Write) -> Outcome {
    let disk = LinuxDisk::open(directory, Access::Change)?;
    let store_error = |source| OffsetsError::Store { path: directory.to_owned(), source };
    let (mut store, mut state) = Store::open(disk).map_err(store_error)?;
    if store.bytes() == 0 {
        return Err(OffsetsError::NoJournal(directory.to_owned()));
    }
    if let Some(doubt) = state.doubt() {
        return Err(OffsetsError::InDoubt(doubt.this));
    }
    let mut is_known = vec![false; paths.len()];
    let mut forgotten = Vec::new();
    for (entry, path) in state.entries() {
        let mut is_meant = false;
        for (below, is_known) in paths.iter().zip(&mut is_known) {
            let hit = is_at_or_below(path, below);
            *is_known |= hit;
            is_meant |= hit;
        }
        if is_meant {
            forgotten.push(entry.id);
        }
    }
    for &id in &forgotten {
        state.forget(id);
    }
    if !forgotten.is_empty() {
        write_snapshot(&mut store, state.items())?;
    }
    say_forgotten(forgotten.len(), state.len(), &[], style, out)?;
    let unknown = paths
        .iter()
        .zip(&is_known)
        .filter(|(_, is_known)| !**is_known)
        .map(|(path, _)| shown(path));
    let unknown: Vec<String> = unknown.collect();
    Ok((!unknown.is_empty()).then(|| OffsetsError::NotFound(unknown.join(", "))))
}

/// Whether `path` is `below` itself or is below it; slashes at the end of `below` do not count.
fn is_at_or_below(path: &[u8], below: &[u8]) -> bool {
    let end = below.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let rest = path.strip_prefix(&below[..end]);
    !path.is_empty() && rest.is_some_and(|rest| rest.first().is_none_or(|&next| next == b'/'))
}

fn forget_all(directory: &Path, style: Style, out: &mut impl Write) -> Outcome {
    let mut disk = LinuxDisk::open(directory, Access::Change)?;
    let store_error = |source| OffsetsError::Store { path: directory.to_owned(), source };
    let aside = match look(&mut disk) {
        Ok(Some(_)) => Vec::new(),
        Ok(None) => return Err(OffsetsError::NoJournal(directory.to_owned())),
        Err(error @ StoreError::List(_)) => return Err(store_error(error)),
        Err(_) => set_aside(&mut disk).map_err(store_error)?,
    };
    let (mut store, mut state) = Store::open(disk).map_err(store_error)?;
    state.part_with_output();
    let all: Vec<_> = state.entries().map(|(entry, _)| entry.id).collect();
    for &id in &all {
        state.forget(id);
    }
    // As before the first run: `--from` applies to all files again.
    write_snapshot(&mut store, state.items().filter(|item| !matches!(item, Item::Scanned(_))))?;
    say_forgotten(all.len(), 0, &aside, style, out)?;
    Ok(None)
}

/// From now on the directory has another name at the output, which has no commit of it.
fn settle(directory: &Path, style: Style, out: &mut impl Write) -> Outcome {
    let disk = LinuxDisk::open(directory, Access::Change)?;
    let store_error = |source| OffsetsError::Store { path: directory.to_owned(), source };
    let (mut store, mut state) = Store::open(disk).map_err(store_error)?;
    if store.bytes() == 0 {
        return Err(OffsetsError::NoJournal(directory.to_owned()));
    }
    let dropped = state.doubt().map(|doubt| doubt.this);
    state.part_with_output();
    write_snapshot(&mut store, state.items())?;
    match (style, dropped) {
        (Style::Text, None) => writeln!(out, "settled: no commit was in doubt")?,
        (Style::Text, Some(commit)) => {
            writeln!(out, "settled: commit {commit} counts as not made, its lines come again")?;
        }
        (Style::Json, None) => writeln!(out, "{{\"dropped\":null}}")?,
        (Style::Json, Some(commit)) => writeln!(out, "{{\"dropped\":{commit}}}")?,
    }
    Ok(None)
}

fn write_snapshot<'a>(
    store: &mut Store<LinuxDisk>,
    items: impl Iterator<Item = Item<'a>>,
) -> Result<(), CommitError> {
    let mut payload = Vec::with_capacity(PART_BYTES);
    store.begin(&[])?;
    for item in items {
        put(&item, &mut payload);
        if payload.len() >= PART_BYTES {
            store.extend(&payload)?;
            payload.clear();
        }
    }
    store.complete(&payload)
}

fn say_forgotten(
    forgotten: usize,
    left: usize,
    aside: &[String],
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    match style {
        Style::Text => {
            for name in aside {
                writeln!(out, "a journal that cannot be read was moved aside: {name}")?;
            }
            writeln!(
                out,
                "{forgotten} file{} forgotten, {left} file{} left",
                plural(forgotten as u64),
                plural(left as u64)
            )
        }
        Style::Json => {
            let aside: Vec<String> = aside.iter().map(|name| format!("\"{name}\"")).collect();
            writeln!(
                out,
                "{{\"forgotten\":{forgotten},\"left\":{left},\"moved_aside\":[{}]}}",
                aside.join(",")
            )
        }
    }
}

/// How a file compares with its entry, from one `statx` of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unchanged,
    Grown,
    Truncated,
    Gone,
    Replaced,
    Unknown,
}

const FATES: [(Fate, &str); 6] = [
    (Fate::Unchanged, "unchanged"),
    (Fate::Grown, "grown"),
    (Fate::Truncated, "truncated"),
    (Fate::Gone, "gone"),
    (Fate::Replaced, "replaced"),
    (Fate::Unknown, "unknown"),
];

fn fate_of(entry: &Entry, path: &[u8], fs: &mut impl FileSystem) -> Fate {
    if path.is_empty() {
        return Fate::Unknown;
    }
    match fs.stat(path, Links::Follow) {
        // Device numbers may change at each boot.
        Ok(found)
            if (found.id.inode, found.id.inode_generation)
                != (entry.id.inode, entry.id.inode_generation) =>
        {
            Fate::Replaced
        }
        Ok(_) if entry.offset == OWN_OUTPUT => Fate::Unchanged,
        Ok(found) if found.size < entry.offset => Fate::Truncated,
        Ok(found) if found.size > entry.offset => Fate::Grown,
        Ok(_) => Fate::Unchanged,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Fate::Gone
        }
        Err(_) => Fate::Unknown,
    }
}

fn count_fates(state: &StoredOffsets, fs: &mut impl FileSystem) -> [usize; FATES.len()] {
    let mut counts = [0; FATES.len()];
    for (entry, path) in state.entries() {
        let fate = fate_of(&entry, path, fs);
        counts
            [FATES.iter().position(|(known, _)| *known == fate).expect("every fate is listed")] +=
            1;
    }
    counts
}

fn verify(directory: &Path, style: Style, out: &mut impl Write) -> Outcome {
    let Found { name, state, extent } = match read(directory) {
        Err(error) => {
            if style == Style::Json {
                say_damage(&error, out)?;
            }
            return Ok(Some(error));
        }
        Ok(found) => found,
    };
    let counts = count_fates(&state, &mut Linux::new());
    let (entries, bytes, frames, torn) =
        (state.len(), extent.bytes, extent.frames, extent.torn_bytes);
    let counted = FATES.iter().zip(counts).map(|((_, kind), count)| (*kind, count));
    match style {
        Style::Text => {
            writeln!(
                out,
                "{name}: {entries} entries, {bytes} bytes, {frames} frames, {torn} bytes of a torn \
                tail"
            )?;
            for (kind, count) in counted {
                writeln!(out, "{kind} {count}")?;
            }
        }
        Style::Json => {
            let files: Vec<String> =
                counted.map(|(kind, count)| format!("\"{kind}\":{count}")).collect();
            let files = files.join(",");
            writeln!(
                out,
                "{{\"journal\":\"{name}\",\"entries\":{entries},\"bytes\":{bytes},\"frames\":{frames},\"torn_bytes\":{torn},\
                 \"files\":{{{files}}}}}"
            )?;
        }
    }
    Ok(None)
}

/// Prints the position of damage, for programs.
fn say_damage(error: &OffsetsError, out: &mut impl Write) -> io::Result<()> {
    let OffsetsError::Store { source: StoreError::Damaged { name, position, what }, .. } = error
    else {
        return Ok(());
    };
    let mut text = Vec::new();
    push_json_text(what.as_bytes(), &mut text);
    write!(out, "{{\"journal\":\"{name}\",\"damaged_at\":{position},\"what\":\"")?;
    out.write_all(&text)?;
    writeln!(out, "\"}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_itself_and_what_is_below_it() {
        for (path, below) in [
            ("/a/b", "/a/b"),
            ("/a/b", "/a/b//"),
            ("/a/b/c", "/a/b"),
            ("/a/b", "/"),
            ("a", "a"),
            ("a/b", "a/"),
        ] {
            assert!(is_at_or_below(path.as_bytes(), below.as_bytes()), "{path} is below {below}");
        }
        for (path, below) in [
            ("/a/bc", "/a/b"),
            ("/a", "/a/b"),
            ("a", "/"),
            ("", "/"),
            ("", "a"),
            ("/a/b", "a"),
            ("./a", "a"),
        ] {
            assert!(
                !is_at_or_below(path.as_bytes(), below.as_bytes()),
                "{path} is not below {below}"
            );
        }
    }

    #[test]
    fn a_file_that_received_our_own_output_has_no_offset() {
        let id = crate::sys::FileId { device: 1, inode: 2, inode_generation: 7 };
        let flags = crate::checkpoint::EntryFlags::empty();
        let entry = Entry {
            id,
            generation: 0,
            offset: OWN_OUTPUT,
            mark: 0,
            mark_len: 0,
            flags,
            complete_at: 0,
            absent_since: 0,
        };
        let mut line = Vec::new();
        push_text_entry(&entry, b"out.log.1", &mut line);
        push_json_entry(&entry, b"out.log.1", &mut line);
        let expected =
            "-\t1-2-0\tout.log.1\n{\"path\":\"out.log.1\",\"file\":\"1-2-0\",\"offset\":null}\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn an_entry_is_one_line_whatever_its_path() {
        let id = crate::sys::FileId { device: 0xfd01, inode: 0x1a_2b3c, inode_generation: 7 };
        let flags = crate::checkpoint::EntryFlags::empty();
        let absent_since = 1_790_000_000;
        let entry = Entry {
            id,
            generation: 3,
            offset: 77,
            mark: 0,
            mark_len: 0,
            flags,
            complete_at: 0,
            absent_since,
        };
        let mut line = Vec::new();
        push_text_entry(&entry, b"d\\a\tb\n\xff", &mut line);
        assert_eq!(
            line,
            b"77\tfd01-1a2b3c-3\td\\x5ca\\x09b\\x0a\\xff\tabsent since 2026-09-21T14:13:20Z\n"
        );
        line.clear();
        push_json_entry(&entry, b"a\xff", &mut line);
        let json = "{\"path\":\"a\u{fffd}\",\"path_bytes\":\"Yf8=\",\"file\":\"fd01-1a2b3c-3\",\"offset\":77,\
                    \"absent_since\":\"2026-09-21T14:13:20Z\"}\n";
        assert_eq!(String::from_utf8(line).unwrap(), json);
    }
}
