//! What is printed about the options: help, examples, completions, manual pages.

use super::*;

#[test]
fn help_and_version_end_with_success() {
    for arguments in [
        &["manytail", "--help"][..],
        &["manytail", "-h"],
        &["manytail", "--version"],
        &["manytail", "run", "--help"],
    ] {
        let answer = parse(arguments.iter().map(OsString::from), []).unwrap_err();
        assert_eq!(answer.exit_code(), 0, "{arguments:?}");
    }
}

#[test]
fn the_help_says_every_default_on_one_short_line_under_a_heading() {
    let mut arguments = Arguments::command();
    let run = arguments.find_subcommand_mut("run").unwrap();
    for option in run.get_opts() {
        let name = option.get_long().unwrap();
        let help = option.get_help().unwrap().to_string();
        assert!(!help.contains('\n') && help.len() <= 92, "--{name}: {help}");
        assert!(option.get_help_heading().is_some(), "--{name} has no heading");
        let says_default = help.contains("[default: ") || !option.get_default_values().is_empty();
        let is_switch_that_is_off =
            !option.get_action().takes_values() && help.contains("[default: off]");
        assert!(says_default || is_switch_that_is_off, "--{name} does not say its default");
    }
    let help = run.render_help().to_string();
    assert!(help.contains("Examples:") && help.contains("[default: 5ms]"), "{help}");
}

/// The arguments of a line as a shell reads it, up to a pipe or a redirection: blanks separate,
/// single quotes hold together.
fn shell_words(line: &str) -> Vec<OsString> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.into_iter().take_while(|word| word != "|" && word != ">").map(OsString::from).collect()
}

#[test]
fn every_example_of_the_help_is_accepted() {
    let examples = documents::examples(&Arguments::command());
    assert!(examples.len() >= 10, "{examples:?}");
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("manytail.toml");
    std::fs::write(&settings, "paths = ['D']").unwrap();
    for example in examples {
        // `setpriv ... manytail doctor ...`
        let example = example
            .rsplit_once(" manytail ")
            .map_or(example.clone(), |(_, after)| format!("manytail {after}"));
        assert!(example.starts_with("manytail "), "{example}");
        let example = example.replace("/etc/manytail/manytail.toml", settings.to_str().unwrap());
        if let Err(refusal) = parse(shell_words(&example), []) {
            // `top` wants a terminal, and `jobs` the service, which a test may not have.
            let why = refusal.0.to_string();
            assert!(
                why.contains("must be a terminal") || why.contains("there is no /etc/manytail"),
                "{example}: {}",
                refusal.0
            );
        }
    }
}

#[test]
fn every_command_has_examples_in_its_help() {
    fn visit(command: &clap::Command, path: &str) {
        assert!(
            command.get_after_help().is_some_and(|help| help.to_string().contains("Examples:\n")),
            "{path}"
        );
        for inner in command.get_subcommands() {
            visit(inner, &format!("{path} {}", inner.get_name()));
        }
    }
    visit(&Arguments::command(), "manytail");
}

fn printed(arguments: &[&str]) -> String {
    match parse(["manytail"].iter().chain(arguments).map(OsString::from), []).unwrap() {
        Command::Print(text) => String::from_utf8(text).unwrap(),
        _ => unreachable!("a text was asked for"),
    }
}

#[test]
fn completions_know_every_command_and_option_in_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        let mut arguments = Arguments::command();
        for command in arguments.get_subcommands_mut() {
            assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(script.contains(option), "{shell}: --{option}");
            }
        }
    }
    for refused in [&["manytail", "completions"][..], &["manytail", "completions", "tcsh"]] {
        assert_eq!(parse(refused.iter().map(OsString::from), []).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn each_manual_page_can_be_printed_and_another_one_is_refused_with_their_names() {
    assert_eq!(printed(&["man"]), printed(&["man", "manytail.1"]));
    assert_eq!(printed(&["man", "manytail"]), printed(&["man", "manytail.1"]));
    assert_eq!(printed(&["man", "manytail.toml"]), printed(&["man", "manytail.toml.5"]));
    for (page, title) in [
        ("manytail.1", "MANYTAIL 1"),
        ("manytail.toml.5", "\"MANYTAIL.TOML\" \"5\""),
        ("manytail.7", "\"MANYTAIL\" \"7\""),
    ] {
        assert!(
            printed(&["man", page]).lines().any(|line| line.starts_with(&format!(".TH {title} "))),
            "{page}"
        );
    }
    let refusal = parse(["manytail", "man", "manytail.9"].map(OsString::from), []).unwrap_err();
    let text = refusal.to_string();
    assert!(
        refusal.exit_code() == 2
            && ["manytail.9", "manytail.1", "manytail.toml.5", "manytail.7"]
                .iter()
                .all(|name| text.contains(name)),
        "{text}"
    );
}

#[test]
fn the_manual_tells_of_every_command_option_example_and_exit_code() {
    fn visit(command: &clap::Command, path: &str, manual: &str) {
        let is_leaf = !command.has_subcommands();
        assert!(!is_leaf || manual.contains(&format!(".SS \"{path}\"")), "{path}");
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            let option = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(manual.contains(&option), "{path}: {option}");
        }
        for inner in command.get_subcommands() {
            visit(inner, &format!("{path} {}", inner.get_name()), manual);
        }
    }
    let manual = printed(&["man"]);
    visit(&Arguments::command(), "manytail", &manual);
    for section in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "COMMANDS",
        "FILES",
        "SIGNALS",
        "EXIT STATUS",
        "ENVIRONMENT",
        "EXAMPLES",
        "SEE ALSO",
    ] {
        assert_eq!(manual.matches(&format!("\n.SH {section}\n")).count(), 1, "{section}");
    }
    for example in documents::examples(&Arguments::command()) {
        assert!(manual.contains(&example.replace('-', "\\-").replace('\'', "\\(aq")), "{example}");
    }
}
