//! Tests of the simulated kernel: the rules one by one, and, operation by operation, against the
//! kernel that runs the tests.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use inotify::{Inotify, WatchMask};
use manytail::testing::sys::inotify::{EVENT_BYTES_MAX, Events, WATCH_MASK, mask};
use manytail::testing::sys::{Closes, Links};

use crate::queue::{Event, Queue};
use crate::random::Random;
use crate::world::{Handle, World};

fn event(watch: i32, mask: u32, cookie: u32, name: &str) -> Event {
    Event { watch, mask, cookie, name: name.as_bytes().to_vec() }
}

/// A world with a watched directory `/d`, watch 1.
fn watched() -> World {
    let mut world = World::new(100);
    world.make_directory(b"/d").unwrap();
    world.watch(b"/d", Links::Keep, Closes::Unreported).unwrap();
    world
}

fn masks(world: &mut World) -> Vec<(u32, String)> {
    world
        .queue
        .drain()
        .into_iter()
        .map(|event| (event.mask, String::from_utf8(event.name).unwrap()))
        .collect()
}

#[test]
fn equal_neighbours_in_the_queue_are_one_event_and_others_are_not() {
    let mut queue = Queue::new(100);
    for name in ["a", "a", "b", "a", "a"] {
        queue.push(event(1, mask::MODIFY, 0, name));
    }
    queue.push(event(2, mask::MODIFY, 0, "a"));
    queue.push(event(2, mask::MOVED_TO, 7, "a"));
    queue.push(event(2, mask::MOVED_TO, 8, "a"));
    let names: Vec<_> =
        queue.drain().into_iter().map(|event| (event.watch, event.cookie, event.name)).collect();
    let all = [(1, 0, "a"), (1, 0, "b"), (1, 0, "a"), (2, 0, "a"), (2, 7, "a")];
    assert_eq!(names, all.map(|(watch, cookie, name)| (watch, cookie, name.as_bytes().to_vec())));
}

#[test]
fn a_full_queue_says_so_once_and_drops_everything_until_it_is_read() {
    let mut queue = Queue::new(2);
    for name in ["a", "b", "b", "c", "d"] {
        queue.push(event(1, mask::MODIFY, 0, name));
    }
    assert_eq!(queue.overflows, 1);
    let mut buffer = [0; 4096];
    let given = queue.read(&mut buffer).unwrap();
    let told: Vec<u32> = Events::new(&buffer[..given]).map(|event| event.mask).collect();
    assert_eq!(told, [mask::MODIFY, mask::MODIFY, mask::Q_OVERFLOW]);
    queue.push(event(1, mask::MODIFY, 0, "e"));
    assert_eq!((queue.len(), queue.is_overflowed()), (1, false));
}

#[test]
fn a_read_gives_whole_events_and_an_edge_comes_only_with_a_new_one() {
    let mut queue = Queue::new(100);
    assert!(!queue.take_edge());
    for number in 0..30 {
        queue.push(event(1, mask::MODIFY, 0, &format!("file{number}")));
    }
    assert!(queue.take_edge());
    let mut buffer = [0; EVENT_BYTES_MAX];
    let given = queue.read(&mut buffer).unwrap();
    assert_eq!((given, queue.len()), (8 * 32, 22));
    assert!(!queue.take_edge(), "what is left is no news");
    queue.push(event(1, mask::MODIFY, 0, "file29"));
    assert!(!queue.take_edge(), "nor is what merged");
    queue.push(event(1, mask::MODIFY, 0, "file30"));
    queue.drain();
    assert!(!queue.take_edge(), "nor is what was read before the poll");
}

#[test]
fn the_halves_of_a_rename_share_a_cookie_that_no_other_rename_has() {
    let mut world = watched();
    for name in [b"/d/a", b"/d/b"] {
        let handle = world.create(name).unwrap();
        world.close(handle);
    }
    world.queue.drain();
    world.rename(b"/d/a", b"/d/c").unwrap();
    world.rename(b"/d/b", b"/d/a").unwrap();
    let cookies: Vec<u32> = world.queue.drain().into_iter().map(|event| event.cookie).collect();
    assert!(
        cookies.len() == 4
            && cookies[0] == cookies[1]
            && cookies[2] == cookies[3]
            && cookies[0] != cookies[2]
    );
}

#[test]
fn a_freed_inode_number_is_the_next_one_given_out_with_another_generation() {
    let mut world = watched();
    let old = world.create(b"/d/a").unwrap();
    let (number, inode_generation) =
        (world.inodes[old.inode].number, world.inodes[old.inode].inode_generation);
    world.unlink(b"/d/a").unwrap();
    let while_open = world.create(b"/d/b").unwrap();
    assert_ne!(world.inodes[while_open.inode].number, number, "an open file keeps its number");
    world.close(old);
    let new = world.create(b"/d/c").unwrap();
    assert_eq!(world.inodes[new.inode].number, number);
    assert_ne!(world.inodes[new.inode].inode_generation, inode_generation);
}

#[test]
fn writes_through_a_deleted_name_are_told_under_that_name() {
    let mut world = watched();
    let handle = world.create(b"/d/a").unwrap();
    world.link(b"/d/a", b"/d/b").unwrap();
    world.unlink(b"/d/a").unwrap();
    world.queue.drain();
    world.append(&handle, b"x");
    assert_eq!(masks(&mut world), [(mask::MODIFY, "a".to_owned())]);
    let other = world.open(b"/d/b").unwrap();
    world.append(&other, b"x");
    assert_eq!(masks(&mut world), [(mask::MODIFY, "b".to_owned())]);
}

#[test]
fn a_file_made_without_a_name_is_told_by_its_number_where_it_was_made() {
    let mut world = watched();
    let handle = world.create_unnamed(b"/d").unwrap();
    let name = format!("#{}", world.inodes[handle.inode].number);
    world.append(&handle, b"x");
    world.make_directory(b"/e").unwrap();
    world.name_it(&handle, b"/e/a").unwrap();
    world.append(&handle, b"x");
    world.name_it(&handle, b"/d/b").unwrap();
    world.append(&handle, b"x");
    let told = [(mask::MODIFY, name.clone()), (mask::CREATE, "b".to_owned()), (mask::MODIFY, name)];
    assert_eq!(masks(&mut world), told);
}

#[test]
fn the_death_of_a_directory_is_told_when_the_last_file_opened_in_it_is_closed() {
    let mut world = watched();
    let handle = world.create(b"/d/a").unwrap();
    world.unlink(b"/d/a").unwrap();
    world.queue.drain();
    world.remove_directory(b"/d").unwrap();
    assert_eq!(masks(&mut world), []);
    world.close(handle);
    assert_eq!(
        masks(&mut world),
        [(mask::DELETE_SELF, String::new()), (mask::IGNORED, String::new())]
    );
}

/// The simulated and the real kernel, side by side.
struct Both {
    world: World,
    handles: Vec<Handle>,
    real: Inotify,
    files: Vec<File>,
    root: tempfile::TempDir,
    cookies: Vec<u32>,
}

impl Both {
    fn new() -> Self {
        let mut world = World::new(16384);
        world.make_directory(b"/t").unwrap();
        Both {
            world,
            handles: Vec::new(),
            real: Inotify::init().unwrap(),
            files: Vec::new(),
            root: tempfile::tempdir().unwrap(),
            cookies: Vec::new(),
        }
    }

    fn path(&self, simulated: &str) -> PathBuf {
        self.root.path().join(simulated.strip_prefix("/t/").unwrap_or(""))
    }

    /// Makes one operation in both. Returns what was done, and whether it succeeded in each.
    fn step(&mut self, random: &mut Random) -> (String, bool, bool) {
        let names = ["a", "b", "c", "d", "d/a", "d/b", "d/e", "e", "e/a", "e/d", "d/e/a"];
        let [first, second] = [(); 2].map(|()| format!("/t/{}", random.pick(&names)));
        let (old, new) = (self.path(&first), self.path(&second));
        let (one, two) = (first.as_bytes(), second.as_bytes());
        let world = &mut self.world;
        let (what, simulated, real) = match random.below(15) {
            0 | 1 => {
                let made = world.create(one).map(|handle| world.close(handle)).is_ok();
                ("create", made, OpenOptions::new().append(true).create_new(true).open(old).is_ok())
            }
            2 | 3 => ("mkdir", world.make_directory(one).is_ok(), fs::create_dir(old).is_ok()),
            4 => ("unlink", world.unlink(one).is_ok(), fs::remove_file(old).is_ok()),
            5 => ("rmdir", world.remove_directory(one).is_ok(), fs::remove_dir(old).is_ok()),
            6 | 7 => ("rename", world.rename(one, two).is_ok(), fs::rename(old, new).is_ok()),
            8 => ("link", world.link(one, two).is_ok(), fs::hard_link(old, new).is_ok()),
            9 => {
                let opened = world.open(one).map(|handle| self.handles.push(handle)).is_ok();
                let file =
                    OpenOptions::new().append(true).open(old).map(|file| self.files.push(file));
                ("open", opened, file.is_ok())
            }
            10 if !self.handles.is_empty() => {
                let at = random.below(self.handles.len());
                world.append(&self.handles[at], b"x");
                ("write", true, self.files[at].write_all(b"x").is_ok())
            }
            11 if !self.handles.is_empty() => {
                let at = random.below(self.handles.len());
                if random.one_in(2) {
                    world.truncate(&self.handles[at]);
                    ("truncate", true, self.files[at].set_len(0).is_ok())
                } else {
                    world.close(self.handles.swap_remove(at));
                    drop(self.files.swap_remove(at));
                    ("close", true, true)
                }
            }
            12 => {
                let real = nix::fcntl::renameat2(
                    nix::fcntl::AT_FDCWD,
                    &old,
                    nix::fcntl::AT_FDCWD,
                    &new,
                    nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                );
                ("exchange", world.exchange(one, two).is_ok(), real.is_ok())
            }
            _ => {
                let wanted = WatchMask::from_bits_retain(WATCH_MASK);
                (
                    "watch",
                    world.watch(one, Links::Keep, Closes::Unreported).is_ok(),
                    self.real.watches().add(old, wanted).is_ok(),
                )
            }
        };
        (format!("{what} {first} {second}"), simulated, real)
    }

    /// The real kernel's events, with cookies numbered like the simulated ones: by successful
    /// renames.
    fn real_events(&mut self) -> Vec<Event> {
        let mut buffer = vec![0; 1 << 20];
        let mut all = Vec::new();
        if let Ok(events) = self.real.read_events(&mut buffer) {
            for event in events {
                all.push(Event {
                    watch: event.wd.get_watch_descriptor_id(),
                    mask: event.mask.bits(),
                    cookie: event.cookie,
                    name: event.name.map(|name| name.as_bytes().to_vec()).unwrap_or_default(),
                });
            }
        }
        for event in all.iter_mut().filter(|event| event.cookie > 0) {
            event.cookie = number_of(&mut self.cookies, event.cookie);
        }
        all
    }
}

/// The index of a cookie among the known ones.
fn number_of(seen: &mut Vec<u32>, cookie: u32) -> u32 {
    let at = seen.iter().position(|&known| known == cookie).unwrap_or_else(|| {
        seen.push(cookie);
        seen.len() - 1
    });
    at as u32 + 1
}

#[test]
fn the_simulated_kernel_tells_the_same_events_as_the_real_one() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    if release
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .is_none_or(|major: u32| major < 6)
    {
        println!("not compared: Linux {} told deletions in another order", release.trim());
        return;
    }
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut both = Both::new();
        let mut seen = Vec::new();
        let mut done = Vec::new();
        for _ in 0..random.between(50, 400) {
            let (what, simulated, real) = both.step(&mut random);
            assert_eq!(simulated, real, "seed {seed}: {what}, after {done:#?}");
            if real {
                done.push(what);
            }
            if random.one_in(4) {
                let mut told = both.world.queue.drain();
                for event in told.iter_mut().filter(|event| event.cookie > 0) {
                    event.cookie = number_of(&mut seen, event.cookie);
                }
                assert_eq!(told, both.real_events(), "seed {seed}, after {done:#?}");
            }
        }
    }
}
