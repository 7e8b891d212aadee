//! `--metrics textfile:PATH`: metrics for the textfile collector of node_exporter.
//!
//! In: the time. Out: a whole file, every [`EVERY`] and once more at the end.
//! Always holds: who opens the file finds all of one moment: it is written beside its place and renamed. Beside it, under a name that nobody can
//! know beforehand, a new file is made: what others put into the directory, links too, is neither written to nor opened up.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat};

use super::Running;
use super::routes::Question;
use crate::metrics;
use crate::status::About;
use crate::sys::clock::{self, Now};

/// As often as Prometheus scrapes by default, or more often.
const EVERY: Duration = Duration::from_secs(15);

/// What anyone may read, and the owner write.
const PUBLIC: Mode = Mode::from_bits_truncate(0o644);

/// One such file.
pub(super) struct Textfile {
    path: PathBuf,
    next: Instant,
    was_written: bool,
    is_failing: bool,
    /// Device and inode of what was written last: it is not followed if it lies in the tree.
    own: Option<(u64, u64)>,
}

impl Textfile {
    pub(super) fn new(path: &Path) -> Textfile {
        let next = clock::now().instant;
        Textfile { path: path.to_owned(), next, was_written: false, is_failing: false, own: None }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next
    }

    /// Writes the file if it is time. A failure is said once; the first one is an error.
    pub(super) fn write_if_due(&mut self, engine: &mut Running, about: &About, now: Now) -> anyhow::Result<()> {
        if self.next > now.instant {
            return Ok(());
        }
        self.next = now.instant + EVERY;
        match self.write(engine, about, now) {
            Ok(()) => {
                self.was_written = true;
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(path = %self.path.display(), "metrics are written again");
                }
            }
            Err(error) if !self.was_written => {
                return Err(error).with_context(|| format!("--metrics textfile:{}: cannot write", self.path.display()));
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(path = %self.path.display(), %error, "metrics cannot be written: tried again every 15 seconds");
                }
            }
        }
        Ok(())
    }

    /// Writes it as it stays.
    pub(super) fn write_last(&mut self, engine: &mut Running, about: &About, now: Now) {
        if self.was_written
            && let Err(error) = self.write(engine, about, now)
        {
            tracing::warn!(path = %self.path.display(), %error, "metrics cannot be written");
        }
    }

    fn write(&mut self, engine: &mut Running, about: &About, now: Now) -> io::Result<()> {
        let asked = clock::now().instant;
        let text = metrics::text(&Question { engine, about, now }.status());
        engine.question_took(clock::now().instant.saturating_duration_since(asked));
        let (temporary, descriptor) = self.new_file_beside()?;
        let own = self.replace(&temporary, &descriptor, &text, engine).inspect_err(|_| {
            // What is in its place stays as it was.
            let _ = fs::remove_file(&temporary);
        })?;
        if let Some(before) = self.own.replace(own).filter(|&before| before != own) {
            engine.remove_own_file(before);
        }
        Ok(())
    }

    /// Makes a file that was not there before. The collector reads names that end in `.prom` only.
    fn new_file_beside(&self) -> io::Result<(PathBuf, OwnedFd)> {
        let mut temporary = self.path.as_os_str().to_owned();
        temporary.push(format!(".{:016x}.tmp", RandomState::new().build_hasher().finish()));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let descriptor = nix::fcntl::open(Path::new(&temporary), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok((temporary.into(), descriptor))
    }

    /// Returns device and inode of what is in its place now.
    fn replace(&self, temporary: &Path, descriptor: &OwnedFd, text: &str, engine: &mut Running) -> io::Result<(u64, u64)> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(descriptor, rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        fchmod(descriptor, PUBLIC)?;
        let found = fstat(descriptor)?;
        let own = (found.st_dev, found.st_ino);
        // Before it can be found by its name.
        engine.add_own_file(own);
        fs::rename(temporary, &self.path).inspect_err(|_| engine.remove_own_file(own))?;
        Ok(own)
    }
}
