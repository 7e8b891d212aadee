//! Compares the README and the reference in dist/doc with the code: everything that they name
//! exists, and everything that exists is in them.

mod examples;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use manytail::testing::config::{Metrics, Output, Symlinks};
use manytail::testing::diagnostics::Level;
use manytail::testing::settings::{BROKERS, Row, Scope, TABLE};

use crate::{all_sources, has_word, manual, printed};

/// Short enough that a busy administrator reads it to the end.
const README_LINES_MAX: usize = 220;
/// The widest line of prose; tables, code and images may be wider.
const COLUMNS_MAX: usize = 120;

const README: &str = "README.md";
const SETTINGS: &str = "dist/doc/settings.md";
const RECORDS: &str = "dist/doc/records.md";
const OPERATING: &str = "dist/doc/operating.md";

/// Options of other programs that the pages name.
const OPTIONS_OF_OTHERS: [&str; 5] = ["--now", "--exchange", "--inplace", "--append", "--mutants"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The README and all pages of the reference: path and text.
fn pages() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("dist/doc"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.map(|name| format!("dist/doc/{name}")).collect();
    names.sort();
    for known in [SETTINGS, RECORDS, OPERATING] {
        assert!(names.iter().any(|name| name == known), "{known} is missing: {names:?}");
    }
    names.insert(0, README.to_owned());
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

fn is_code(line: &str) -> bool {
    line.starts_with("    ")
}

/// The texts between backticks, outside of code blocks.
fn code_spans(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !is_code(line));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The text without its code, which may look like a link.
fn prose(text: &str) -> String {
    let lines = text.lines().filter(|line| !is_code(line));
    lines.map(|line| line.split('`').step_by(2).collect::<String>() + "\n").collect()
}

/// The part below a heading, up to the next one of the same level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, below) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no `{heading}`"));
    let level = heading.split(' ').next().unwrap();
    below.split(&format!("\n{level} ")).next().unwrap()
}

/// The rows of the table whose first line begins so, each as the code in its first column.
fn first_column<'a>(text: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with(header))
        .skip(2)
        .take_while(|line| line.starts_with("| "));
    let rows: Vec<_> = rows.map(|row| code_spans(row[2..].split(" | ").next().unwrap())).collect();
    assert!(!rows.is_empty(), "there is no table `{header}`");
    rows
}

#[test]
fn the_readme_is_short_and_lines_of_prose_are_narrow() {
    let lines = read(README).lines().count();
    assert!(lines <= README_LINES_MAX, "the README has {lines} lines");
    for (page, text) in pages() {
        // An entry of the changelog is a line.
        if page.ends_with("changelog.md") {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            let is_wide = line.chars().count() > COLUMNS_MAX
                && !is_code(line)
                && !line.starts_with('|')
                && !line.starts_with("![");
            assert!(!is_wide, "{page}:{}: more than {COLUMNS_MAX} columns", at + 1);
            assert!(
                is_code(line) || line.matches('`').count() % 2 == 0,
                "{page}:{}: code that goes over lines",
                at + 1
            );
        }
    }
}

/// The targets of the links and images of a page.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose
        .match_indices("](")
        .map(|(at, mark)| prose[at + mark.len()..].split(')').next().unwrap().to_owned());
    targets.collect()
}

/// The anchors of the headings, as repository hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: char| letter.is_alphanumeric() || [' ', '-', '_'].contains(&letter);
    headings
        .map(|heading| {
            heading
                .to_lowercase()
                .chars()
                .filter(|letter| kept(*letter))
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect()
}

/// `dist/doc/../receivers` -> `dist/receivers`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, component| {
        match component {
            Component::ParentDir => assert!(path.pop(), "a link leads out of the repository"),
            other => path.push(other),
        }
        path
    })
}

/// Whether the packages install a file where a link in the README or a page points.
fn is_installed(path: &Path, manifest: &str) -> bool {
    manifest.lines().any(|line| {
        let mut words = line.split('"').skip(1).step_by(2);
        let (Some(source), Some(destination)) = (words.next(), words.next()) else { return false };
        let folder = source.strip_suffix("/*");
        let is_meant = Path::new(source) == path
            || folder.is_some_and(|folder| {
                Path::new(folder) == path || path.parent() == Some(Path::new(folder))
            });
        let below =
            folder.map_or_else(|| Path::new(source).parent().unwrap_or(Path::new("")), Path::new);
        is_meant && Path::new(destination) == Path::new("usr/share/doc/manytail").join(below)
    })
}

#[test]
fn every_link_leads_to_a_heading_or_a_file_that_packages_install() {
    let manifest = read("Cargo.toml");
    let mut count = 0;
    for (page, text) in pages() {
        for link in links(&text) {
            count += 1;
            let (file, anchor) = link
                .split_once('#')
                .map_or((link.as_str(), None), |(file, anchor)| (file, Some(anchor)));
            let path = if file.is_empty() {
                PathBuf::from(&page)
            } else {
                normal(&Path::new(&page).parent().unwrap().join(file))
            };
            assert!(root().join(&path).exists(), "{page}: there is no {}", path.display());
            assert!(
                is_installed(&path, &manifest),
                "{page}: {} is not installed where the link leads to",
                path.display()
            );
            if let Some(anchor) = anchor {
                let known = anchors(&read(path.to_str().unwrap()));
                assert!(
                    known.contains(anchor),
                    "{page}: {} has no heading #{anchor}",
                    path.display()
                );
            }
        }
    }
    assert!(count > 50, "the links were found: {count}");
    let of_readme = links(&read(README));
    for (page, _) in pages().iter().skip(1) {
        assert!(of_readme.contains(page), "the README does not lead to {page}");
    }
}

#[test]
fn anchors_are_made_of_headings() {
    assert_eq!(
        anchors("# A `b` of c?\n## Two-part d_e").into_iter().collect::<Vec<_>>(),
        ["a-b-of-c", "two-part-d_e"]
    );
    assert_eq!(links("[a](b#c) `[x](y)`\n    [z](w)\n![p](q)"), ["b#c", "q"]);
    assert_eq!(code_spans("`a` b `c d`\n    `e`"), ["a", "c d"]);
}

/// An option as the page of settings has it, below its heading: `- **`--pace DURATION`** (default:
/// `500us`). ...`.
struct Entry {
    /// Heading, option and default.
    head: [String; 3],
    text: String,
}

fn options_of_page() -> Vec<Entry> {
    entries_of_page("## Options")
}

/// The entries below the headings of a part of the page.
fn entries_of_page(part: &str) -> Vec<Entry> {
    let page = read(SETTINGS);
    let mut found = Vec::new();
    for part in section(&page, part).split("\n### ").skip(1) {
        let (heading, entries) = part.split_once('\n').unwrap();
        for entry in entries.split("\n- **`").skip(1) {
            let entry = entry.split("\n\n").next().unwrap();
            let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
            let (option, rest) =
                entry.split_once("`** (default: ").unwrap_or_else(|| panic!("no default: {entry}"));
            let (default, text) =
                rest.split_once("). ").unwrap_or_else(|| panic!("no end of the default: {entry}"));
            let head = [heading.trim(), option, &default.replace('`', "")].map(str::to_owned);
            found.push(Entry { head, text: text.to_owned() });
        }
    }
    found
}

/// What the help and the page say of the default.
fn default_in_words(row: &Row) -> &str {
    row.in_words.or(row.default).unwrap()
}

#[test]
fn the_page_of_settings_has_the_options_of_the_table_with_their_defaults_and_no_other_one() {
    let mut headings: Vec<&str> = Vec::new();
    for row in &TABLE {
        if !headings.contains(&row.heading) {
            headings.push(row.heading);
        }
    }
    let below = |heading| TABLE.iter().filter(move |row| row.is_option() && row.heading == heading);
    let table: Vec<[String; 3]> = headings
        .into_iter()
        .flat_map(below)
        .map(|row| [row.heading, &row.synopsis(), default_in_words(row)].map(str::to_owned))
        .collect();
    let page: Vec<[String; 3]> = options_of_page().into_iter().map(|entry| entry.head).collect();
    assert_eq!(page, table);
    let text = read(SETTINGS);
    assert!(["--help", "--version"].iter().all(|option| has_word(&text, option)));
}

#[test]
fn the_page_of_settings_has_the_keys_of_the_tables_with_what_the_code_says_of_them() {
    let of_table = BROKERS.iter().map(|row| {
        let heading = format!("[{}]", row.table().unwrap());
        [heading, row.synopsis(), default_in_words(row).to_owned()]
    });
    let entries = entries_of_page("## Brokers");
    let page: Vec<[String; 3]> = entries.iter().map(|entry| entry.head.clone()).collect();
    assert_eq!(page, of_table.collect::<Vec<_>>());
    for (row, entry) in BROKERS.iter().zip(&entries) {
        assert!(entry.text.starts_with(row.help), "{}: {}", row.name, entry.text);
    }
}

#[test]
fn the_installed_settings_show_every_key_of_the_tables_with_its_default() {
    let text = read("dist/manytail.toml");
    for row in &BROKERS {
        let heading = format!("\n#[{}]\n", row.table().unwrap());
        let (_, table) = text.split_once(&heading).unwrap_or_else(|| panic!("no {heading:?}"));
        let mut lines = table.split("\n\n").next().unwrap().lines();
        let begins = format!("#{} = ", row.bare_name());
        let line = lines.find_map(|line| line.strip_prefix(&begins));
        let value = line.unwrap_or_else(|| panic!("{} is missing", row.name));
        let value = value.split(" #").next().unwrap().trim();
        let is_default = |default| value == default || value == format!("\"{default}\"");
        assert!(row.default.is_none_or(is_default), "{}: {value}", row.name);
    }
}

#[test]
fn the_page_of_settings_has_every_kind_and_choice_in_its_order() {
    let page = options_of_page();
    let names = |names: &[&'static str]| names.to_vec();
    let links = Symlinks::NAMES.iter().map(|(name, _)| *name).take(3).collect();
    let levels = Level::NAMES.iter().map(|(name, _)| *name).collect();
    for (option, known) in [
        ("--output", names(&Output::KINDS)),
        ("--metrics", names(&Metrics::KINDS)),
        ("--follow-symlinks", links),
        ("--log-level", levels),
    ] {
        let entry = page.iter().find(|entry| has_word(&entry.head[1], option)).unwrap();
        let mut spans = code_spans(&entry.text);
        spans.retain(|span| known.contains(span));
        spans.dedup();
        assert!(spans.starts_with(&known), "{option}: {spans:?}");
    }
}

#[test]
fn the_page_of_settings_lists_what_an_input_may_have_of_its_own() {
    let page = read(SETTINGS);
    let paragraph = section(&page, "## Inputs").trim_start().split(". What stands").next().unwrap();
    let mut listed = code_spans(paragraph);
    let of_inputs = TABLE.iter().filter(|row| row.scope == Scope::Input).map(|row| row.name);
    assert_eq!(listed.remove(0), "[[input]]");
    assert_eq!(listed, of_inputs.chain(["labels"]).collect::<Vec<_>>());
}

#[test]
fn every_option_that_a_page_names_exists() {
    let manual = manual();
    let mut count = 0;
    for (page, text) in pages() {
        let calls = text
            .lines()
            .filter(|line| is_code(line))
            .filter_map(|line| line.split_once("manytail run "))
            .map(|(_, call)| call);
        let calls =
            calls.map(|call| call.split(" | ").next().unwrap().split(" # ").next().unwrap());
        for word in code_spans(&text).into_iter().chain(calls).flat_map(str::split_whitespace) {
            let Some(option) = word
                .strip_prefix("--")
                .filter(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()))
            else {
                continue;
            };
            let option = format!(
                "--{}",
                option
                    .split(|letter: char| !letter.is_ascii_lowercase() && letter != '-')
                    .next()
                    .unwrap()
            );
            count += 1;
            // Options of cargo and of scripts are not ours.
            let is_of_others =
                OPTIONS_OF_OTHERS.contains(&option.as_str()) || is_of_another_program(&text, word);
            assert!(
                is_of_others || has_word(&manual, &option),
                "{page}: {option} is no option of manytail"
            );
        }
    }
    assert!(count > 100, "the options were found: {count}");
}

/// Whether every line that has this word is a call of cargo or of a script.
fn is_of_another_program(text: &str, word: &str) -> bool {
    let mut lines = text.lines().filter(|line| line.contains(word));
    lines.all(|line| line.contains("`cargo ") || line.contains("`scripts/"))
}

#[test]
fn the_page_of_settings_lists_what_a_reload_changes_at_once() {
    let of_run = TABLE.iter().filter(|row| row.is_live() && row.scope != Scope::Input);
    // `--label`, and the tables of files.
    let known: BTreeSet<&str> = of_run.map(|row| row.name).chain(["labels"]).collect();
    let text = read(SETTINGS);
    let (_, list) = text.split_once("\nThese take effect at once: ").unwrap();
    let listed = code_spans(list.split("\n\n").next().unwrap()).into_iter().collect();
    assert_eq!(known, listed);
}

#[test]
fn check_prints_every_key_of_the_table() {
    let printed = printed(&["check", "--label", "a=b", "/"]);
    let keys: BTreeSet<&str> = printed
        .lines()
        .filter_map(|line| line.trim_start_matches('#').trim_start().split_once(" = "))
        .map(|(key, _)| key.trim_end().split('.').next().unwrap())
        .collect();
    assert_eq!(keys, TABLE.iter().map(|row| row.name).chain(["labels"]).collect());
}

#[test]
fn the_page_of_records_has_the_keys_of_a_json_record_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(std::ffi::OsString::from_vec(b"bad \xff name".to_vec()));
    fs::write(path, b"bad \xff line\nand more").unwrap();
    let record = printed(&[
        "run",
        "--once",
        "--format=json",
        "--host=h",
        "--label=l=m",
        "--job=(?P<id>bad)",
        "--record=end=^end$",
        directory.path().to_str().unwrap(),
    ]);
    let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&record).unwrap();
    let keys: Vec<String> = first_column(section(&read(RECORDS), "## json"), "| key |")
        .into_iter()
        .map(|row| row[0].to_owned())
        .collect();
    assert_eq!(parsed.keys().collect::<BTreeSet<_>>(), keys.iter().collect(), "{record}");
    let places: Vec<usize> =
        keys.iter().map(|key| record.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "the order of {keys:?} in {record}");
}

#[test]
fn the_page_of_operating_has_every_state_of_a_file() {
    let source = read("src/status/file.rs");
    let (_, variants) = source.split_once("pub enum FileState {").unwrap();
    let variants = variants
        .split("\n}")
        .next()
        .unwrap()
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with(',') && !line.starts_with("//"));
    let snake = |name: &str| {
        let letters = name.chars().enumerate();
        letters.fold(String::new(), |text, (at, letter)| {
            let blank = if at > 0 && letter.is_uppercase() { "_" } else { "" };
            text + blank + &letter.to_lowercase().to_string()
        })
    };
    let known: BTreeSet<String> = variants.map(|line| snake(line.trim_end_matches(','))).collect();
    assert!(known.contains("read_to_end") && known.len() > 30, "{known:?}");
    let page = read(OPERATING);
    let listed =
        first_column(&page, "| `state` |").into_iter().flatten().map(str::to_owned).collect();
    assert_eq!(known, listed);
}

#[test]
fn the_page_of_operating_has_every_metric_and_the_states_of_its_files() {
    let source = read("src/status/prometheus.rs") + &read("src/status/prometheus/output.rs");
    let known: BTreeSet<&str> = source
        .split('"')
        .skip(1)
        .filter(|text| text.starts_with("manytail_") && is_name(text))
        .collect();
    assert!(known.contains("manytail_build_info") && known.len() > 40, "{known:?}");
    let page = read(OPERATING);
    let table = first_column(&page, "| metric |").into_iter().flatten();
    let listed =
        table.map(|name| name.split('{').next().unwrap()).filter(|name| is_name(name)).collect();
    assert_eq!(known, listed);
    let source = read("src/status.rs");
    let (_, states) = source.split_once("pub fn by_state(").unwrap();
    let states: Vec<&str> = states
        .split("\n    }")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("(\"")?.split('"').next())
        .collect();
    assert!(states.len() == 12, "{states:?}");
    let row = page.lines().find(|line| line.contains("`manytail_files{state}`")).unwrap();
    assert_eq!(states, code_spans(row.split(" | ").nth(1).unwrap()));
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn the_pages_have_the_exit_codes_of_the_help() {
    for (command, page, header) in [
        ("run", SETTINGS, "| code | `manytail run` |"),
        ("status", OPERATING, "| exit code of `status` |"),
        ("doctor", OPERATING, "| exit code of `doctor` |"),
    ] {
        let help = printed(&[command, "--help"]).replace('\n', " ");
        let (_, codes) = help.split_once("Exit codes: ").unwrap();
        let codes = codes.split("Examples:").next().unwrap();
        let in_help: Vec<&str> = codes
            .split(", ")
            .filter_map(|part| part.split(' ').next())
            .filter(|word| is_number(word))
            .collect();
        assert!(in_help.len() >= 3, "{command}: {codes}");
        let text = read(page);
        let rows = text
            .lines()
            .skip_while(|line| !line.starts_with(header))
            .skip(2)
            .take_while(|line| line.starts_with("| "));
        let listed: Vec<&str> = rows.map(|row| row[2..].split(' ').next().unwrap()).collect();
        assert_eq!(in_help, listed, "{command}");
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn every_command_is_in_the_reference() {
    let help = printed(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next());
    let commands: Vec<&str> = commands.filter(|name| *name != "help").collect();
    assert!(commands.contains(&"offsets"), "{commands:?}");
    let all: String = pages().into_iter().map(|(_, text)| text).collect();
    for command in commands {
        assert!(has_word(&all, &format!("manytail {command}")), "{command}");
    }
}

#[test]
fn every_file_test_and_mutant_that_a_page_names_exists() {
    let sources = all_sources();
    let mutants = read("tests/simulation/mutants.rs");
    let mut tests = 0;
    for (page, text) in pages() {
        for span in code_spans(&text) {
            let word = span.split(' ').next().unwrap();
            let is_path = ["src/", "tests/", "scripts/", "dist/", "benches/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            assert!(!is_path || root().join(word).exists(), "{page}: there is no {word}");
            let Some((module, function)) = span
                .split_once("::")
                .filter(|(module, function)| is_name(module) && is_name(function))
            else {
                continue;
            };
            let file = sources.iter().find(|path| {
                path.ends_with(format!("{module}.rs")) && path.starts_with(root().join("tests"))
            });
            let file = file.unwrap_or_else(|| panic!("{page}: there is no file {module} in tests"));
            assert!(
                fs::read_to_string(file).unwrap().contains(&format!("\nfn {function}(")),
                "{page}: there is no test {span}"
            );
            tests += 1;
        }
        let named = text.split("mutant `").skip(1).map(|rest| rest.split('`').next().unwrap());
        for mutant in named {
            assert!(has_word(&mutants, mutant), "{page}: there is no mutant {mutant}");
        }
    }
    assert!(tests > 25, "the tests were found: {tests}");
}

#[test]
fn the_manual_pages_are_made_from_the_reference_as_it_is() {
    let output = Command::new(root().join("scripts/man")).arg("--check").output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for page in ["manytail.toml.5", "manytail.7"] {
        assert_eq!(printed(&["man", page]), read(&format!("dist/man/{page}")), "{page}");
    }
}
