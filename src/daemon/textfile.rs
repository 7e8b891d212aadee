//! `--metrics textfile:PATH`: metrics for the textfile collector of node_exporter.
//!
//! In: the time. Out: a whole file, every [`EVERY`] and once more at the end.
//! Always holds: who opens the file finds all of one moment: it is written beside its place and renamed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Running;
use super::routes::Question;
use crate::metrics;
use crate::status::About;
use crate::sys::clock::{self, Now};

/// As often as Prometheus scrapes by default, or more often.
const EVERY: Duration = Duration::from_secs(15);

/// One such file.
pub(super) struct Textfile {
    path: PathBuf,
    /// Beside it. The collector reads names that end in `.prom` only.
    temporary: PathBuf,
    next: Instant,
    was_written: bool,
    is_failing: bool,
    /// Device and inode of what was written last: it is not followed if it lies in the tree.
    own: Option<(u64, u64)>,
}

impl Textfile {
    pub(super) fn new(path: &Path) -> Textfile {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let next = clock::now().instant;
        Textfile { path: path.to_owned(), temporary: temporary.into(), next, was_written: false, is_failing: false, own: None }
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
        let own = self.replace(&text, engine).inspect_err(|_| {
            // What is in its place stays as it was. There may be nothing to remove.
            let _ = fs::remove_file(&self.temporary);
        })?;
        if let Some(before) = self.own.replace(own).filter(|&before| before != own) {
            engine.remove_own_file(before);
        }
        Ok(())
    }

    /// Returns device and inode of what is in its place now.
    fn replace(&self, text: &str, engine: &mut Running) -> io::Result<(u64, u64)> {
        fs::write(&self.temporary, text)?;
        fs::set_permissions(&self.temporary, fs::Permissions::from_mode(0o644))?;
        let found = self.temporary.symlink_metadata()?;
        let own = (found.dev(), found.ino());
        // Before it can be found by its name.
        engine.add_own_file(own);
        fs::rename(&self.temporary, &self.path).inspect_err(|_| engine.remove_own_file(own))?;
        Ok(own)
    }
}
