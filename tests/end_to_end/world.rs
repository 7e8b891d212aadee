//! The followed tree, the actions of writers, and names for many lines.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;
use tempfile::TempDir;

use crate::harness::Run;
pub(crate) use crate::skipping::skip;

/// The test's own directory: the followed tree is in it, with room beside the tree on the same file
/// system.
pub(crate) struct World {
    base: TempDir,
    /// The PATH that is followed by default.
    pub(crate) tree: PathBuf,
}

impl World {
    pub(crate) fn new() -> World {
        World::below(&std::env::temp_dir())
    }

    /// A world on tmpfs where there is one: cheap for very many files or bytes.
    pub(crate) fn in_memory() -> World {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { World::below(memory) } else { World::new() }
    }

    fn below(parent: &Path) -> World {
        let base = tempfile::Builder::new()
            .prefix("manytail-")
            .tempdir_in(parent)
            .expect("a directory for the test");
        let tree = base.path().join("tree");
        fs::create_dir(&tree).expect("the tree");
        // Other users must have access: some tests run manytail as one.
        for directory in [base.path(), &tree] {
            fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("chmod");
        }
        World { base, tree }
    }

    pub(crate) fn run(&self) -> Run {
        Run::new(&self.tree)
    }

    pub(crate) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.tree.join(name)
    }

    /// Outside of the tree, on the same file system.
    pub(crate) fn beside(&self, name: impl AsRef<Path>) -> PathBuf {
        self.base.path().join(name)
    }

    /// Opens a file for appending, or creates it, as a permanent writer does.
    pub(crate) fn writer(&self, name: impl AsRef<Path>) -> File {
        let path = self.at(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
    }

    /// Open, append with one write, close: what most job wrappers do.
    pub(crate) fn append(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        self.writer(name).write_all(bytes.as_ref()).expect("append");
    }

    /// `O_CREAT | O_TRUNC`, then the bytes.
    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        fs::write(self.at(name), bytes).expect("write");
    }

    /// Overwrites from the first byte without truncating.
    pub(crate) fn overwrite(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().write(true).open(self.at(name)).expect("open");
        file.write_all(bytes.as_ref()).expect("overwrite");
    }

    pub(crate) fn truncate(&self, name: impl AsRef<Path>, len: u64) {
        OpenOptions::new()
            .write(true)
            .open(self.at(name))
            .and_then(|file| file.set_len(len))
            .expect("truncate");
    }

    pub(crate) fn mkdir(&self, name: impl AsRef<Path>) {
        fs::create_dir_all(self.at(name)).expect("mkdir -p");
    }

    pub(crate) fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        fs::rename(self.at(from), self.at(to)).expect("rename");
    }

    /// `renameat2(2)` with `RENAME_EXCHANGE`: what `mv --exchange` does.
    pub(crate) fn exchange(&self, one: impl AsRef<Path>, other: impl AsRef<Path>) {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        let (one, other) = (self.at(one), self.at(other));
        renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE)
            .expect("mv --exchange");
    }

    pub(crate) fn remove(&self, name: impl AsRef<Path>) {
        fs::remove_file(self.at(name)).expect("rm");
    }

    pub(crate) fn remove_dir(&self, name: impl AsRef<Path>) {
        fs::remove_dir_all(self.at(name)).expect("rm -r");
    }

    pub(crate) fn symlink(&self, target: impl AsRef<Path>, name: impl AsRef<Path>) {
        symlink(target, self.at(name)).expect("ln -s");
    }

    pub(crate) fn hard_link(&self, original: impl AsRef<Path>, name: impl AsRef<Path>) {
        fs::hard_link(self.at(original), self.at(name)).expect("ln");
    }

    pub(crate) fn fifo(&self, name: impl AsRef<Path>) {
        make_fifo(&self.at(name));
    }

    pub(crate) fn chmod(&self, name: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(self.at(name), Permissions::from_mode(mode)).expect("chmod");
    }

    pub(crate) fn set_modified(&self, name: impl AsRef<Path>, time: SystemTime) {
        OpenOptions::new()
            .write(true)
            .open(self.at(name))
            .and_then(|file| file.set_modified(time))
            .expect("utime");
    }
}

pub(crate) fn make_fifo(path: &Path) {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o644)).expect("mkfifo");
}

/// Opens for reading without waiting for a writer; reads block.
pub(crate) fn open_fifo(path: &Path) -> File {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .expect("the FIFO");
    set_blocking(&file);
    file
}

pub(crate) fn set_blocking(file: &File) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL).expect("F_GETFL"));
    fcntl(file, FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK))).expect("F_SETFL");
}

/// `tag 0`, `tag 1` ...
pub(crate) fn numbered(tag: &str, numbers: Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{tag} {number}")).collect()
}

/// Longer than a tick of a file system's clock, and than the lag that manytail allows for it: the
/// order of two times is certain.
pub(crate) fn tick() {
    thread::sleep(Duration::from_millis(45));
}

/// More lines than an output without an active reader takes (4 MiB and the size of a pipe): some
/// stay unread in their file.
pub(crate) fn flood() -> Vec<String> {
    numbered(&"x".repeat(1_000), 0..6_000)
}

/// The lines as the content of a file.
pub(crate) fn text(lines: &[impl AsRef<str>]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    text
}

/// A lock for tests that need much memory, CPU or many events: one runs at a time.
pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this is root. If not, the test cannot run and is skipped.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}

/// Whether a command runs and succeeds.
pub(crate) fn succeeds(program: impl AsRef<OsStr>, args: &[&str]) -> bool {
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Pseudo-random numbers from a seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}
