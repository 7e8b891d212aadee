//! `--metrics textfile:PATH`: metrics for the textfile collector of node_exporter.
//!
//! In: the time. Out: a complete file, every [`EVERY`] and once more at the end.
//! Always holds: the file always has the complete metrics of one moment: it is written under
//! another name and renamed. The temporary file is always new and has a random name. Nothing that
//! others put into the directory, links included, is written to or made readable.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Running;
use super::routes::Question;
use crate::status::About;
use crate::status::prometheus;
use crate::sys::clock::{self, Now};

/// At least as often as Prometheus scrapes by default.
const EVERY: Duration = Duration::from_secs(15);

/// One such file.
pub(super) struct Textfile {
    path: PathBuf,
    next: Instant,
    was_written: bool,
    is_failing: bool,
    /// Device and inode of the file written last: it is not followed if it is in a followed tree.
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

    /// Writes the file if it is due. If the first write fails, that is an error; later failures are
    /// logged once.
    pub(super) fn write_if_due(
        &mut self,
        engine: &mut Running,
        about: &About,
        now: Now,
    ) -> anyhow::Result<()> {
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
                return Err(error).with_context(|| {
                    format!("--metrics textfile:{}: cannot write", self.path.display())
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(
                        path = %self.path.display(),
                        %error,
                        "metrics cannot be written: tried again every {} seconds",
                        EVERY.as_secs()
                    );
                }
            }
        }
        Ok(())
    }

    /// Writes the file for the last time.
    pub(super) fn write_last(&mut self, engine: &mut Running, about: &About, now: Now) {
        if self.was_written
            && let Err(error) = self.write(engine, about, now)
        {
            tracing::warn!(path = %self.path.display(), %error, "metrics cannot be written");
        }
    }

    fn write(&mut self, engine: &mut Running, about: &About, now: Now) -> io::Result<()> {
        let asked = clock::now().instant;
        let text =
            prometheus::text(&Question { engine, about, now, may_see_lines: false }.status());
        engine.question_took(clock::now().instant.saturating_duration_since(asked));
        let own = self.replace(&text, engine)?;
        if let Some(before) = self.own.replace(own).filter(|&before| before != own) {
            engine.remove_own_file(before);
        }
        Ok(())
    }

    /// Replaces the file. Returns the device and inode of the new one.
    fn replace(&self, text: &str, engine: &mut Running) -> io::Result<(u64, u64)> {
        // The collector reads only names that end in `.prom`.
        let mut temporary = self.path.as_os_str().to_owned();
        temporary.push(format!(".{:016x}.tmp", RandomState::new().build_hasher().finish()));
        // O_CREAT | O_EXCL: a file that was not there before, through no link.
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut put_in_place = || {
            file.write_all(text.as_bytes())?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            let found = file.metadata()?;
            let own = (found.dev(), found.ino());
            // Before the file can be found by its name.
            engine.add_own_file(own);
            fs::rename(&temporary, &self.path).inspect_err(|_| engine.remove_own_file(own))?;
            Ok(own)
        };
        put_in_place().inspect_err(|_| {
            // The file in its place stays as it was.
            let _ = fs::remove_file(&temporary);
        })
    }
}
