//! Settings that are refused, with the place where they were given.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_a_file_cannot_say_is_refused_with_file_line_and_key() {
    let durations = "expected numbers with the units us, ms, s, min, h or d, as in 500ms; only 0 \
        may stand alone";
    for (text, expected) in [
        ("coalsce = '1ms'", "main.toml:1: coalsce: unknown key; did you mean `coalesce`?"),
        (
            "\nmax-line-bytes = 1",
            "main.toml:2: max-line-bytes: unknown key; did you mean `max_line_bytes`?",
        ),
        ("inputs = 1", "main.toml:1: inputs: unknown key; did you mean `input`?"),
        ("config = 'x'", "main.toml:1: config: unknown key"),
        ("[output]", "main.toml:1: output: expected a string, not a table"),
        ("format = 'xml'", "main.toml:1: format: `xml`: expected raw, text, json, syslog"),
        ("coalesce = 5", &format!("main.toml:1: coalesce: `5`: {durations}")),
        (
            "coalesce = true",
            "main.toml:1: coalesce: expected a number, or a string with a number and its unit, not \
            true or false",
        ),
        (
            "max_line_bytes = 1.5",
            "main.toml:1: max_line_bytes: expected a number, or a string with a number and its \
            unit, not a fraction",
        ),
        ("max_line_bytes = 9999999999999999999", "main.toml:1: max_line_bytes: too large"),
        (
            "once = 'true'",
            "main.toml:1: once: expected true or false, without quotes, not a string",
        ),
        (
            "recursive = 1",
            "main.toml:1: recursive: expected true or false, without quotes, not an integer",
        ),
        (
            "include = '*'",
            "main.toml:1: include: expected a list of strings, as in [\"a\", \"b\"], not a string",
        ),
        (
            "include = [\n'a',\n1]",
            "main.toml:3: include: expected a list of strings, as in [\"a\", \"b\"], not an \
            integer",
        ),
        (
            "output = 'tcp:h'",
            "main.toml:1: output: `tcp:h`: expected a host name or address and a port, as in \
            tcp:localhost:5140 or tcp:[::1]:5140",
        ),
        ("state_dir = ''", "main.toml:1: state_dir: is empty"),
        ("paths = []", "main.toml:1: paths: at least one path is needed"),
        (
            "paths = 1979-05-27",
            "main.toml:1: paths: expected a list of strings, as in [\"a\", \"b\"], not a date",
        ),
        ("a = 1\na = 2", "main.toml:2: a: duplicate key"),
        (
            "[input]\npaths = ['D']",
            "main.toml:1: input: expected tables, each under a line [[input]]",
        ),
        ("input = [1]", "main.toml:1: input: expected tables, each under a line [[input]]"),
        ("[[input]]\nfrom = 'end'", "main.toml:1: input: `paths` is missing"),
        (
            "[[input]]\npaths = ['D']\nformat = 'raw'",
            "main.toml:3: format: is one for all inputs: write it before the first table",
        ),
        (
            "[[input]]\npaths = ['D']\ninclde = ['*']",
            "main.toml:3: inclde: unknown key; did you mean `include`?",
        ),
        (
            "[[input]]\npaths = ['D']\nfrom = 'middle'",
            "main.toml:3: from: `middle`: expected beginning, end",
        ),
        (
            "labels = 'a'",
            "main.toml:1: labels: expected a table of strings, as in { cluster = \"a\" }, not a \
            string",
        ),
        ("[labels]\na = 'b'\nb = 1", "main.toml:3: labels.b: expected a string, not an integer"),
        ("labels = { '' = 'b' }", "main.toml:1: labels.: the name of a label is empty"),
    ] {
        assert_eq!(file(text).refusal(&["D"]), expected, "{text}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused_where_it_was_said() {
    for (text, arguments, expected) in [
        (
            "paths = ['D']\nonce = true\nfrom = 'end'",
            &[][..],
            "main.toml:2: once: contradicts `from` = `end`: one reads what is there, the other \
            skips it (main.toml:3)",
        ),
        (
            "from = 'end'",
            &["--once", "D"],
            "--once: contradicts `from` = `end`: one reads what is there, the other skips it \
            (main.toml:1)",
        ),
        (
            "once = true\n[[input]]\npaths = ['A']\n[[input]]\npaths = ['B']\nfrom = 'end'",
            &[],
            "main.toml:1: once: contradicts `from` = `end`: one reads what is there, the other \
            skips it (main.toml:6)",
        ),
        (
            "paths = ['D']\n[[input]]\npaths = ['E']",
            &[],
            "main.toml:1: paths: contradicts the [[input]] table at main.toml:2: write another \
            table for these paths",
        ),
        (
            "paths = ['D']\nmax_line_bytes = 0",
            &[],
            "main.toml:2: max_line_bytes: must be between 1 byte and 1GiB, not 0 bytes",
        ),
        (
            "[[input]]\npaths = ['A']\n[[input]]\npaths = ['B']\ninclude = [\n'*.log',\n'[a']",
            &[],
            "main.toml:7: include: glob `[a`: unclosed character class; missing ']'",
        ),
        (
            "paths = ['D',\n'']",
            &[],
            "main.toml:2: paths: a PATH is empty; write . for the current directory",
        ),
        (
            "[[input]]\npaths = ['A']\n[[input]]\npaths = ['B']\ncarriage_return = 'latest'",
            &[],
            "main.toml:5: carriage_return: `latest` needs a format that can say what ends a record, \
            and the format is text: set `format = \"json\"`, or leave this out",
        ),
        (
            "paths = ['D']\nformat = 'raw'\ncarriage_return = 'split'",
            &[],
            "main.toml:3: carriage_return: `split` needs a format that can say what ends a record, \
            and the format is raw: set `format = \"json\"`, or leave this out",
        ),
        (
            "paths = ['D']\njob = '(?P<id>a)(?P<uid>b)'\nuid = true",
            &[],
            "main.toml:2: job: has a group `uid`, and `uid = true` adds a field of this name: \
            rename the group, or leave one of the two out",
        ),
        (
            "",
            &[],
            "main.toml: nothing to follow: it needs `paths` or an [[input]] table, or the command \
            line a PATH",
        ),
    ] {
        assert_eq!(file(text).refusal(arguments), expected, "{text}");
    }
}

#[test]
fn ends_of_logs_are_refused_where_records_have_no_place_for_them() {
    for (text, key, format) in [
        ("paths = ['D']\nend = '0'\nend_idle = '6h'", "end_idle", "text"),
        ("paths = ['D']\nformat = 'syslog'\nend = '5s'", "end", "syslog"),
    ] {
        assert_eq!(
            file(text).refusal(&[]),
            format!(
                "main.toml:3: {key}: needs a format whose records can tell more than a line, and \
                the format is {format}: set `format = \"json\"`, or leave this out"
            )
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_refused_with_their_name() {
    assert_eq!(
        Surroundings::new(&[]).refusal(&[]),
        "main.toml: cannot read the settings: No such file or directory (os error 2)"
    );
    let directory = Surroundings::new(&[("main.toml", "paths = ['D']")]);
    fs::create_dir(directory.path("conf.d/10.toml")).unwrap();
    assert_eq!(
        directory.refusal(&[]),
        "conf.d/10.toml: cannot read the settings: it is no regular file"
    );
    let latin = Surroundings::new(&[]);
    fs::write(latin.path("main.toml"), b"\n# \xe4\n").unwrap();
    assert_eq!(latin.refusal(&[]), "main.toml:2: is not UTF-8");
    let long = file(&"#".repeat((1 << 20) + 1));
    assert_eq!(long.refusal(&[]), "main.toml: cannot read the settings: it is longer than 1MiB");
}

#[test]
fn a_fifo_in_a_file_s_place_is_not_waited_for() {
    let surroundings = Surroundings::new(&[]);
    nix::unistd::mkfifo(&surroundings.path("main.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        surroundings.refusal(&[]),
        "main.toml: cannot read the settings: it is no regular file"
    );
}

#[test]
fn a_file_of_more_inputs_than_there_may_be_is_refused_at_the_first_too_many() {
    let tables = |count: usize| {
        (0..count).map(|at| format!("[[input]]\npaths = ['{at}']\n")).collect::<String>()
    };
    assert_eq!(file(&tables(256)).settings(&[]).config.engine.inputs.len(), 256);
    assert_eq!(
        file(&tables(257)).refusal(&[]),
        "main.toml:513: input: there are 257 inputs, 256 is the limit"
    );
}

#[test]
fn what_a_variable_cannot_say_is_refused_with_its_name() {
    for (variable, value, expected) in [
        ("MANYTAIL_FORMAT", "xml", "MANYTAIL_FORMAT: `xml`: expected raw, text, json, syslog"),
        (
            "MANYTAIL_MAX_LINE_BYTES",
            "0",
            "MANYTAIL_MAX_LINE_BYTES: must be between 1 byte and 1GiB, not 0 bytes",
        ),
        ("MANYTAIL_ONCE", "1", "MANYTAIL_ONCE: expected true or false"),
        ("MANYTAIL_RECURSIVE", "", "MANYTAIL_RECURSIVE: is empty: unset it, or say a value"),
        (
            "MANYTAIL_INCLUDE",
            "a:[b",
            "MANYTAIL_INCLUDE: glob `[b`: unclosed character class; missing ']'",
        ),
        (
            "MANYTAIL_PATHS",
            "a::b",
            "MANYTAIL_PATHS: a PATH is empty; write . for the current directory",
        ),
    ] {
        assert_eq!(
            file("").with(variable, value).refusal(if variable == "MANYTAIL_PATHS" {
                &[]
            } else {
                &["D"]
            }),
            expected
        );
    }
}

#[test]
fn all_that_is_wrong_in_files_and_variables_is_refused_at_once() {
    let surroundings = Surroundings::new(&[
        (
            "main.toml",
            "pathes = ['D']\nformat = 'xml'\ncoalesce = '5 parsecs'\n[[input]]\npaths = []\n",
        ),
        ("conf.d/a.toml", "output = 'nowhere'\n[labels]\na = 1\n"),
        ("conf.d/b.toml", "this is no TOML\n"),
    ])
    .with("MANYTAIL_PACE", "soon");
    let refusal = surroundings.refusal(&[]);
    for word in [
        "MANYTAIL_PACE",
        "main.toml:1",
        "main.toml:2",
        "main.toml:3",
        "main.toml:5",
        "a.toml:1",
        "a.toml:3",
        "b.toml:1",
    ] {
        assert!(refusal.contains(word), "{word}: {refusal}");
    }
    let misfits = file(
        "max_line_bytes = 0\n[[input]]\npaths = ['']\n[[input]]\npaths = ['D']\ninclude = ['[']\n",
    )
    .refusal(&[]);
    for line in ["main.toml:1", "main.toml:3", "main.toml:6"] {
        assert!(misfits.contains(line), "{line}: {misfits}");
    }
}
