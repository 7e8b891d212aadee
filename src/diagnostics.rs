//! What manytail says about itself: on stderr only, since stdout carries records.
//!
//! In: level and format as chosen on the command line; then `tracing` events from everywhere. Out: lines on stderr.
//! Always holds: a stderr that is closed or broken costs the line, never the run; colours go to terminals only.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The least important events that are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed and needs a person.
    Error,
    /// Something is not as expected; manytail goes on.
    Warn,
    /// Milestones of a run.
    Info,
    /// What happens to single files.
    Debug,
    /// What happens in every turn.
    Trace,
}

impl Level {
    /// Every value with its name.
    pub const NAMES: [(&'static str, Level); 5] =
        [("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug), ("trace", Level::Trace)];

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
    pub const NAMES: [(&'static str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
}

/// What is said, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diagnostics {
    /// The least important events that are said.
    pub level: Level,
    /// How they are written.
    pub format: LogFormat,
}

impl Diagnostics {
    /// From here on events go to stderr. Only the first call of a process counts.
    pub fn init(self) {
        // https://no-color.org
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ansi = std::io::stderr().is_terminal() && !no_color;
        tracing::dispatcher::set_global_default(self.dispatch(std::io::stderr, ansi)).ok();
    }

    fn dispatch<W>(self, writer: W, ansi: bool) -> tracing::Dispatch
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let builder = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_ansi(ansi)
            .with_target(false)
            .with_max_level(self.level.filter())
            // It would tell of a broken stderr on stderr, by a macro that panics there.
            .log_internal_errors(false);
        match self.format {
            LogFormat::Text => builder.finish().into(),
            LogFormat::Json => builder.json().flatten_event(true).finish().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
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
        let kept = Kept::default();
        let writer = kept.clone();
        let dispatch = Diagnostics { level, format }.dispatch(move || writer.clone(), false);
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::error!(path = "a\nb", "first");
            tracing::info!("second");
            tracing::debug!("third");
        });
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn text_is_one_line_per_event_without_colours() {
        let text = said(Level::Info, LogFormat::Text);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("ERROR first path=\"a\\nb\"") && text.contains("INFO second"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn json_is_one_object_per_event_with_its_fields() {
        let text = said(Level::Trace, LogFormat::Json);
        let events: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.len(), 3);
        assert_eq!(
            (&events[0]["level"], &events[0]["message"], &events[0]["path"]),
            (&"ERROR".into(), &"first".into(), &"a\nb".into())
        );
    }

    #[test]
    fn events_below_the_level_are_not_said() {
        assert_eq!(said(Level::Error, LogFormat::Text).lines().count(), 1);
        assert_eq!(said(Level::Debug, LogFormat::Text).lines().count(), 3);
    }
}
