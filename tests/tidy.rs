//! The shape of the source: rules that a reader can rely on without opening every file.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads the source tree"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use manytail::testing::settings::TABLE;

mod documents;
mod skipping;

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
    for known in [
        "src/lib.rs",
        "src/sys/file.rs",
        "tests/tidy.rs",
        "tests/end_to_end/world.rs",
        "benches/floor.rs",
        "scripts/joblogs/main.rs",
    ] {
        assert!(
            found.contains(&root.join(known)),
            "{known} was not found: not all of the source tree is looked at"
        );
    }
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
    for path in
        all_sources().iter().filter(|path| path.components().any(|part| part.as_os_str() == "src"))
    {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

/// Columns of a line at most; `.rustfmt.toml` has the same.
const COLUMNS_MAX: usize = 100;

#[test]
fn no_line_has_more_columns_than_are_read_with_ease() {
    for path in all_sources() {
        let text = fs::read_to_string(&path).unwrap();
        let mut is_drawing = false;
        for (at, line) in text.lines().enumerate() {
            let code = line.trim_start();
            let comment = code.strip_prefix("//").map(|text| text.trim_start_matches(['/', '!']));
            is_drawing ^= comment.is_some_and(|text| text.trim_start().starts_with("```"));
            let is_row = comment.is_some_and(|text| text.starts_with(" | "));
            // A text of a test or an attribute may have no place where it can be broken.
            let is_text = comment.is_none() && line.contains('"');
            let columns = line.chars().count();
            assert!(
                columns <= COLUMNS_MAX || is_drawing || is_row || is_text,
                "{}:{}: {columns} columns",
                path.display(),
                at + 1
            );
        }
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
            assert!(
                path.starts_with(&sys),
                "{}:{}: unsafe outside of src/sys",
                path.display(),
                at + 1
            );
            let before = &lines[at.saturating_sub(6)..at];
            assert!(
                before.iter().any(|line| line.contains("SAFETY:")),
                "{}:{}: no reason given",
                path.display(),
                at + 1
            );
        }
    }
}

#[test]
fn the_bits_that_keep_a_file_from_being_read_are_written_by_the_schedule_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut writers = all_sources();
    writers.retain(|path| {
        path.starts_with(root.join("src"))
            && fs::read_to_string(path).unwrap().contains(".reschedule(")
    });
    assert_eq!(writers, [root.join("src/engine/schedule.rs")]);
}

/// Words that stood for something that has another name now.
const RETIRED_WORDS: [(&str, &str); 28] = [
    ("Checkpoint", "ResumeFrom"),
    ("Held", "HeldFile"),
    ("Moved", "HalfRename"),
    ("Pass", "SweepKind"),
    ("Told", "NoticeCounts, RecordFields"),
    ("hear_of", "track_name"),
    ("hear_if_accepted", "track_if_accepted"),
    ("is_shortage", "Failure::Shortage"),
    ("is_missing", "Failure::Gone"),
    ("incarnation", "generation"),
    ("story", "generation"),
    ("stories", "generations"),
    ("LISTED", "BY_AGE"),
    ("WAITING", "AWAITS_PREDECESSOR"),
    ("Waiting", "Queued"),
    ("Wanted", "SingleFile"),
    ("kept_back", "suppressed"),
    ("moves", "half_renames"),
    ("PendingRename", "HalfRename"),
    ("settle_found", "apply_finds"),
    ("settle_lost", "recheck_lost"),
    ("is_look_unsettled", "has_unapplied_finds"),
    ("forget_parked", "drop_parked"),
    ("forget_unread", "drop_unread"),
    ("unsettled_groups", "ByAge"),
    ("KeptBack", "HeldBack"),
    ("KEPT_BACK", "HELD_BACK"),
    ("work_off", "update_below"),
];

#[test]
fn the_product_uses_no_retired_word_as_a_name() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let engine =
        [src.join("engine.rs"), src.join("engine"), src.join("checkpoint"), src.join("sink")];
    for path in all_sources().iter().filter(|path| engine.iter().any(|part| path.starts_with(part)))
    {
        let code = product_code(&fs::read_to_string(path).unwrap());
        for (word, now) in RETIRED_WORDS {
            let is_type = |line: &&str| {
                has_word(line, word)
                    && !line.contains(&format!("Place::{word}"))
                    && !line.contains('"')
            };
            // A local name may be any word.
            let found =
                code.lines().find(is_type).filter(|line| !line.trim_start().starts_with("let "));
            assert!(found.is_none(), "{}: {word} is {now} now: {found:?}", path.display());
        }
    }
}

#[test]
fn no_product_file_imports_all_that_another_one_has() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in all_sources().iter().filter(|path| path.starts_with(&src)) {
        if !path.iter().any(|part| part == "tests" || part == "tests.rs") {
            let code = product_code(&fs::read_to_string(path).unwrap());
            assert!(!code.contains("\nuse super::*"), "{}: name what is imported", path.display());
        }
    }
}

#[test]
fn every_dependency_says_in_one_line_why_it_is_here() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut is_dependency = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_dependency = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if is_dependency && line.contains('=') && !line.starts_with('#') {
            assert!(line.contains(" # "), "no reason given: {line}");
        }
    }
}

/// Whether a text holds a word: `--rescan-remote` does not hold `--rescan`.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_')
    };
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (
            at.checked_sub(1).and_then(|at| text.as_bytes().get(at)),
            text.as_bytes().get(at + word.len()),
        );
        !is_part(before) && !is_part(after)
    })
}

#[test]
fn a_word_is_found_whole_or_not_at_all() {
    assert!(has_word("`--rescan 1s`", "--rescan") && has_word("--rescan", "--rescan"));
    assert!(
        has_word("--rescan-remote, --rescan", "--rescan"),
        "behind one that only begins like it"
    );
    assert!(!has_word("`--rescan-remote 1s`", "--rescan") && !has_word("---rescan", "--rescan"));
    assert!(!has_word("partial_after", "after"));
}

fn printed(arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_manytail"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// manytail(1) as text: in roff a hyphen is written with a backslash before it, and so is a change
/// of font.
fn manual() -> String {
    ["\\fB", "\\fI", "\\fR"]
        .iter()
        .fold(printed(&["man"]), |text, font| text.replace(font, ""))
        .replace("\\-", "-")
}

#[test]
fn every_option_of_run_is_in_the_help_the_manual_page_and_the_completions() {
    let texts = [
        printed(&["run", "--help"]),
        printed(&["check", "--help"]),
        manual(),
        printed(&["completions", "fish"]).replace(" -l ", " --"),
    ];
    for row in TABLE.iter().filter(|row| row.is_option()) {
        let option = format!("--{}", row.option());
        for text in &texts {
            assert!(has_word(text, &option), "{option} is not in\n{text}");
        }
    }
}

/// A function of a source file.
struct Function<'a> {
    /// The name in a call: `skip`, or `Disk::mount` if it is in an `impl`.
    name: String,
    is_test: bool,
    /// The number of its first line, from 0 on.
    at: usize,
    lines: Vec<&'a str>,
}

/// The functions of a file, as `cargo fmt` writes them: each ends with a brace in the column of its
/// first word.
fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    let (mut is_test, mut owner) = (false, None);
    for (at, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        if let Some(rest) = bare.strip_prefix("impl").filter(|_| indent(line) == 0) {
            let rest = rest.rsplit(" for ").next().unwrap_or(rest);
            let name = rest
                .trim_start_matches("<'a>")
                .trim_start()
                .split(|letter: char| !letter.is_alphanumeric())
                .next();
            owner = name.map(str::to_owned);
        }
        is_test |= bare == "#[test]";
        let Some(rest) = bare
            .trim_start_matches("pub")
            .trim_start_matches("(crate)")
            .trim_start_matches("(super)")
            .trim_start()
            .strip_prefix("fn ")
        else {
            continue;
        };
        let name = rest
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .next()
            .unwrap_or_default();
        let is_end = |other: &&str| indent(other) == indent(line) && other.trim_start() == "}";
        let len = lines[at..].iter().position(is_end).unwrap_or(0);
        let owner = owner.as_ref().filter(|_| indent(line) > 0);
        let name = owner.map_or_else(|| name.to_owned(), |owner| format!("{owner}::{name}"));
        found.push(Function { name, is_test, at, lines: lines[at..=at + len].to_vec() });
        is_test = false;
    }
    found
}

/// Whether a line calls one of these functions; for a method its own name suffices.
fn calls(line: &str, names: &[String]) -> bool {
    names.iter().any(|name| {
        let method = name.split_once("::").map(|(_, method)| format!(".{method}("));
        line.contains(&format!("{name}(")) || method.is_some_and(|method| line.contains(&method))
    })
}

/// All test files but the simulation, which cannot be skipped.
fn tests() -> Vec<(PathBuf, String)> {
    let is_test = |path: &PathBuf| {
        let inside = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        let is_ours = inside.starts_with("tests/skipping") || inside == Path::new("tests/tidy.rs");
        (inside.starts_with("tests")
            || inside.components().any(|part| part.as_os_str() == "tests")
            || inside.ends_with("tests.rs"))
            && !inside.starts_with("tests/simulation")
            && !is_ours
    };
    all_sources()
        .into_iter()
        .filter(is_test)
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn a_test_that_ends_early_is_counted_as_skipped() {
    let tests = tests();
    let all: Vec<(&PathBuf, Function<'_>)> = tests
        .iter()
        .flat_map(|(path, text)| functions(text).into_iter().map(move |function| (path, function)))
        .collect();
    assert!(
        all.iter().filter(|(_, function)| function.is_test).count() > 400,
        "the tests were found"
    );
    // `skip`, its callers, and their callers.
    let mut skipping = vec!["skip".to_owned()];
    loop {
        let more: Vec<String> = all
            .iter()
            .filter(|(_, function)| !function.is_test && !skipping.contains(&function.name))
            .filter(|(_, function)| function.lines.iter().any(|line| calls(line, &skipping)))
            .map(|(_, function)| function.name.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        skipping.extend(more);
    }
    for known in ["is_root", "Overlay::over", "with_limit"] {
        assert!(skipping.contains(&known.to_owned()), "{known} skips: {skipping:?}");
    }
    let mut silent = Vec::new();
    for (path, function) in all.iter().filter(|(_, function)| function.is_test) {
        for (at, line) in function.lines.iter().enumerate() {
            let is_early = line.contains("return;") || line.contains("{ return }");
            let before = &function.lines[at.saturating_sub(3)..=at];
            if is_early && !before.iter().any(|line| calls(line, &skipping)) {
                silent.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    function.at + at + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(silent.is_empty(), "these end early without a word to `skip`:\n{}", silent.join("\n"));
}

#[test]
fn no_test_is_ignored_or_says_by_itself_that_it_was_skipped() {
    for (path, text) in tests() {
        for (at, line) in text.lines().enumerate() {
            let is_ignored = line.trim_start().starts_with("#[ignore");
            let is_said = ["print!(", "println!(", "write!(", "writeln!("]
                .iter()
                .any(|call| line.contains(call))
                && line.contains("skipped");
            assert!(
                !is_ignored && !is_said,
                "{}:{}: only `skip` counts what is skipped: {}",
                path.display(),
                at + 1,
                line.trim()
            );
        }
    }
}

/// The layers of `src/lib.rs`, from the top: groups of `mod` lines, with an empty line or a comment
/// between them.
fn layers() -> Vec<Vec<String>> {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut layers: Vec<Vec<String>> = vec![Vec::new()];
    for line in text.lines() {
        match line
            .strip_prefix("pub ")
            .unwrap_or(line)
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            Some(module) => layers.last_mut().unwrap().push(module.to_owned()),
            None if layers.last().unwrap().is_empty() => {}
            None => layers.push(Vec::new()),
        }
    }
    layers.retain(|layer| !layer.is_empty());
    layers
}

/// The product's part of a source file: no comments, and nothing after the tests, which come last.
fn product_code(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]\n";
    let is_module = |at: &usize| {
        text[*at + MARK.len()..]
            .lines()
            .find(|line| !line.starts_with("#["))
            .is_some_and(|line| line.starts_with("mod "))
    };
    let end = text.match_indices(MARK).map(|(at, _)| at).find(is_module).unwrap_or(text.len());
    let code = &text[..end];
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The first parts of paths that begin with `base`, such as `crate::` or `super::`, including those
/// in braces.
fn paths_from(code: &str, base: &str) -> Vec<String> {
    let name = |text: &str| {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices(base) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + base.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let (mut depth, mut begins) = (0, true);
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        _ if begins && !c.is_whitespace() => {
                            found.push(name(&list[at..]));
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
            None => found.push(name(rest)),
        }
    }
    found
}

type Imports = BTreeMap<String, BTreeSet<String>>;

/// Which module of the crate imports from which other one.
fn imports_between_modules() -> Imports {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let known: BTreeSet<String> = layers().into_iter().flatten().collect();
    let mut imports = Imports::new();
    for path in all_sources().iter().filter(|path| path.starts_with(&src)) {
        let parts: Vec<_> =
            path.strip_prefix(&src).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        if parts.iter().any(|part| part.starts_with("tests"))
            || ["lib.rs", "main.rs"].contains(&parts[0])
        {
            continue;
        }
        let own = parts[0].trim_end_matches(".rs").to_owned();
        assert!(
            known.contains(&own),
            "{} is of a module that `lib.rs` does not name",
            path.display()
        );
        let others =
            paths_from(&product_code(&fs::read_to_string(path).unwrap()), "crate::").into_iter();
        imports
            .entry(own.clone())
            .or_default()
            .extend(others.filter(|other| *other != own && known.contains(other)));
    }
    imports
}

/// The folders of `src`, each with its path below it.
fn folders() -> BTreeSet<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    for path in all_sources() {
        let Ok(below) = path.strip_prefix(&src) else { continue };
        let folders = below.ancestors().skip(1).map(|folder| folder.to_str().unwrap());
        found.extend(folders.filter(|folder| !folder.is_empty()).map(str::to_owned));
    }
    assert!(found.contains("sink") && found.contains("engine/schedule"), "found: {found:?}");
    found
}

/// Which file of a folder of modules imports from which other file of it. The folder's own file may
/// import from all of them; what they import from it by `super::` are its own items.
fn imports_within(folder: &str) -> Imports {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let mut files = Vec::new();
    sources(&below, &mut files);
    let module_of = |path: &Path| {
        let first = path.strip_prefix(&below).unwrap().iter().next().unwrap().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    };
    let known: BTreeSet<String> = files.iter().map(|path| module_of(path)).collect();
    let mut imports = Imports::new();
    for path in files.iter().filter(|path| {
        !path.ends_with("mod.rs") && !path.iter().any(|part| part == "tests.rs" || part == "tests")
    }) {
        let code = product_code(&fs::read_to_string(path).unwrap());
        let depth = path.strip_prefix(&below).unwrap().iter().count();
        let names = paths_from(&code, &"super::".repeat(depth))
            .into_iter()
            .chain(paths_from(&code, &format!("crate::{}::", folder.replace('/', "::"))));
        let own = module_of(path);
        imports
            .entry(own.clone())
            .or_default()
            .extend(names.filter(|name| *name != own && known.contains(name)));
    }
    imports
}

/// A way from a module back to itself.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn walk<'a>(
        at: &'a str,
        imports: &'a Imports,
        way: &mut Vec<&'a str>,
        over: &mut BTreeSet<&'a str>,
    ) -> bool {
        if way.contains(&at) {
            way.push(at);
            return true;
        }
        if over.contains(at) {
            return false;
        }
        way.push(at);
        if imports.get(at).into_iter().flatten().any(|next| walk(next, imports, way, over)) {
            return true;
        }
        way.pop();
        over.insert(at);
        false
    }
    let (mut way, mut over) = (Vec::new(), BTreeSet::new());
    let found = imports.keys().any(|from| walk(from, imports, &mut way, &mut over));
    found.then(|| way.into_iter().map(str::to_owned).collect())
}

#[test]
fn imports_are_read_with_their_braces_and_a_circle_is_found() {
    let code = "use crate::a::B;\nuse crate::{c::{D, e}, f};\nlet x = crate::g::h();\nfoocrate::no";
    assert_eq!(paths_from(code, "crate::"), ["a", "c", "f", "g"]);
    assert_eq!(product_code("a\n  // crate::b\n#[cfg(test)]\nmod tests { crate::c }"), "a\n");
    let of = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        pairs.iter().for_each(|(from, to)| {
            _ = imports.entry((*from).to_owned()).or_default().insert((*to).to_owned())
        });
        imports
    };
    assert_eq!(circle(&of(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(
        circle(&of(&[("a", "b"), ("b", "c"), ("c", "b")])),
        Some(["a", "b", "c", "b"].map(str::to_owned).to_vec())
    );
}

#[test]
fn no_module_imports_from_a_higher_layer_and_no_circle_leads_back_to_one() {
    let layers = layers();
    assert!(layers.len() > 5, "the layers were found: {layers:?}");
    let layer_of = |module: &str| {
        layers.iter().position(|layer| layer.iter().any(|known| known == module)).unwrap()
    };
    let imports = imports_between_modules();
    assert!(
        imports["engine"].len() > 10 && imports["sink"].contains("sys"),
        "the imports were found: {imports:?}"
    );
    for (module, others) in &imports {
        for other in others {
            assert!(
                layer_of(other) >= layer_of(module),
                "{module} imports from {other}, which is in a higher layer of lib.rs"
            );
        }
    }
    assert_eq!(circle(&imports), None, "modules that import one another");
    let mut within = 0;
    for folder in folders() {
        let imports = imports_within(&folder);
        within += imports.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(circle(&imports), None, "files of src/{folder} that import one another");
    }
    assert!(within > 50, "the imports within folders were found: {within}");
}
