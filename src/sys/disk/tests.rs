//! Tests of the state directory on the real kernel.
#![allow(clippy::disallowed_methods, reason = "a test looks at the directory by itself")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::unistd::mkfifo;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn opened(path: &Path) -> LinuxDisk {
    LinuxDisk::open(path, Access::Create).unwrap()
}

#[test]
fn a_missing_directory_is_made_for_its_owner_alone_with_the_parents_it_needs() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/state");
    let disk = opened(&path);
    assert_eq!(
        (mode(&root.path().join("a/b")) & 0o700, mode(&path), mode(&path.join("lock"))),
        (0o700, 0o700, 0o600)
    );
    let found = fs::metadata(&path).unwrap();
    assert_eq!(disk.identity(), (found.dev(), found.ino()));
    drop(disk);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    opened(&path);
    assert_eq!(mode(&path), 0o750, "what is there stays as it is");
}

#[test]
fn a_missing_directory_is_an_error_unless_it_is_to_be_made() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    for access in [Access::Change, Access::Look] {
        assert!(matches!(LinuxDisk::open(&path, access), Err(DiskError::Open { .. })));
    }
    fs::write(&path, b"").unwrap();
    assert!(
        matches!(LinuxDisk::open(&path, Access::Create), Err(DiskError::Open { .. })),
        "it is a file"
    );
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_has_it() {
    let root = tempfile::tempdir().unwrap();
    let first = opened(root.path());
    for access in [Access::Create, Access::Change, Access::Look] {
        let error = LinuxDisk::open(root.path(), access).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }
    drop(first);
    let look = LinuxDisk::open(root.path(), Access::Look).unwrap();
    assert!(LinuxDisk::open(root.path(), Access::Look).is_ok(), "several may look");
    let error = LinuxDisk::open(root.path(), Access::Change).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(look);
    opened(root.path());
}

#[test]
fn looking_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut disk = LinuxDisk::open(root.path(), Access::Look).unwrap();
    assert_eq!(disk.list().unwrap(), Vec::<Vec<u8>>::new());
    fs::write(root.path().join("journal.1"), b"bytes").unwrap();
    let file = disk.open("journal.1").unwrap();
    assert!(disk.append(&file, b"more").is_err() && disk.truncate(&file, 0).is_err());
}

#[test]
fn only_regular_files_are_opened_and_no_call_waits() {
    let root = tempfile::tempdir().unwrap();
    let mut disk = opened(root.path());
    fs::create_dir(root.path().join("directory")).unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    symlink("file", root.path().join("link")).unwrap();
    mkfifo(&root.path().join("fifo"), Mode::S_IRWXU).unwrap();
    for (name, what) in
        [("directory", "directory"), ("link", "symbolic link"), ("fifo", "no regular file")]
    {
        assert!(disk.open(name).unwrap_err().to_string().contains(what), "{name}");
    }
    drop(disk);
    fs::remove_file(root.path().join("lock")).unwrap();
    symlink("file", root.path().join("lock")).unwrap();
    assert!(matches!(LinuxDisk::open(root.path(), Access::Create), Err(DiskError::Lock { .. })));
}

#[test]
fn what_is_appended_is_read_and_cut_and_a_leftover_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let mut disk = opened(root.path());
    fs::write(root.path().join("journal.1.new"), b"leftover").unwrap();
    let file = disk.create("journal.1.new").unwrap();
    assert_eq!(mode(&root.path().join("journal.1.new")), 0o600);
    assert_eq!(disk.append(&file, b"abcdef").unwrap(), 6);
    disk.truncate(&file, 3).unwrap();
    assert_eq!(disk.append(&file, b"x").unwrap(), 1);
    disk.sync(&file).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(disk.read_at(&file, &mut buffer, 1).unwrap(), 3);
    assert_eq!(&buffer[..3], b"bcx");
    assert_eq!(disk.read_at(&file, &mut buffer, 4).unwrap(), 0);
    disk.rename("journal.1.new", "journal.1").unwrap();
    disk.sync_directory().unwrap();
    let mut names = disk.list().unwrap();
    names.sort();
    assert_eq!(names, [b"journal.1".to_vec(), b"lock".to_vec()]);
    disk.remove("journal.1").unwrap();
    assert!(disk.open("journal.1").is_err());
    assert_ne!(disk.salt(), disk.salt());
}

#[test]
fn what_is_open_is_compared_with_what_the_names_lead_to() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    let mut disk = opened(&path);
    let file = disk.create("journal.1").unwrap();
    assert!(
        disk.is_named("journal.1", &file).unwrap() && !disk.is_named("journal.2", &file).unwrap()
    );
    fs::rename(path.join("journal.1"), path.join("other")).unwrap();
    fs::write(path.join("journal.1"), b"").unwrap();
    assert!(!disk.is_named("journal.1", &file).unwrap());
    assert_eq!(disk.place().unwrap(), Place::Here);
    fs::remove_file(path.join("lock")).unwrap();
    assert_eq!(disk.place().unwrap(), Place::Unlocked);
    assert!(
        matches!(LinuxDisk::open(&path, Access::Create), Err(DiskError::InUse { .. })),
        "the directory itself is locked"
    );
    fs::remove_file(path.join("lock")).ok();
    disk.reopen().unwrap();
    assert_eq!((disk.place().unwrap(), mode(&path.join("lock"))), (Place::Here, 0o600));
    let before = disk.identity();
    fs::rename(&path, root.path().join("aside")).unwrap();
    assert_eq!(disk.place().unwrap(), Place::Elsewhere);
    disk.reopen().unwrap();
    assert_eq!((disk.place().unwrap(), mode(&path)), (Place::Here, 0o700));
    assert_ne!(disk.identity(), before);
    assert!(matches!(LinuxDisk::open(&path, Access::Create), Err(DiskError::InUse { .. })));
    opened(&root.path().join("aside"));
}

#[test]
fn what_cannot_be_made_anew_leaves_open_what_was() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    let mut disk = opened(&path);
    fs::rename(&path, root.path().join("aside")).unwrap();
    let other = opened(&path);
    assert!(disk.reopen().unwrap_err().to_string().contains("in use"));
    fs::remove_dir_all(&path).unwrap();
    fs::rename(root.path().join("aside"), &path).unwrap();
    assert_eq!(disk.place().unwrap(), Place::Here, "it came back");
    drop(other);
}
