//! `manytail top` on the terminal: raw mode, the alternate screen, keys and signals, with one poll
//! for all of them.
//!
//! In: a request. Out: frames, until `q`, Esc, Ctrl-C or a signal arrives, or the terminal is gone.
//! Always holds: the terminal is restored at the end, also after a panic; a daemon that does not
//! answer stops neither keys nor frames.

mod frame;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::queue;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::stat::Mode;
use nix::sys::termios::{FlushArg, tcflush};

use crate::status::file::shown;
use crate::sys::clock;
use crate::sys::signal::Interrupts;
use crate::tools::Outcome;
use crate::tools::client::Question;
use frame::{View, frame};

/// The arguments of `top`.
#[derive(Debug)]
pub struct TopRequest {
    /// The daemon's control socket.
    pub socket: PathBuf,
    /// The time between two questions.
    pub interval: Duration,
}

const KEYS: Token = Token(0);
const SIGNALS: Token = Token(1);
const ANSWER: Token = Token(2);

/// A daemon that does not answer within this time is reported as silent, and asked again.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// The size of a terminal of unknown size.
const SIZE: (usize, usize) = (80, 24);

static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while this process controls it.
struct Screen;

impl Screen {
    fn take() -> io::Result<Screen> {
        enable_raw_mode()?;
        IS_TAKEN.store(true, Ordering::Relaxed);
        let screen = Screen;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Before the message, which would vanish with the alternate screen.
            give_back();
            before(panic);
        }));
        let mut text = Vec::new();
        queue!(text, EnterAlternateScreen, Hide, DisableLineWrap)?;
        show(&text)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if IS_TAKEN.swap(false, Ordering::Relaxed) {
        let mut text = Vec::new();
        queue!(text, EnableLineWrap, Show, LeaveAlternateScreen)
            .expect("a vector takes every write");
        // A terminal that is gone needs nothing; for one that takes nothing, pending frames are
        // discarded first.
        if show(&text).is_ok_and(|is_taken| !is_taken)
            && tcflush(io::stdout(), FlushArg::TCOFLUSH).is_ok()
        {
            show(&text).ok();
        }
        disable_raw_mode().ok();
    }
}

/// Writes as much as the terminal takes at once, through a separate open file description: a
/// hanging terminal must not delay a signal, and stdout's status flags are shared with the caller.
/// Returns whether the terminal took everything.
fn show(text: &[u8]) -> io::Result<bool> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let Ok(terminal) = nix::fcntl::open("/proc/self/fd/1", flags, Mode::empty()) else {
        // The terminal of another user (su): only stdout can be used.
        io::stdout().write_all(text)?;
        io::stdout().flush()?;
        return Ok(true);
    };
    let mut rest = text;
    while !rest.is_empty() {
        match nix::unistd::write(&terminal, rest) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(false),
            outcome => rest = &rest[outcome?..],
        }
    }
    Ok(true)
}

/// The question in progress.
enum Asking {
    Nothing,
    Status(Question, Instant),
    Top(Question, Instant),
}

struct Watch<'a> {
    socket: &'a Path,
    poll: Poll,
    asking: Asking,
    view: View,
    answered_at: Option<Instant>,
}

/// Shows the state of a daemon until the user ends it. stdin and stdout are terminals.
///
/// # Errors
/// When the terminal cannot be set up or written to.
pub(crate) fn watch(request: &TopRequest) -> io::Result<Outcome> {
    let signals = Interrupts::new()?;
    let poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&signals.descriptor()), SIGNALS, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&0), KEYS, Interest::READABLE)?;
    let screen = Screen::take()?;
    let mut watch = Watch {
        socket: &request.socket,
        poll,
        asking: Asking::Nothing,
        view: View::default(),
        answered_at: None,
    };
    let outcome = watch.run(&signals, request.interval);
    drop(screen);
    match outcome {
        // The terminal is gone: nobody watches any more.
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EIO | nix::libc::EPIPE)) => {
            Ok(Outcome::Well)
        }
        outcome => outcome.map(|()| Outcome::Well),
    }
}

impl Watch<'_> {
    fn run(&mut self, signals: &Interrupts, interval: Duration) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        let mut next = clock::now().instant;
        self.draw()?;
        loop {
            let now = clock::now().instant;
            if next <= now && matches!(self.asking, Asking::Nothing) {
                next = now + interval;
                self.begin_status(now);
                self.draw()?;
            }
            let until = match &self.asking {
                Asking::Nothing => next,
                Asking::Status(_, deadline) | Asking::Top(_, deadline) => *deadline,
            };
            match self.poll.poll(&mut events, Some(until.saturating_duration_since(now))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => outcome?,
            }
            let (mut is_over, mut is_resized) = (false, false);
            for event in &events {
                match event.token() {
                    KEYS => is_over |= is_enough()?,
                    SIGNALS => {
                        while let Some(is_end) = signals.next()? {
                            is_over |= is_end;
                            is_resized |= !is_end;
                        }
                    }
                    _ => {}
                }
            }
            if is_over {
                return Ok(());
            }
            if self.go_on() || is_resized {
                self.draw()?;
            }
        }
    }

    fn begin_status(&mut self, now: Instant) {
        match self.begin("/status") {
            Ok(question) => self.asking = Asking::Status(question, now + SILENT_AFTER),
            Err(error) => drop(self.failed(&error)),
        }
    }

    fn begin(&self, target: &str) -> io::Result<Question> {
        let mut question = Question::begin(self.socket, target)?;
        self.poll.registry().register(
            question.source(),
            ANSWER,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(question)
    }

    /// Takes what came of an answer. Says whether there is something new to show.
    fn go_on(&mut self) -> bool {
        match std::mem::replace(&mut self.asking, Asking::Nothing) {
            Asking::Nothing => false,
            Asking::Status(mut question, deadline) => match question
                .go_on()
                .and_then(|body| parsed(body.as_deref()))
            {
                Ok(None) => self.wait_on(deadline, |deadline| Asking::Status(question, deadline)),
                Ok(Some(status)) => {
                    self.view.before = self.view.status.replace(status);
                    match self.begin("/top") {
                        Ok(question) => self.asking = Asking::Top(question, deadline),
                        Err(error) => return self.failed(&error),
                    }
                    false
                }
                Err(error) => self.failed(&error),
            },
            Asking::Top(mut question, deadline) => {
                match question.go_on().and_then(|body| parsed(body.as_deref())) {
                    Ok(None) => self.wait_on(deadline, |deadline| Asking::Top(question, deadline)),
                    Ok(Some(top)) => {
                        self.view.top = top;
                        self.view.trouble = None;
                        self.answered_at = Some(clock::now().instant);
                        true
                    }
                    Err(error) => self.failed(&error),
                }
            }
        }
    }

    fn wait_on(&mut self, deadline: Instant, again: impl FnOnce(Instant) -> Asking) -> bool {
        if deadline <= clock::now().instant {
            return self.failed(&io::Error::other("the daemon is silent: stopped, or hanging"));
        }
        self.asking = again(deadline);
        false
    }

    /// Notes that there is no answer. Returns true: the screen has changed.
    fn failed(&mut self, error: &io::Error) -> bool {
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock => "cannot connect to it: stopped, or hanging".to_owned(),
            _ => error.to_string(),
        };
        self.view.trouble = Some(format!("{}: {reason}", shown(bytes_of(self.socket))));
        true
    }

    fn draw(&mut self) -> io::Result<()> {
        let now = clock::now().instant;
        self.view.age =
            self.answered_at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        let size = terminal_size::terminal_size_of(io::stdout());
        let (columns, rows) =
            size.map_or(SIZE, |(width, height)| (usize::from(width.0), usize::from(height.0)));
        let mut text = Vec::new();
        queue!(text, BeginSynchronizedUpdate)?;
        for (row, line) in (0_u16..).zip(frame(&self.view, columns, rows)) {
            // Cleared first: after a full line the cursor stays on its last character.
            queue!(text, MoveTo(0, row), Clear(ClearType::CurrentLine))?;
            text.extend_from_slice(line.as_bytes());
        }
        queue!(text, EndSynchronizedUpdate)?;
        // A part that the terminal does not take now is replaced by the next frame.
        show(&text).map(drop)
    }
}

fn bytes_of(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

fn parsed<T: serde::de::DeserializeOwned>(body: Option<&[u8]>) -> io::Result<Option<T>> {
    Ok(body.map(serde_json::from_slice).transpose()?)
}

/// Reads the keys that were pressed. Returns whether one of them ends the command, or the terminal
/// is gone.
fn is_enough() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut keys = [0; 64];
    loop {
        let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(&stdin), PollFlags::POLLIN)];
        if nix::poll::poll(&mut ready, PollTimeout::ZERO)? == 0 {
            return Ok(false);
        }
        let got = match nix::unistd::read(&stdin, &mut keys) {
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return Ok(false),
            outcome => outcome?,
        };
        if got == 0 || means_end(&keys[..got]) {
            return Ok(true);
        }
    }
}

/// Whether the keys include `q`, Ctrl-C, Ctrl-D, or Esc alone: the sequences of arrow keys and
/// others begin with Esc (ECMA-48, 5.4; SS3 of function keys).
fn means_end(keys: &[u8]) -> bool {
    let mut rest = keys;
    loop {
        rest = match rest {
            [] => return false,
            [0x1b] | [b'q' | b'Q' | 0x03 | 0x04, ..] => return true,
            [0x1b, b'[', sequence @ ..] => {
                let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte));
                end.map_or(&[][..], |end| &sequence[end + 1..])
            }
            [0x1b, b'O', _, rest @ ..] | [0x1b, _, rest @ ..] | [_, rest @ ..] => rest,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_means_the_end_and_an_arrow_key_does_not() {
        assert!(means_end(b"q") && means_end(b"xq") && means_end(b"\x1b") && means_end(b"\x03"));
        assert!(
            !means_end(b"\x1b[A")
                && !means_end(b"x")
                && !means_end(b"\x1bOP")
                && !means_end(b"\x1b[1;5")
                && !means_end(b"\x1bq")
        );
        assert!(
            means_end(b"\x1b[Aq")
                && means_end(b"\x1bOPq")
                && means_end(b"\x1b[1;5Cq")
                && means_end(b"\x1b[A\x1b")
        );
    }
}
