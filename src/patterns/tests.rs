//! Tests of globs: what each form accepts and refuses.

use super::*;

fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
    let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    Patterns::new(&owned(include), &owned(exclude), false).expect("good globs")
}

fn defaults() -> Patterns {
    Patterns::new(&[], &[], true).expect("good globs")
}

fn name_of(below: &[u8]) -> &[u8] {
    below.rsplit(|byte| *byte == b'/').next().unwrap_or(below)
}

fn file(patterns: &Patterns, below: impl AsRef<[u8]>) -> bool {
    patterns.accepts_file(name_of(below.as_ref()), below.as_ref())
}

fn directory(patterns: &Patterns, below: impl AsRef<[u8]>) -> bool {
    patterns.accepts_directory(name_of(below.as_ref()), below.as_ref())
}

fn error(include: &[&str], exclude: &[&str]) -> PatternError {
    let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    Patterns::new(&owned(include), &owned(exclude), false).expect_err("a bad glob")
}

#[test]
fn without_globs_everything_is_accepted() {
    let all = patterns(&[], &[]);
    assert!(
        file(&all, "a") && file(&all, "d/.hidden") && file(&all, "x.gz") && directory(&all, "d/e")
    );
    assert!(!all.needs_path());
}

#[test]
fn compressed_suffixes_are_excluded_by_default_for_files_only() {
    let all = defaults();
    for name in ["a.gz", "d/a.log.bz2", "a.xz", "a.zst", "a.lz4", "a.zip", "a.Z", ".gz"] {
        assert!(!file(&all, name), "{name}");
        assert!(directory(&all, name), "{name}");
    }
    for name in ["a.log", "gz", "a.gzip", "a.z", "a.gz.1", "a.gz/x"] {
        assert!(file(&all, name), "{name}");
    }
    assert!(!all.needs_path());
}

#[test]
fn core_dumps_are_excluded_by_default_and_directories_of_their_names_are_not() {
    let all = defaults();
    for name in ["core", "d/core", "core.1", "core.4711", "core.0.host", "vmcore.core", ".core"] {
        assert!(!file(&all, name), "{name}");
        assert!(directory(&all, name), "{name}");
    }
    for name in [
        "core.log",
        "core.",
        "core-1",
        "score",
        "cores",
        "core.a1",
        "core/a.log",
        "core.1/a.log",
        "hardcore.log",
    ] {
        assert!(file(&all, name), "{name}");
    }
    assert_eq!(
        all.refusal_of_file(b"core.12", b"d/core.12"),
        Some(Refused::Excluded("core.[0-9]*"))
    );
    assert_eq!(all.refusal_of_directory(b"core", b"src/core"), None);
    assert!(!all.needs_path());
}

#[test]
fn user_excludes_add_to_the_default_ones() {
    let both = Patterns::new(&[], &["*.tmp".to_owned()], true).unwrap();
    assert!(!file(&both, "a.tmp") && !file(&both, "a.gz") && file(&both, "a.log"));
}

#[test]
fn a_glob_without_slash_matches_the_name_at_any_depth() {
    let logs = patterns(&["*.log"], &[]);
    assert!(
        file(&logs, "a.log")
            && file(&logs, "d/e/a.log")
            && !file(&logs, "a.log.1")
            && !file(&logs, "a.log/b")
    );
    assert!(!logs.needs_path());
    assert!(logs.accepts_file(b"a.log", b""), "the path is not needed");
}

#[test]
fn a_file_is_included_when_any_include_matches() {
    let two = patterns(&["*.log", "d/*.out"], &[]);
    assert!(file(&two, "x/a.log") && file(&two, "d/a.out") && !file(&two, "a.out"));
}

#[test]
fn includes_have_no_say_about_directories() {
    let logs = patterns(&["*.log", "d1/*.out"], &[]);
    assert!(directory(&logs, "d2") && directory(&logs, "d1/deep"));
}

#[test]
fn exclude_wins_over_include() {
    let both = patterns(&["*.log"], &["debug*"]);
    assert!(file(&both, "a.log") && !file(&both, "debug.log"));
}

#[test]
fn a_glob_with_slash_matches_the_path_below_path_with_and_without_a_leading_slash() {
    for glob in ["d1/*.log", "/d1/*.log"] {
        let logs = patterns(&[glob], &[]);
        assert!(logs.needs_path());
        assert!(
            file(&logs, "d1/a.log") && !file(&logs, "a.log") && !file(&logs, "x/d1/a.log"),
            "{glob}"
        );
    }
    let top = patterns(&["/*.log"], &[]);
    assert!(file(&top, "a.log") && !file(&top, "d/a.log"));
}

#[test]
fn one_star_and_question_mark_do_not_cross_a_slash_and_two_stars_do() {
    assert!(!file(&patterns(&["d/*.log"], &[]), "d/e/a.log"));
    assert!(!file(&patterns(&["d?a.log/*"], &[]), "d/a.log/x"));
    assert!(!file(&patterns(&["/d?a.log"], &[]), "d/a.log"));
    let deep = patterns(&["d/**/a.log"], &[]);
    assert!(file(&deep, "d/a.log") && file(&deep, "d/e/f/a.log") && !file(&deep, "e/a.log"));
    let any = patterns(&["**/a.log"], &[]);
    assert!(file(&any, "a.log") && file(&any, "x/y/a.log"));
}

#[test]
fn a_user_exclude_prunes_directories_by_name_at_any_depth() {
    let pruned = patterns(&[], &["d1", "*.bak"]);
    assert!(
        !directory(&pruned, "d1") && !directory(&pruned, "x/d1") && !directory(&pruned, "old.bak")
    );
    assert!(
        directory(&pruned, "d10") && !file(&pruned, "x/d1"),
        "a file of that name is excluded too"
    );
}

#[test]
fn two_stars_at_the_end_of_an_exclude_prune_the_directory_and_everything_below_it() {
    let pruned = patterns(&[], &["d1/**"]);
    assert!(
        !directory(&pruned, "d1") && !directory(&pruned, "d1/x") && !directory(&pruned, "d1/x/y")
    );
    assert!(!file(&pruned, "d1/a.log") && !file(&pruned, "d1/x/a.log"));
    assert!(file(&pruned, "d1"), "a file called d1 has nothing below it");
    assert!(directory(&pruned, "x/d1") && directory(&pruned, "d10") && file(&pruned, "x/d1/a.log"));
    let anywhere = patterns(&[], &["**/tmp/**"]);
    assert!(
        !directory(&anywhere, "tmp")
            && !directory(&anywhere, "a/b/tmp")
            && !file(&anywhere, "a/tmp/x")
    );
}

#[test]
fn a_slash_at_the_end_of_an_exclude_means_directories_only() {
    let anywhere = patterns(&[], &["**/tmp/"]);
    assert!(
        !directory(&anywhere, "tmp")
            && !directory(&anywhere, "a/tmp")
            && file(&anywhere, "tmp")
            && file(&anywhere, "a/tmp")
    );
    let by_name = patterns(&[], &["tmp/"]);
    assert!(
        !directory(&by_name, "tmp") && !directory(&by_name, "a/tmp") && file(&by_name, "a/tmp")
    );
    assert!(!by_name.needs_path());
    let at_the_top = patterns(&[], &["/tmp/"]);
    assert!(!directory(&at_the_top, "tmp") && directory(&at_the_top, "a/tmp"));
    let below_only = patterns(&[], &["d1/**/"]);
    assert!(
        directory(&below_only, "d1")
            && !directory(&below_only, "d1/x")
            && file(&below_only, "d1/a.log")
    );
}

#[test]
fn a_slash_at_the_end_of_an_include_means_every_file_below_such_a_directory() {
    let by_name = patterns(&["jobs/"], &[]);
    assert!(
        file(&by_name, "jobs/a")
            && file(&by_name, "x/jobs/y/a")
            && !file(&by_name, "jobs")
            && !file(&by_name, "x/a")
    );
    let by_path = patterns(&["x/jobs/"], &[]);
    assert!(file(&by_path, "x/jobs/a") && !file(&by_path, "jobs/a"));
    assert!(by_name.needs_path() && by_path.needs_path());
}

#[test]
fn an_exclude_of_everything_accepts_nothing() {
    for glob in ["*", "**", "/**"] {
        let nothing = patterns(&[], &[glob]);
        assert!(
            !file(&nothing, "a")
                && !file(&nothing, "d/a")
                && !directory(&nothing, "d")
                && !directory(&nothing, "d/e")
        );
    }
}

#[test]
fn globs_are_made_lexically_normal_before_they_are_compiled() {
    for glob in [
        "d1//*.log",
        "./d1/*.log",
        "d1/./*.log",
        "x/../d1/*.log",
        "//d1/x/y/../../*.log",
        "{a,b}/../d1/*.log",
    ] {
        let logs = patterns(&[glob], &[]);
        assert!(file(&logs, "d1/a.log") && !file(&logs, "a.log"), "{glob}");
        let pruned = patterns(&[], &[glob]);
        assert!(!file(&pruned, "d1/a.log") && file(&pruned, "a.log"), "{glob}");
    }
    for glob in ["d1//", "d1/./", "./d1/", "a/../d1//"] {
        let pruned = patterns(&[], &[glob]);
        assert!(!directory(&pruned, "d1") && file(&pruned, "d1"), "{glob}");
    }
    assert!(
        !file(&patterns(&["./*.log"], &[]), "d/a.log"),
        "a dot and a slash still mean the path"
    );
}

#[test]
fn braces_may_hold_slashes_and_nothing() {
    let logs = patterns(&["{d1/x,d2}/*.log{,.1}"], &[]);
    assert!(file(&logs, "d1/x/a.log") && file(&logs, "d2/a.log.1") && !file(&logs, "d1/a.log"));
}

#[test]
fn names_match_by_bytes_whatever_the_bytes() {
    let logs = patterns(&["*.log", "?x", "sub/**"], &["*é*"]);
    assert!(
        file(&logs, b"\xff\xfe.log")
            && file(&logs, b"a\nb.log")
            && file(&logs, b"d/\xffx")
            && file(&logs, b"sub/\xff/\n")
    );
    assert!(
        !file(&logs, "caf\u{e9}.log")
            && !file(&logs, b"\xff")
            && file(&logs, "-.log")
            && file(&logs, " .log")
    );
    let deep = patterns(&["*/\u{65e5}*.log"], &[]);
    assert!(file(&deep, "d/\u{65e5}\u{672c}.log"));
}

#[test]
fn names_that_end_in_dots_match_like_all_others() {
    let dots = patterns(&["job.", "**/end..", "x...", "d/*."], &[]);
    assert!(
        file(&dots, "job.")
            && file(&dots, "a/end..")
            && file(&dots, "d/x...")
            && file(&dots, "d/...")
    );
}

#[test]
fn a_backslash_takes_the_next_character_as_it_is() {
    let stars = patterns(&[r"\*.log", r"d/\[a\]"], &[]);
    assert!(
        file(&stars, "*.log")
            && file(&stars, "d/[a]")
            && !file(&stars, "a.log")
            && !file(&stars, "d/a")
    );
}

#[test]
fn a_refusal_names_the_glob_as_it_was_written() {
    let both =
        Patterns::new(&["*.log".to_owned()], &["/d1/./x*".to_owned(), "tmp/".to_owned()], true)
            .unwrap();
    assert_eq!(both.refusal_of_file(b"xa.log", b"d1/xa.log"), Some(Refused::Excluded("/d1/./x*")));
    assert_eq!(both.refusal_of_file(b"a.log.gz", b"a.log.gz"), Some(Refused::Excluded("*.gz")));
    assert_eq!(both.refusal_of_file(b"a.out", b"d1/a.out"), Some(Refused::NotIncluded));
    assert_eq!(both.refusal_of_file(b"a.log", b"d1/a.log"), None);
    assert_eq!(both.refusal_of_directory(b"tmp", b"d1/tmp"), Some(Refused::Excluded("tmp/")));
    assert_eq!(both.refusal_of_directory(b"d1", b"d1"), None);
}

#[test]
fn a_bad_glob_is_named_with_its_setting_and_the_reason() {
    let bad = error(&["*.log", "a[b"], &[]);
    assert_eq!((bad.key, bad.glob.as_str()), ("include", "a[b"));
    assert_eq!(bad.to_string(), "glob `a[b`: unclosed character class; missing ']'");
    let bad = error(&[], &["d//{a,b"]);
    assert_eq!((bad.key, bad.glob.as_str()), ("exclude", "d//{a,b"));
    assert!(bad.reason.contains("missing '}'"), "{bad}");
    assert!(error(&[r"a\"], &[]).reason.contains("dangling"));
    assert!(error(&["[z-a]"], &[]).reason.contains("range"));
}

#[test]
fn a_glob_that_cannot_match_anything_below_path_is_refused() {
    for glob in ["", "/", ".", "./", "a/.."] {
        assert_eq!(error(&[glob], &[]).reason, "names nothing below PATH", "{glob:?}");
    }
    for glob in ["..", "../a", "a/../../b", "/../a"] {
        assert_eq!(error(&[], &[glob]).reason, "leads out of PATH", "{glob:?}");
    }
    for glob in ["**/../a", "{a/b,c}/../d"] {
        assert!(error(&[], &[glob]).reason.contains("not certain"), "{glob:?}");
    }
}

#[test]
fn a_class_beyond_ascii_is_refused_because_it_would_match_half_a_character() {
    for glob in ["[é].log", "[a-ü]", "[!é]", "[]é]", "x[a]y[é]"] {
        assert!(error(&[glob], &[]).reason.contains("ASCII"), "{glob}");
    }
    for glob in ["é[a]é", r"\[é]", "[a]é[b]", "[]]é"] {
        patterns(&[glob], &[]);
    }
}

#[test]
fn any_text_gives_globs_or_an_error() {
    let letters = ['a', '*', '?', '[', ']', '{', '}', ',', '/', '.', '\\', '!', 'é'];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut glob = String::new();
        for _ in 0..8 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            glob.push(letters[(state >> 33) as usize % letters.len()]);
        }
        if let Ok(patterns) =
            Patterns::new(std::slice::from_ref(&glob), std::slice::from_ref(&glob), false)
        {
            let is_found = directory(&patterns, "a") && file(&patterns, "a/b.log");
            assert!(!is_found, "what is excluded by {glob} is not included by it");
        }
    }
}
