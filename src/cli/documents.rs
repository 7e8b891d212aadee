//! Texts to print: the manual pages, and completions for shells.
//!
//! In: the options as clap knows them, the sections of manual.roff, and the pages that
//! `scripts/man` made from dist/doc. Out: bytes for stdout.
//! Always holds: each command and option is in manytail(1), whoever added it, and so are the
//! examples of its help.

use std::io;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{Arguments, one_of};

/// When the page last changed in substance: `TH` wants a day, and a page that is made twice is to
/// be the same.
const MANUAL_DAY: &str = "2026-11-29";

const DESCRIPTION: &str = include_str!("description.roff");
const SECTIONS: &str = include_str!("manual.roff");

/// What [`MANUAL`] calls the page that is made here.
const OWN_PAGE: &str = "manytail.1";

/// The manual pages by their names as files, with the name that man(1) would take, if it means no
/// other page; those from dist/doc with their text.
const MANUAL: [(&str, Option<&str>, Option<&str>); 3] = [
    (OWN_PAGE, Some("manytail"), None),
    (
        "manytail.toml.5",
        Some("manytail.toml"),
        Some(include_str!("../../dist/man/manytail.toml.5")),
    ),
    ("manytail.7", None, Some(include_str!("../../dist/man/manytail.7"))),
];

/// The one of the keyboard, groff_char(7).
const APOSTROPHE: &str = "\\(aq";

const SHELLS: [(&str, Shell); 3] =
    [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Exit codes: 0 done, 1 failed, 2 bad usage.

Examples:
  manytail completions bash > /usr/share/bash-completion/completions/manytail
  manytail completions zsh > /usr/share/zsh/vendor-completions/_manytail
  manytail completions fish > /usr/share/fish/vendor_completions.d/manytail.fish";

pub(super) const MAN_EXAMPLES: &str = "\
manytail.1: commands and options; manytail.toml.5: options and settings in full, globs, reloading; \
manytail.7: records, guarantees, \
security, operation. `manytail` and `manytail.toml` name the first two as well.
Exit codes: 0 done, 1 failed, 2 bad usage.

Examples:
  manytail man | man -l -
  manytail man manytail.toml.5 | man -l -
  manytail man > /usr/share/man/man1/manytail.1";

/// The options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(super) struct CompletionsOptions {
    /// For which shell
    #[arg(value_name = "bash|zsh|fish", value_parser = one_of(&SHELLS), hide_possible_values = true)]
    shell: Shell,
}

/// The options of `man`.
#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(super) struct ManOptions {
    /// Which page
    #[arg(value_name = "PAGE", default_value = OWN_PAGE, value_parser = page())]
    page: String,
}

/// The name of a manual page, or its other one.
fn page() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(
        MANUAL.iter().map(|(name, other, _)| PossibleValue::new(*name).aliases(*other)),
    )
}

/// The manual page that is asked for, roff with the man(7) macros.
pub(super) fn man(options: &ManOptions) -> Vec<u8> {
    let is_meant = |name: &str, other: Option<&str>| {
        options.page == name || Some(options.page.as_str()) == other
    };
    let (_, _, text) = MANUAL
        .iter()
        .find(|(name, other, _)| is_meant(name, *other))
        .expect("clap lets only these names through");
    text.map_or_else(manual, |text| text.as_bytes().to_vec())
}

/// The script that a shell reads to complete our command lines.
pub(super) fn completions(options: &CompletionsOptions) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "manytail", &mut script);
    script
}

/// manytail(1).
fn manual() -> Vec<u8> {
    // Every page and every help has them; the manual has them once, in the sections.
    let mut program = Arguments::command()
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true);
    program.build();
    let commands = leaves(&program);

    let page = Man::new(program.clone()).title("MANYTAIL").date(MANUAL_DAY).manual("User Commands");
    let mut text = Vec::new();
    render(&mut text, |out| page.render_title(out));
    render(&mut text, |out| page.render_name_section(out));

    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    for (at, command) in commands.iter().enumerate() {
        if at > 0 {
            synopsis.control("br", []);
        }
        synopsis.text(usage(command));
    }
    text.extend(synopsis.to_roff().bytes());
    text.extend(DESCRIPTION.bytes());

    text.extend(b".SH COMMANDS\n");
    for command in &commands {
        push_command(&mut text, command, &commands[0]);
    }
    text.extend(SECTIONS.bytes());
    push_examples(&mut text, &program);
    text.extend(
        b".SH SEE ALSO\n.BR manytail.toml (5),\n.BR manytail (7),\n.BR tail (1),\n.BR inotify \
            (7),\n.BR systemd.service (5),\n\
          .BR logrotate (8)\n",
    );
    text
}

/// Commands that do something, in their order: `offsets list`, but not `offsets`.
fn leaves(command: &clap::Command) -> Vec<clap::Command> {
    if !command.has_subcommands() {
        return vec![command.clone()];
    }
    command.get_subcommands().flat_map(leaves).collect()
}

/// Appends what clap_mangen writes. Each part of it begins with the definition of a string for the
/// apostrophe, which has a name of its own in all that is not forty years old.
fn render(text: &mut Vec<u8>, write: impl Fn(&mut dyn io::Write) -> io::Result<()>) {
    let mut part = Vec::new();
    write(&mut part).expect("memory takes everything");
    let part = String::from_utf8(part)
        .expect("texts of the command line are UTF-8")
        .replace("\\*(Aq", APOSTROPHE);
    for line in part.lines().filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el ")) {
        // The options of a command are no section of the page; their groups become paragraphs.
        match line.strip_prefix(".SH ") {
            None | Some("NAME") => push_line(text, line),
            Some("OPTIONS") => {}
            Some(heading) => push_line(text, &format!(".PP\n{}:", sentence_case(heading))),
        }
    }
}

fn push_line(text: &mut Vec<u8>, line: &str) {
    text.extend(line.bytes());
    text.push(b'\n');
}

/// `"WHICH FILES"` is what clap_mangen makes of "Which files".
fn sentence_case(heading: &str) -> String {
    let lower = heading.trim_matches('"').to_lowercase();
    lower[..1].to_uppercase() + &lower[1..]
}

/// How a command is called: `manytail run [OPTIONS] PATH...`.
fn usage(command: &clap::Command) -> Vec<Inline> {
    let text = command.clone().render_usage().to_string();
    let text = text
        .trim_start_matches("Usage: ")
        .lines()
        .next()
        .expect("a usage has a line")
        .trim()
        .replace(['<', '>'], "");
    let name = command.get_bin_name().expect("built");
    let rest = text.strip_prefix(name).expect("a usage begins with the name").to_owned();
    vec![bold(name), italic(rest)]
}

/// What a command does, and its options; those of `run` are listed once.
fn push_command(text: &mut Vec<u8>, command: &clap::Command, run: &clap::Command) {
    let has = |command: &clap::Command, option: &clap::Arg| {
        command.get_arguments().any(|other| other.get_id() == option.get_id())
    };
    let takes_more_than_run = command.get_name() != run.get_name()
        && run.get_arguments().all(|option| has(command, option));
    let mut roff = Roff::new();
    roff.control("SS", [command.get_bin_name().expect("built")]);
    let about = command
        .get_long_about()
        .or_else(|| command.get_about())
        .expect("each command says what it does")
        .to_string();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let notes = help.split("Examples:").next().expect("a first part").to_owned();
    for (at, line) in about.lines().chain(notes.lines()).filter(|line| !line.is_empty()).enumerate()
    {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(line)]);
    }
    if takes_more_than_run {
        roff.control("PP", []).text([
            roman("Takes the options of "),
            bold(run.get_bin_name().expect("built")),
            roman(", and:"),
        ]);
    }
    text.extend(roff.to_roff().bytes());
    let told = |option: clap::Arg| {
        let is_hidden = takes_more_than_run && has(run, &option);
        say_values(option).hide(is_hidden)
    };
    let page = Man::new(command.clone().mut_args(told));
    render(text, |out| page.render_options_section(out));
}

/// Puts the possible values into the sentence; clap_mangen would make a list of a line each.
fn say_values(option: clap::Arg) -> clap::Arg {
    let values = option.get_possible_values();
    let names: Vec<&str> = values
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(clap::builder::PossibleValue::get_name)
        .collect();
    match option.get_help() {
        Some(help) if !names.is_empty() && !option.is_hide_possible_values_set() => {
            let help = format!("{help}: {}", names.join(", "));
            option.help(help).hide_possible_values(true)
        }
        _ => option,
    }
}

/// The examples of every help, in the order of the commands.
fn push_examples(text: &mut Vec<u8>, program: &clap::Command) {
    text.extend(b".SH EXAMPLES\n");
    for (at, example) in examples(program).iter().enumerate() {
        let mut roff = Roff::new();
        if at > 0 {
            roff.control("PP", []);
        }
        roff.control("nf", []);
        roff.text([roman(example)]);
        roff.control("fi", []);
        // To be copied: not as a typographer would set it.
        text.extend(roff.to_roff().replace('\'', APOSTROPHE).bytes());
    }
}

/// Every example of a command's help and of those of its commands, each once.
pub(super) fn examples(command: &clap::Command) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if let Some((_, examples)) = help.split_once("Examples:\n") {
        found.extend(examples.lines().map(|line| line.trim().to_owned()));
    }
    for inner in command.get_subcommands() {
        let more = examples(inner)
            .into_iter()
            .filter(|example| !found.contains(example))
            .collect::<Vec<_>>();
        found.extend(more);
    }
    found
}
