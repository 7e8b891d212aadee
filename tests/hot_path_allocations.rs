//! Steady turns allocate nothing: neither per line nor per read nor per event, in any format.

mod taking;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use manytail::testing::cli::{self, Command};
use manytail::testing::engine::{Engine, Turn};
use manytail::testing::sys::{Linux, clock};
use taking::Taking;

const FILES: usize = 300;

fn engine(
    directory: &Path,
    format: &str,
    coalesce: &str,
    lines: &Rc<RefCell<u64>>,
) -> Engine<Linux, Taking> {
    let arguments =
        ["manytail", "run", "--format", format, "--coalesce", coalesce, "--rescan", "0"]
            .map(OsString::from);
    let Ok(Command::Run(settings)) =
        cli::parse(arguments.into_iter().chain([directory.into()]), [])
    else {
        panic!("the arguments are right");
    };
    let lines = Rc::clone(lines);
    let count = Taking::new(move |bytes| {
        *lines.borrow_mut() += memchr::memchr_iter(b'\n', bytes).count() as u64
    });
    Engine::new(settings.config.engine, Linux::new(), count, clock::now())
}

fn append(paths: &[PathBuf], line: &str) {
    for path in paths {
        #[expect(clippy::disallowed_types, reason = "the writer's side")]
        let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Turns until the engine waits for events; deadlines come at once.
fn turn_until_quiet(engine: &mut Engine<Linux, Taking>) {
    engine.events_ready();
    let mut now = clock::now();
    loop {
        match engine.turn(now).unwrap() {
            Turn::Again => {}
            Turn::WaitUntil(deadline) => now.instant = deadline,
            Turn::WaitForEvents | Turn::Finished => return,
        }
    }
}

#[test]
fn steady_turns_allocate_nothing_in_any_format() {
    // Without cooling, each read opens its file; with cooling, some files stay open.
    for (format, coalesce) in
        ["raw", "text", "json"].into_iter().flat_map(|format| [(format, "0"), (format, "5ms")])
    {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> =
            (0..FILES).map(|n| directory.path().join(format!("job{n:07}.log"))).collect();
        let lines = Rc::new(RefCell::new(0));
        let mut engine = engine(directory.path(), format, coalesce, &lines);
        // Warmed up: every buffer has its final size, every file is beyond its first mark.
        for _ in 0..3 {
            append(
                &paths,
                "2026-11-22T10:00:00 job 4711 RUNNING on node 17, step 3 of 128, all is well so \
                far \"ok\"\n",
            );
            turn_until_quiet(&mut engine);
        }
        assert_eq!(*lines.borrow(), 3 * FILES as u64, "{format}: every line came");
        append(&paths, "2026-11-22T10:00:01 job 4711 RUNNING\n\n\u{e9}t\u{e9}\n");
        let counted = allocation_counter::measure(|| turn_until_quiet(&mut engine));
        assert_eq!(*lines.borrow(), 6 * FILES as u64, "{format}: every line came");
        assert_eq!(
            counted.count_total, 0,
            "{format}, {coalesce}: allocations in {FILES} reads of three lines"
        );
    }
}
