//! What manytail logs about itself: on stderr only, since stdout carries records.
//!
//! In: the level and the format, as chosen on the command line; then `tracing` events. Out: lines
//! on stderr.
//! Always holds: a stderr that is closed or broken costs the line, never the run; an event is one
//! line; colours go to terminals only. The journal gets what it has no other way to know, the
//! priority, and not what it knows itself, the time (sd-daemon(3)).

pub(crate) mod notices;

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use nix::sys::stat::fstat;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

/// Changes the level of the log.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Events below this level are no longer logged.
pub(crate) fn set_level(level: Level) {
    if let Some(handle) = LEVEL.get() {
        // This fails when the subscriber is gone, and then nothing is logged at all.
        handle.reload(level.filter()).ok();
    }
}

/// The least important events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed and needs attention.
    Error,
    /// Something is not as expected; manytail goes on.
    Warn,
    /// Milestones of a run.
    Info,
    /// Events about single files.
    Debug,
    /// Events of every turn.
    Trace,
}

impl Level {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Level); 5] = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];

    fn filter(self) -> LevelFilter {
        match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Every value with its name.
    pub const NAMES: [(&'static str, LogFormat); 2] =
        [("text", LogFormat::Text), ("json", LogFormat::Json)];
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnostics {
    /// The least important events that are logged.
    pub level: Level,
    /// How they are written.
    pub format: LogFormat,
}

impl Diagnostics {
    /// From here on events go to `stderr`. Only the first call of a process counts.
    pub fn init(self, stderr: fn() -> io::Stderr) {
        // https://no-color.org
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let reader = if is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
            Reader::Journal
        } else if io::stderr().is_terminal() && !no_color {
            Reader::Colours
        } else {
            Reader::Plain
        };
        let (dispatch, handle) = self.dispatch(stderr, reader);
        if tracing::dispatcher::set_global_default(dispatch).is_ok() {
            LEVEL.set(handle).ok();
        }
    }

    fn dispatch<W>(
        self,
        writer: W,
        reader: Reader,
    ) -> (tracing::Dispatch, reload::Handle<LevelFilter, Registry>)
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let is_journal = reader == Reader::Journal;
        let (level, handle) = reload::Layer::new(self.level.filter());
        let lines = fmt::layer()
            .with_writer(Lines { writer, has_priority: is_journal })
            .with_ansi(reader == Reader::Colours)
            .with_target(false)
            // It would report a broken stderr on stderr, by a macro that panics there.
            .log_internal_errors(false);
        let lines = match self.format {
            LogFormat::Text if is_journal => lines.without_time().with_level(false).boxed(),
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        (tracing_subscriber::registry().with(level).with(lines).into(), handle)
    }
}

/// An error and its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
        cause = deeper.source();
    }
    text
}

/// The reader of stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A terminal with colours.
    Colours,
    /// The journal.
    Journal,
    /// Anything else.
    Plain,
}

/// Whether `$JOURNAL_STREAM` (`DEVICE:INODE`, systemd.exec(5)) is what stderr is now. A parent
/// process may have redirected it.
fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else {
        return false;
    };
    fstat(io::stderr())
        .is_ok_and(|here| (device.parse(), inode.parse()) == (Ok(here.st_dev), Ok(here.st_ino)))
}

/// Makes a [`Line`] for each event.
struct Lines<W> {
    writer: W,
    has_priority: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lines<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { writer: self.writer.make_writer(), priority: "" }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        let priority = if self.has_priority { priority(*event.level()) } else { "" };
        Line { writer: self.writer.make_writer_for(event), priority }
    }
}

/// sd-daemon(3)
fn priority(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "<3>",
        tracing::Level::WARN => "<4>",
        tracing::Level::INFO => "<6>",
        tracing::Level::DEBUG | tracing::Level::TRACE => "<7>",
    }
}

/// Writes an event, which comes in one piece, as one line.
struct Line<W> {
    writer: W,
    priority: &'static str,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let body = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line = Vec::with_capacity(self.priority.len() + event.len());
        line.extend_from_slice(self.priority.as_bytes());
        for &byte in body {
            // The name of an error or an output may contain a newline. The journal also ends a line
            // at a NUL.
            match byte {
                b'\n' => line.extend_from_slice(b"\\n"),
                0 => line.extend_from_slice(b"\\0"),
                _ => line.push(byte),
            }
        }
        line.push(b'\n');
        self.writer.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what was written, as lines.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(level: Level, format: LogFormat) -> String {
        said_to(Reader::Plain, level, format)
    }

    fn said_to(reader: Reader, level: Level, format: LogFormat) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let (dispatch, _) = Diagnostics { level, format }.dispatch(move || writer.clone(), reader);
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::error!(path = "a\nb", "first");
            tracing::info!("second");
            tracing::debug!("third");
            tracing::trace!("fourth");
            tracing::warn!(reason = %"a\nb\0c", "fifth");
        });
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_is_one_line_per_event_without_colours() {
        let text = said(Level::Info, LogFormat::Text);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.contains("ERROR first path=\"a\\nb\"") && text.contains("INFO second"),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text}");
        assert!(text.ends_with("WARN fifth reason=a\\nb\\0c\n"), "{text}");
    }

    #[test]
    fn the_journal_gets_priorities_and_neither_time_nor_level() {
        let text = said_to(Reader::Journal, Level::Trace, LogFormat::Text);
        let expected =
            "<3>first path=\"a\\nb\"\n<6>second\n<7>third\n<7>fourth\n<4>fifth reason=a\\nb\\0c\n";
        assert_eq!(text, expected);
        let text = said_to(Reader::Journal, Level::Error, LogFormat::Json);
        let event: serde_json::Value =
            serde_json::from_str(text.strip_prefix("<3>").expect("the priority")).unwrap();
        assert_eq!(event["message"], "first");
    }

    #[test]
    fn stderr_is_the_journal_only_if_it_is_the_stream_that_was_named() {
        let here = fstat(io::stderr()).unwrap();
        let (device, inode) = (here.st_dev, here.st_ino);
        assert!(is_journal(Some(&format!("{device}:{inode}"))));
        for other in [
            format!("{device}:{}", inode + 1),
            format!("{device}"),
            format!("{device}:{inode}:"),
            ":".into(),
            "".into(),
        ] {
            assert!(!is_journal(Some(&other)), "{other}");
        }
        assert!(!is_journal(None));
    }

    #[test]
    fn json_is_one_object_per_event_with_its_fields() {
        let text = said(Level::Trace, LogFormat::Json);
        let events: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 5);
        assert_eq!(
            (&events[0]["level"], &events[0]["message"], &events[0]["path"]),
            (&"ERROR".into(), &"first".into(), &"a\nb".into())
        );
    }

    #[test]
    fn events_below_the_level_are_not_said() {
        assert_eq!(said(Level::Error, LogFormat::Text).lines().count(), 1);
        assert_eq!(said(Level::Debug, LogFormat::Text).lines().count(), 4);
    }
}
