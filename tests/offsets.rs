//! `manytail offsets` from outside: the real binary on state directories made by the library.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use manytail::testing::checkpoint::format::{Item, put};
use manytail::testing::checkpoint::state::StoredOffsets;
use manytail::testing::checkpoint::store::Store;
use manytail::testing::checkpoint::{Entry, EntryFlags};
use manytail::testing::sys::disk::{Access, LinuxDisk};
use manytail::testing::sys::{FileId, FileSystem, Links, Linux};
use serde_json::{Value, json};

/// A directory with a state directory and a tree of logs in it.
struct Place {
    root: tempfile::TempDir,
    state_dir: PathBuf,
}

fn entry(inode: u64, generation: u32, offset: u64) -> Entry {
    let id = FileId { device: 0xfd01, inode, inode_generation: 1 };
    Entry {
        id,
        generation,
        offset,
        mark: 0,
        mark_len: 0,
        flags: EntryFlags::empty(),
        complete_at: 0,
        absent_since: 0,
    }
}

fn payload(items: &[Item<'_>]) -> Vec<u8> {
    let mut payload = Vec::new();
    items.iter().for_each(|item| put(item, &mut payload));
    payload
}

impl Place {
    /// Without a state directory.
    fn bare() -> Place {
        let root = tempfile::tempdir().unwrap();
        let state_dir = root.path().join("state");
        Place { root, state_dir }
    }

    fn with(items: &[Item<'_>]) -> Place {
        let place = Place::bare();
        let (mut store, _) = place.open(Access::Create);
        store.begin(&payload(&items[..items.len() / 2])).unwrap();
        store.complete(&payload(&items[items.len() / 2..])).unwrap();
        place
    }

    /// Four files below /t.
    fn usual() -> Place {
        let absent = Entry { absent_since: 1_790_000_000, ..entry(4, 2, 40) };
        Place::with(&[
            Item::Scanned(b"/t"),
            Item::Floor(3, 9),
            Item::Entry(entry(3, 0, 30), Some(b"/t/d2/c\xff\t.log")),
            Item::Entry(entry(1, 0, 10), Some(b"/t/d1/a.log")),
            Item::Entry(entry(2, 1, 20), Some(b"/t/d1/b.log")),
            Item::Entry(absent, Some(b"/t/d10/d.log")),
        ])
    }

    #[expect(clippy::disallowed_methods, reason = "a test waits with a deadline")]
    fn open(&self, access: Access) -> (Store<LinuxDisk>, StoredOffsets) {
        // A child that another test starts holds the descriptors of this process, with the locks on
        // them, until its exec.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let disk = loop {
            match LinuxDisk::open(&self.state_dir, access) {
                Err(error)
                    if error.to_string().contains("in use by")
                        && std::time::Instant::now() < deadline =>
                {
                    std::thread::yield_now()
                }
                disk => break disk.unwrap(),
            }
        };
        Store::open(disk).unwrap()
    }

    fn state(&self) -> StoredOffsets {
        self.open(Access::Change).1
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_manytail"));
        command.arg("offsets").args(arguments).arg("--state-dir").arg(&self.state_dir);
        command.env_remove("STATE_DIRECTORY").current_dir(self.root.path()).stdin(Stdio::null());
        command
    }

    /// As long as a child of another test holds the directory, see [`Place::open`], asks again.
    #[expect(clippy::disallowed_methods, reason = "a test waits with a deadline")]
    fn run(&self, arguments: &[&str]) -> Answer {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let output = self.command(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let is_held = said.contains("in use by another process");
            if !is_held || std::time::Instant::now() > deadline {
                return Answer::of(output);
            }
        }
    }

    fn journal(&self) -> PathBuf {
        let journals: Vec<PathBuf> = self
            .names()
            .into_iter()
            .filter(|name| is_journal(name))
            .map(|name| self.state_dir.join(name))
            .collect();
        let [journal] = &journals[..] else { panic!("one journal of {journals:?}") };
        journal.clone()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.state_dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn is_journal(name: &str) -> bool {
    name.strip_prefix("journal.")
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn of(output: Output) -> Answer {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    fn ok(self) -> String {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""), "{}", self.stdout);
        self.stdout
    }

    #[track_caller]
    fn refused(self, code: i32, named: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        for named in named {
            assert!(self.stderr.contains(named), "{named} in {}", self.stderr);
        }
        self.stdout
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}

fn damage(journal: &Path, at: u64) {
    let mut bytes = fs::read(journal).unwrap();
    bytes[at as usize] ^= 1;
    fs::write(journal, bytes).unwrap();
}

#[test]
fn a_list_has_a_line_for_each_file_sorted_by_path() {
    let text = Place::usual().run(&["list"]).ok();
    let lines = [
        "10\tfd01-1-0\t/t/d1/a.log",
        "20\tfd01-2-1\t/t/d1/b.log",
        "40\tfd01-4-2\t/t/d10/d.log\tabsent since 2026-09-21T14:13:20Z",
        "30\tfd01-3-0\t/t/d2/c\\xff\\x09.log",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_list_in_json_has_an_object_for_each_file_with_the_bytes_of_a_path_that_is_not_utf_8() {
    let text = Place::usual().run(&["list", "--format", "json"]).ok();
    let objects: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 4);
    assert_eq!(objects[0], json!({"path": "/t/d1/a.log", "file": "fd01-1-0", "offset": 10}));
    let absent = json!({"path": "/t/d10/d.log", "file": "fd01-4-2", "offset": 40, "absent_since": "2026-09-21T14:13:20Z"});
    assert_eq!(objects[2], absent);
    let not_utf_8 = json!({"path": "/t/d2/c\u{fffd}\t.log", "path_bytes": "L3QvZDIvY/8JLmxvZw==", "file": "fd01-3-0", "offset": 30});
    assert_eq!(objects[3], not_utf_8);
}

#[test]
fn looking_changes_nothing_not_even_a_torn_tail() {
    let place = Place::usual();
    let journal = place.journal();
    fs::OpenOptions::new().append(true).open(&journal).unwrap().write_all(b"torn").unwrap();
    fs::write(place.state_dir.join("journal.9.new"), b"leftover").unwrap();
    let (bytes, names) = (fs::read(&journal).unwrap(), place.names());
    assert_eq!(place.run(&["list"]).ok().lines().count(), 4);
    let verified = place.run(&["verify", "--format=json"]).json();
    assert_eq!((&verified["torn_bytes"], &verified["bytes"]), (&json!(4), &json!(bytes.len() - 4)));
    assert_eq!((fs::read(&journal).unwrap(), place.names()), (bytes, names));
}

#[test]
fn a_directory_or_journal_that_is_missing_is_said() {
    let place = Place::bare();
    for arguments in [&["list"][..], &["verify"], &["forget", "--all"], &["forget", "a"]] {
        place.run(arguments).refused(1, &["state directory", "/state", "No such file"]);
        assert!(!place.state_dir.exists());
    }
    fs::create_dir(&place.state_dir).unwrap();
    for arguments in [&["list"][..], &["verify"], &["forget", "--all"], &["forget", "a"]] {
        place.run(arguments).refused(1, &["no journal in the state directory", "/state"]);
    }
    assert!(!place.names().iter().any(|name| is_journal(name)));
}

#[test]
fn without_a_state_directory_it_is_bad_usage_and_the_environment_gives_the_first_of_its_list() {
    let place = Place::usual();
    let mut bare = Command::new(env!("CARGO_BIN_EXE_manytail"));
    bare.args(["offsets", "list"]).env_remove("STATE_DIRECTORY");
    Answer::of(bare.output().unwrap()).refused(2, &["--state-dir", "STATE_DIRECTORY"]);
    bare.env("STATE_DIRECTORY", "");
    Answer::of(bare.output().unwrap()).refused(2, &["--state-dir"]);
    bare.env("STATE_DIRECTORY", format!("{}:/nonexistent", place.state_dir.display()));
    assert_eq!(Answer::of(bare.output().unwrap()).ok().lines().count(), 4);
}

#[test]
fn every_action_refuses_a_directory_in_use_and_says_by_whom() {
    let place = Place::usual();
    let held = place.open(Access::Change);
    let own = format!("process {}", std::process::id());
    for arguments in [&["list"][..], &["verify"], &["forget", "--all"], &["forget", "/t"]] {
        place.run(arguments).refused(1, &["in use by", &own]);
    }
    drop(held);
    assert_eq!(place.state().len(), 4);
}

#[test]
fn forgetting_takes_files_and_all_files_below_directories_and_keeps_the_numbers_they_had() {
    let place = Place::usual();
    let before = place.journal();
    assert_eq!(
        place.run(&["forget", "/t/d1///", "/t/d10/d.log"]).ok(),
        "3 files forgotten, 1 file left\n"
    );
    assert_ne!(place.journal(), before, "a new journal was written");
    let state = place.state();
    assert_eq!(
        state.entries().map(|(entry, path)| (entry, path.to_vec())).collect::<Vec<_>>(),
        [(entry(3, 0, 30), b"/t/d2/c\xff\t.log".to_vec())]
    );
    for (inode, floor) in [(1, 1), (2, 2), (3, 1), (4, 3)] {
        assert_eq!(
            state.generation_floor(FileId { inode_generation: 9, ..entry(inode, 0, 0).id }),
            floor,
            "inode {inode}"
        );
    }
    assert!(state.is_scanned(b"/t") && state.floors().any(|floor| floor == (3, 9)));
}

#[test]
fn a_path_that_nothing_is_known_of_fails_after_the_others_were_forgotten() {
    let place = Place::usual();
    let stdout = place
        .run(&["forget", "/t/d", "/t/d1/a.log", "/t/d1/a.log/"])
        .refused(1, &["no offsets are stored for /t/d,"]);
    assert_eq!(stdout, "1 file forgotten, 3 files left\n");
    let journal = place.journal();
    let stdout = place.run(&["forget", "--format", "json", "/nowhere"]).refused(1, &["/nowhere"]);
    assert_eq!(
        serde_json::from_str::<Value>(&stdout).unwrap(),
        json!({"forgotten": 0, "left": 3, "moved_aside": []})
    );
    assert_eq!(place.journal(), journal, "nothing to forget, nothing written");
}

#[test]
fn a_path_that_is_not_utf_8_is_forgotten_byte_for_byte() {
    let place = Place::usual();
    let mut command = place.command(&["forget"]);
    let answer = Answer::of(
        command.arg(std::ffi::OsStr::from_bytes(b"/t/d2/c\xff\t.log")).output().unwrap(),
    );
    assert_eq!(answer.ok(), "1 file forgotten, 3 files left\n");
}

#[test]
fn forgetting_all_leaves_numbers_only() {
    let place = Place::usual();
    assert_eq!(
        place.run(&["forget", "--all", "--format", "json"]).json(),
        json!({"forgotten": 4, "left": 0, "moved_aside": []})
    );
    let state = place.state();
    assert!(state.is_empty() && !state.is_scanned(b"/t"));
    assert_eq!(state.generation_floor(entry(4, 0, 0).id), 3);
    assert_eq!(place.run(&["list"]).ok(), "");
}

#[test]
fn a_journal_that_cannot_be_read_is_refused_with_the_way_out_which_moves_it_aside() {
    let place = Place::usual();
    let first = place.journal();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    damage(&first, 60);
    let bytes = fs::read(&first).unwrap();
    for arguments in [&["list"][..], &["forget", "/t"], &["verify"]] {
        place
            .run(arguments)
            .refused(1, &["journal.1", "damaged", "at byte 32", "`manytail offsets forget --all`"]);
        assert_eq!(fs::read(&first).unwrap(), bytes);
    }
    let aside = place.state_dir.join("journal.1.damaged");
    fs::write(&aside, "an older one").unwrap();
    let said = place.run(&["forget", "--all"]).ok();
    assert!(said.contains("journal.1.damaged.2") && said.contains("0 files forgotten"), "{said}");
    assert_eq!(fs::read(&aside).unwrap(), b"an older one");
    assert_eq!(fs::read(place.state_dir.join("journal.1.damaged.2")).unwrap(), bytes);
    assert_eq!(place.run(&["list"]).ok(), "");

    let second = place.journal();
    fs::write(&second, "something else").unwrap();
    place.run(&["list"]).refused(1, &[&name(&second), "not a journal"]);
    let said = place.run(&["forget", "--all", "--format", "json"]).json();
    assert_eq!(said["moved_aside"], json!([format!("{}.damaged", name(&second))]));
    let third = place.journal();
    fs::remove_file(&third).unwrap();
    fs::create_dir(&third).unwrap();
    place.run(&["list"]).refused(1, &[&name(&third), "directory"]);
    place.run(&["forget", "--all"]).ok();
    assert_eq!(place.run(&["list"]).ok(), "");
}

/// An entry with the identity of a real file.
fn entry_of(path: &Path, offset: u64) -> Entry {
    let id = Linux::new().stat(path.as_os_str().as_bytes(), Links::Follow).unwrap().id;
    Entry { id, ..entry(0, 0, offset) }
}

#[test]
fn verifying_counts_what_became_of_each_file() {
    let place = Place::bare();
    let file = |name: &str, text: &str| {
        let path = place.root.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (same, grown, cut) = (file("same", "12345"), file("grown", "1234567"), file("cut", "123"));
    let (gone, first, second) = (file("gone", ""), file("first", "12345"), file("second", "12345"));
    let all = [(&same, &same), (&grown, &grown), (&cut, &cut), (&gone, &gone), (&first, &second)];
    let items: Vec<(Entry, Vec<u8>)> = all
        .iter()
        .map(|(path, shown)| (entry_of(path, 5), shown.as_os_str().as_bytes().to_vec()))
        .collect();
    let mut items: Vec<Item<'_>> =
        items.iter().map(|(entry, path)| Item::Entry(*entry, Some(path))).collect();
    items.push(Item::Entry(entry(77, 0, 5), Some(b"")));
    let relative = Entry { id: FileId { device: 1, ..entry_of(&second, 5).id }, ..entry(0, 0, 5) };
    items.push(Item::Entry(relative, Some(b"second")));
    let (mut store, _) = place.open(Access::Create);
    store.begin(&[]).unwrap();
    store.complete(&payload(&items)).unwrap();
    let bytes = store.bytes();
    drop(store);
    fs::remove_file(&gone).unwrap();
    let counts =
        json!({"unchanged": 2, "grown": 1, "truncated": 1, "gone": 1, "replaced": 1, "unknown": 1});
    let wanted = json!({"journal": "journal.1", "entries": 7, "bytes": bytes, "frames": 2, "torn_bytes": 0, "files": counts});
    assert_eq!(place.run(&["verify", "--format", "json"]).json(), wanted);
    let text = place.run(&["verify"]).ok();
    assert!(text.starts_with("journal.1: 7 entries, "), "{text}");
    assert!(
        text.contains(
            "2 frames, 0 bytes of a torn tail\nunchanged 2\ngrown 1\ntruncated 1\ngone \
            1\nreplaced 1\nunknown 1\n"
        ),
        "{text}"
    );
}

#[test]
fn verifying_a_damaged_journal_fails_and_tells_the_position() {
    let place = Place::usual();
    let (mut store, _) = place.open(Access::Change);
    let good = store.bytes();
    store.append(&payload(&[Item::Output(None)])).unwrap();
    store.append(&payload(&[Item::Output(None)])).unwrap();
    drop(store);
    damage(&place.journal(), good + 21);
    place.run(&["verify"]).refused(1, &["journal.1", &format!("at byte {good} ")]);
    let stdout = place.run(&["verify", "--format", "json"]).refused(1, &["journal.1"]);
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&said["journal"], &said["damaged_at"]), (&json!("journal.1"), &json!(good)));
}

#[test]
fn a_closed_stdout_is_no_panic_and_what_was_to_be_done_is_done() {
    let place = Place::usual();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for arguments in [&["list"][..], &["verify"], &["forget", "/t/d1"]] {
        let output = place.command(arguments).stdout(closed()).output().unwrap();
        assert_eq!(
            (output.status.code(), &output.stderr[..]),
            (Some(0), &b""[..]),
            "{arguments:?}"
        );
    }
    assert_eq!(place.state().len(), 2);
    let output = place.command(&["forget", "/nowhere"]).stdout(closed()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "what was not done is said nevertheless");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    Answer::of(place.command(&["list"]).stdout(full()).output().unwrap())
        .refused(1, &["standard output"]);
}

#[test]
fn the_help_of_each_action_says_what_it_does() {
    for (arguments, said) in [
        (&["offsets", "--help"][..], "verify"),
        (&["offsets", "list", "--help"], "separated by TABs"),
        (&["offsets", "forget", "--help"], "journal.N.damaged"),
        (&["offsets", "verify", "--help"], "truncated"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_manytail")).args(arguments).output().unwrap();
        let answer = Answer::of(output).ok();
        let words: Vec<&str> = answer.split_whitespace().collect();
        assert!(words.join(" ").contains(said), "{answer}");
    }
}
