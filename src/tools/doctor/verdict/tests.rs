//! Verdicts on made-up facts: each kind of trouble is found, and nothing else is.

use super::limits::{INSTANCES, QUEUED_EVENTS};
use super::*;
use crate::file_systems::FileSystemType;
use crate::status::numbers::{bytes_text, count};
use crate::sys::host::{InotifyUse, Limit, Space};
use crate::sys::trust::Shared;
use crate::tools::doctor::survey::{FileSystemFacts, JobFacts, LeftOut, PathFacts, Trouble};
use crate::tools::doctor::system::{Condition, StateFacts};
use crate::tools::walk::PathKind;
use std::path::PathBuf;

const EXT4: FileSystemType = FileSystemType(0xef53);
const NFS: FileSystemType = FileSystemType(0x6969);
const TMPFS: FileSystemType = FileSystemType(0x0102_1994);

fn survey() -> Survey {
    Survey {
        paths: vec![PathFacts {
            path: b"/jobs".to_vec(),
            kind: PathKind::Directory,
            directories: 100,
            files: 5_000,
            left_out: Vec::new(),
            input: None,
            jobs: None,
        }],
        file_systems: vec![FileSystemFacts {
            kind: Some(EXT4),
            path: b"/jobs".to_vec(),
            directories: 100,
            files: 5_000,
        }],
        directories: 100,
        files: 5_000,
        name_bytes: 50_000,
        sampled: 150,
        ..Survey::default()
    }
}

fn system() -> System {
    System {
        user: 1000,
        reads_all: false,
        watches_max: limit("fs.inotify.max_user_watches", 8_192),
        instances_max: limit("fs.inotify.max_user_instances", 128),
        queued_events_max: limit("fs.inotify.max_queued_events", 16_384),
        inotify: Vec::new(),
        inotify_refused: None,
        descriptors_max: Some(1_024),
        memory_available: Some(1 << 30),
        state: Some(StateFacts {
            path: PathBuf::from("/state"),
            condition: Condition::Usable { entries: 0 },
            space: Some(Space { bytes: 1 << 30, inodes: Some(1_000) }),
            file_system: Some(EXT4),
            shared: None,
        }),
        reads_links_of_others: false,
    }
}

#[test]
fn mounts_of_users_are_a_warning_that_names_them() {
    let user_mounts = Trouble { count: 1, names: vec!["/jobs/user/mount".to_owned()] };
    let finding = the_trouble(&Survey { user_mounts, ..survey() }, &system());
    assert_eq!((finding.verdict, finding.about), (Verdict::Warning, "mounts"));
    assert!(
        finding.finding.contains("1 mount of users")
            && finding.finding.contains("/jobs/user/mount"),
        "{finding:?}"
    );
}

#[test]
fn a_pattern_for_jobs_that_matches_nothing_is_a_warning_and_the_others_are_counted_and_named() {
    let with = |matched, others, names: &[&str]| {
        let mut survey = survey();
        survey.paths[0].input = Some(2);
        survey.paths[0].jobs = Some(JobFacts {
            matched,
            others,
            names: names.iter().map(|&name| name.to_owned()).collect(),
        });
        survey
    };
    let found = judge(&with(4_998, 2, &["a.log", "b.log"]), &system(), None);
    let jobs = found.iter().find(|finding| finding.about == "jobs").unwrap();
    assert_eq!(
        (jobs.verdict, &*jobs.finding),
        (
            Verdict::Ok,
            "/jobs (input 2): the pattern for jobs matches 4,998 of 5,000 files, but not a.log, \
            b.log"
        )
    );
    let none = the_trouble(&with(0, 7, &["a", "b", "c", "d", "e"]), &system());
    assert_eq!((none.verdict, none.about), (Verdict::Warning, "jobs"));
    assert!(none.finding.ends_with("0 of 7 files, but not a, b, c, d, e and 2 more"), "{none:?}");
}

#[test]
fn hard_links_to_files_of_others_are_a_warning_with_the_sysctl() {
    let finding = the_trouble(&survey(), &System { reads_links_of_others: true, ..system() });
    assert_eq!((finding.verdict, finding.about), (Verdict::Warning, "hard links"));
    assert_eq!(finding.sysctl, Some(Sysctl { name: "fs.protected_hardlinks", value: 1 }));
}

fn limit(sysctl: &'static str, value: u64) -> Option<Limit> {
    Some(Limit { sysctl, value })
}

fn others(watches: u64) -> Vec<InotifyUse> {
    vec![InotifyUse { pid: 42, name: "editor".to_owned(), instances: 1, watches }]
}

/// What is not ok.
fn trouble(survey: &Survey, system: &System) -> Vec<Finding> {
    judge(survey, system, Some(Duration::from_secs(5)))
        .into_iter()
        .filter(|finding| finding.verdict != Verdict::Ok)
        .collect()
}

/// The one thing that is not ok.
#[track_caller]
fn the_trouble(survey: &Survey, system: &System) -> Finding {
    let mut all = trouble(survey, system);
    assert_eq!(all.len(), 1, "{all:#?}");
    let found = all.remove(0);
    assert!(found.remedy.as_ref().is_some_and(|remedy| !remedy.is_empty()), "{found:?}");
    found
}

#[test]
fn a_machine_that_has_all_that_is_needed_is_well() {
    assert_eq!(trouble(&survey(), &system()), []);
}

#[test]
fn too_few_watches_are_a_problem_with_the_sysctl_to_set() {
    let survey = Survey { directories: 8_193, ..survey() };
    let found = the_trouble(&survey, &system());
    assert_eq!((found.verdict, found.about), (Verdict::Problem, "watches"));
    assert_eq!(
        found.sysctl,
        Some(Sysctl { name: "fs.inotify.max_user_watches", value: 1_048_576 })
    );
    let many = Survey { directories: 1_500_000, ..survey };
    let found = judge(&many, &system(), None)
        .into_iter()
        .find(|finding| finding.about == "watches")
        .unwrap();
    assert_eq!(found.sysctl.unwrap().value, 4_194_304);
}

#[test]
fn watches_of_other_processes_count_and_those_of_the_run_itself_do_not() {
    let mut system = System { inotify: others(8_150), ..system() };
    let found = the_trouble(&survey(), &system);
    assert_eq!((found.verdict, found.about), (Verdict::Problem, "watches"));
    assert!(found.finding.contains("8,150 of them by editor (42)"), "{}", found.finding);
    system.state.as_mut().unwrap().condition = Condition::InUse(Some(42));
    system.instances_max = limit("fs.inotify.max_user_instances", 1);
    assert_eq!(the_trouble(&survey(), &system).about, "state directory");
}

#[test]
fn little_room_for_more_directories_is_a_warning() {
    let survey = Survey { directories: 5_000, ..survey() };
    let found = the_trouble(&survey, &system());
    assert_eq!((found.verdict, found.about), (Verdict::Warning, "watches"));
}

#[test]
fn no_instance_left_is_a_problem() {
    let found = the_trouble(
        &survey(),
        &System {
            instances_max: limit("user.max_inotify_instances", 1),
            inotify: others(1),
            ..system()
        },
    );
    assert_eq!((found.verdict, found.about), (Verdict::Problem, "instances"));
    assert_eq!(found.sysctl, Some(Sysctl { name: "user.max_inotify_instances", value: INSTANCES }));
}

#[test]
fn a_queue_smaller_than_the_number_of_files_is_a_warning() {
    let survey = Survey { files: 16_385, ..survey() };
    let found = the_trouble(&survey, &system());
    assert_eq!((found.verdict, found.about), (Verdict::Warning, "queue"));
    assert_eq!(found.sysctl.unwrap().value, QUEUED_EVENTS);
    // Beyond what is recommended nothing is asked for.
    let system = System {
        queued_events_max: limit("fs.inotify.max_queued_events", QUEUED_EVENTS),
        memory_available: Some(1 << 40),
        ..system()
    };
    let many = Survey { files: 2_000_000, ..survey };
    assert!(trouble(&many, &system).iter().all(|finding| finding.about != "queue"));
}

#[test]
fn few_descriptors_are_a_warning_and_very_few_a_problem() {
    for (limit, verdict) in [(20, Verdict::Problem), (256, Verdict::Warning)] {
        let found = the_trouble(&survey(), &System { descriptors_max: Some(limit), ..system() });
        assert_eq!((found.verdict, found.about), (verdict, "descriptors"));
    }
}

#[test]
fn memory_that_does_not_suffice_is_a_problem() {
    let found = the_trouble(&survey(), &System { memory_available: Some(1 << 20), ..system() });
    assert_eq!((found.verdict, found.about), (Verdict::Problem, "memory"));
}

#[test]
fn what_may_not_be_read_is_a_problem_that_is_named() {
    let unreadable =
        Trouble { count: 7, names: vec!["/jobs/secret (Permission denied)".to_owned()] };
    let directories = Survey { unreadable_directories: unreadable.clone(), ..survey() };
    let files = Survey { unreadable_files: unreadable, ..survey() };
    for survey in [directories, files] {
        let found = the_trouble(&survey, &system());
        assert_eq!((found.verdict, found.about), (Verdict::Problem, "permissions"));
        assert!(
            found.finding.contains("/jobs/secret") && found.finding.contains('7'),
            "{}",
            found.finding
        );
        assert!(found.remedy.unwrap().contains("CAP_DAC_READ_SEARCH"));
    }
}

#[test]
fn a_path_that_cannot_be_followed_is_a_problem() {
    let kinds = [
        PathKind::Missing,
        PathKind::LeftOut,
        PathKind::Special,
        PathKind::Failed("Permission denied".to_owned()),
    ];
    for kind in kinds {
        let mut survey = survey();
        survey.paths[0].kind = kind;
        let found = the_trouble(&survey, &system());
        assert_eq!((found.verdict, found.about), (Verdict::Problem, "path"));
        assert!(found.finding.contains("/jobs"));
    }
}

#[test]
fn what_a_blind_file_system_does_not_tell_and_the_sweep_that_follows_are_said() {
    let cases = [
        (
            Some(NFS),
            Verdict::Warning,
            "writes made by other machines; `run` looks at these files every 5s",
        ),
        (Some(FileSystemType(0x6573_5546)), Verdict::Warning, "do not come through this mount"),
        (
            Some(FileSystemType(0x794c_7630)),
            Verdict::Warning,
            "writes made directly into its layers",
        ),
        (Some(FileSystemType(0x9fa0)), Verdict::Problem, "the kernel generates"),
        (Some(FileSystemType(0x7777)), Verdict::Warning, "does not know"),
        (None, Verdict::Warning, "is unknown"),
    ];
    for (kind, verdict, said) in cases {
        let mut survey = survey();
        survey.file_systems[0].kind = kind;
        let found = the_trouble(&survey, &system());
        assert_eq!((found.verdict, found.about), (verdict, "file system"));
        assert!(found.finding.contains(said), "{}", found.finding);
    }
}

#[test]
fn a_state_directory_that_would_not_serve_is_said() {
    let cases = [
        (Condition::InUse(Some(7)), Verdict::Warning, "in use by process 7"),
        (Condition::InUse(None), Verdict::Warning, "in use by another process"),
        (
            Condition::Refused("it is not a directory".to_owned()),
            Verdict::Problem,
            "it is not a directory",
        ),
        (
            Condition::Damaged("journal.3 is damaged".to_owned()),
            Verdict::Problem,
            "journal.3 is damaged",
        ),
    ];
    for (condition, verdict, said) in cases {
        let mut system = system();
        system.state.as_mut().unwrap().condition = condition;
        let found = the_trouble(&survey(), &system);
        assert_eq!((found.verdict, found.about), (verdict, "state directory"));
        assert!(found.finding.contains(said), "{}", found.finding);
    }
    assert_eq!(
        the_trouble(&survey(), &System { state: None, ..system() }).verdict,
        Verdict::Warning
    );
    let mut system = system();
    system.state.as_mut().unwrap().shared =
        Some(Shared { directory: PathBuf::from("/open"), who: "everybody".to_owned() });
    let found = the_trouble(&survey(), &system);
    assert!(found.verdict == Verdict::Warning && found.finding.contains("/open"), "{found:?}");
}

#[test]
fn a_state_directory_without_room_or_on_the_wrong_file_system_is_said() {
    let spaces = [
        (Space { bytes: 1 << 20, inodes: None }, Verdict::Problem),
        (Space { bytes: 12 << 20, inodes: None }, Verdict::Warning),
        (Space { bytes: 1 << 30, inodes: Some(2) }, Verdict::Problem),
    ];
    for (space, verdict) in spaces {
        let mut system = system();
        system.state.as_mut().unwrap().space = Some(space);
        assert_eq!(the_trouble(&survey(), &system).verdict, verdict, "{space:?}");
    }
    for kind in [NFS, TMPFS] {
        let mut system = system();
        system.state.as_mut().unwrap().file_system = Some(kind);
        assert_eq!(the_trouble(&survey(), &system).verdict, Verdict::Warning);
    }
}

#[test]
fn numbers_are_set_apart_and_sizes_have_units() {
    assert_eq!(
        [count(0), count(999), count(1_000), count(1_048_576)],
        ["0", "999", "1,000", "1,048,576"]
    );
    assert_eq!(
        [bytes_text(10_239), bytes_text(10_240), bytes_text(16 << 20)],
        ["10,239 bytes", "10 KiB", "16 MiB"]
    );
}

#[test]
fn a_system_that_refuses_inotify_is_a_problem() {
    let found = the_trouble(
        &survey(),
        &System { inotify_refused: Some("Function not implemented".to_owned()), ..system() },
    );
    assert_eq!((found.verdict, found.about), (Verdict::Problem, "instances"));
    assert!(
        found.finding.contains("refuses inotify (Function not implemented)"),
        "{}",
        found.finding
    );
}

#[test]
fn what_globs_leave_out_is_told_most_first_and_a_path_without_files_is_a_warning() {
    let mut survey = survey();
    let left_out = |why: &str, count, first: &str| LeftOut {
        why: why.to_owned(),
        count,
        first: first.to_owned(),
    };
    survey.paths[0].left_out = vec![
        left_out("excluded by *.gz", 3, "a.gz"),
        left_out("matching no --include", 1200, "notes.txt"),
    ];
    let found: Vec<Finding> = judge(&survey, &system(), None)
        .into_iter()
        .filter(|finding| finding.about == "left out")
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].finding,
        "/jobs: 1,200 matching no --include (as notes.txt); 3 excluded by *.gz (as a.gz)"
    );
    survey.paths[0].files = 0;
    let found = judge(&survey, &system(), None)
        .into_iter()
        .find(|finding| finding.about == "path")
        .unwrap();
    assert_eq!(found.verdict, Verdict::Warning);
}

#[test]
fn looks_that_a_file_server_would_feel_are_a_problem_with_the_period_that_is_not() {
    let mut survey = survey();
    survey.file_systems[0].kind = Some(NFS);
    survey.file_systems[0].files = 100_000;
    let found = |rescan_remote| {
        let all = judge(&survey, &system(), rescan_remote);
        all.into_iter().find(|finding| finding.about == "file system").unwrap()
    };
    let often = found(Some(Duration::from_secs(5)));
    assert_eq!(often.verdict, Verdict::Problem);
    assert!(often.finding.contains("20,000 looks/s"), "{}", often.finding);
    assert!(often.remedy.unwrap().contains("rescan_remote to 100s"));
    assert_eq!(found(Some(Duration::from_secs(100))).verdict, Verdict::Warning);
    assert_eq!(found(None).verdict, Verdict::Warning);
}
