//! The shape of the source: what a reader may rely on without opening every file.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test reads the source tree")]

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this has two subjects.
const LINES_MAX: usize = 560;

fn sources(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches", "scripts"] {
        sources(&root.join(folder), &mut found);
    }
    assert!(found.len() > 40, "the source tree was found");
    found
}

#[test]
fn every_source_file_says_first_what_it_is_for() {
    for path in all_sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with `//! `", path.display());
    }
}

#[test]
fn no_product_file_has_more_lines_than_one_subject_needs() {
    for path in all_sources().iter().filter(|path| path.components().any(|part| part.as_os_str() == "src")) {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn unsafe_code_is_in_sys_alone_and_each_block_has_its_reason() {
    let sys = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sys");
    for path in all_sources() {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            // In two parts, so that this test does not find itself.
            if !line.contains(concat!("unsafe", " {")) {
                continue;
            }
            assert!(path.starts_with(&sys), "{}:{}: unsafe outside of src/sys", path.display(), at + 1);
            let before = &lines[at.saturating_sub(6)..at];
            assert!(before.iter().any(|line| line.contains("SAFETY:")), "{}:{}: no reason given", path.display(), at + 1);
        }
    }
}

#[test]
fn every_dependency_says_in_one_line_why_it_is_here() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut is_dependency = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependency = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if is_dependency && line.contains('=') && !line.starts_with('#') {
            assert!(line.contains(" # "), "no reason given: {line}");
        }
    }
}

#[test]
fn every_option_of_run_is_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_manytail")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let options: Vec<&str> = help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(options.len() >= 19, "the help lists the options");
    for option in options {
        let name = option.trim_end_matches(|last: char| !last.is_ascii_alphanumeric());
        assert!(readme.contains(name), "{name} is in the help, not in the README");
    }
}
