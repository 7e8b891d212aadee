//! A pseudo-terminal with a program on it: its screen, keys, sizes, and whether the program
//! restored it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::harness::wait_for;

/// A terminal, and the program on it.
pub(crate) struct Terminal {
    master: File,
    /// Kept open, so that the terminal outlives the program.
    #[expect(dead_code, reason = "held, not used")]
    slave: OwnedFd,
    name: PathBuf,
    child: Mutex<Child>,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    parser: vt100::Parser,
    everything: Vec<u8>,
}

impl Terminal {
    /// Starts a command with stdin, stdout and stderr on a terminal of this size, its controlling
    /// terminal.
    pub(crate) fn start(command: &[&str], rows: u16, columns: u16) -> Terminal {
        // Close-on-exec: otherwise this program and those of other tests would keep the master
        // open, and the terminal could not go away.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = PathBuf::from(ptsname_r(&master).expect("its name"));
        let slave = nix::fcntl::open(&name, flags, Mode::empty()).expect("its other end");
        stty(&name, &["rows", &rows.to_string(), "cols", &columns.to_string()]);
        let end = || slave.try_clone().expect("a descriptor");
        let mut program = Command::new("setsid");
        program.arg("--ctty").args(command).stdin(end()).stdout(end()).stderr(end());
        program.env_remove("STATE_DIRECTORY").env_remove("RUNTIME_DIRECTORY").env("NO_COLOR", "1");
        let child = program.spawn().expect("setsid");
        drop(program);
        let shown = Arc::new(Mutex::new(Shown {
            parser: vt100::Parser::new(rows, columns, 0),
            everything: Vec::new(),
        }));
        let master = File::from(OwnedFd::from(master));
        let (mut reader, into) = (master.try_clone().expect("a descriptor"), Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            while let Ok(got) = reader.read(&mut bytes) {
                if got == 0 {
                    break;
                }
                let mut shown = into.lock().unwrap();
                shown.parser.process(&bytes[..got]);
                shown.everything.extend_from_slice(&bytes[..got]);
            }
        });
        Terminal { master, slave, name, child: Mutex::new(child), shown }
    }

    /// The screen as text.
    pub(crate) fn contents(&self) -> String {
        self.shown.lock().unwrap().parser.screen().contents()
    }

    /// Everything that was ever written to it.
    pub(crate) fn everything(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().everything).into_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, word: &str) {
        wait_for(&format!("{word:?} on the terminal"), || self.contents().contains(word));
    }

    #[track_caller]
    pub(crate) fn wait_for_last_line(&self, line: &str) {
        wait_for(&format!("{line:?} on the last line"), || {
            let shown = self.shown.lock().unwrap();
            let screen = shown.parser.screen();
            screen
                .rows(0, screen.size().1)
                .last()
                .is_some_and(|last| last.trim_end() == line.trim_end())
        });
    }

    pub(crate) fn press(&self, keys: &[u8]) {
        (&self.master).write_all(keys).expect("keys");
    }

    /// Changes the size. The kernel notifies the program.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        self.shown.lock().unwrap().parser.screen_mut().set_size(rows, columns);
        self.stty(&["rows", &rows.to_string(), "cols", &columns.to_string()]);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.lock().unwrap().id();
        kill(Pid::from_raw(id.cast_signed()), signal).expect("kill");
    }

    pub(crate) fn is_alternate(&self) -> bool {
        self.shown.lock().unwrap().parser.screen().alternate_screen()
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.stty(&["-a"]).contains("-icanon")
    }

    /// Checks that line mode, echo, cursor and screen are as before.
    #[track_caller]
    pub(crate) fn is_given_back(&self) -> bool {
        wait_for("the last bytes", || !self.is_alternate());
        let settings = self.stty(&["-a"]);
        let is_cooked = !settings.contains("-icanon")
            && !settings.contains("-echo ")
            && !settings.contains("-opost");
        is_cooked
            && !self.shown.lock().unwrap().parser.screen().hide_cursor()
            && self.everything().contains("\x1b[?7h")
    }

    fn stty(&self, args: &[&str]) -> String {
        stty(&self.name, args)
    }

    #[track_caller]
    pub(crate) fn wait_exit(&self) -> Option<i32> {
        wait_for("the program to exit", || {
            self.child.lock().unwrap().try_wait().expect("wait").is_some()
        });
        self.child.lock().unwrap().wait().expect("wait").code()
    }
}

fn stty(terminal: &Path, args: &[&str]) -> String {
    let output = Command::new("stty").arg("-F").arg(terminal).args(args).output().expect("stty");
    assert!(output.status.success(), "stty {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        if thread::panicking() {
            eprintln!(
                "--- the terminal:\n{}\n---",
                self.shown.lock().unwrap().parser.screen().contents()
            );
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
