//! The names of journals in a state directory.
//!
//! In: names in the directory. Out: their numbers; names for new files.
//! Always holds: a name that is not exactly one of ours gives no number.

const PREFIX: &str = "journal.";

/// The end of the name of an unfinished journal.
pub(super) const IN_THE_MAKING: &str = ".new";

/// The name of a complete journal.
pub(super) fn name_of(number: u64) -> String {
    format!("{PREFIX}{number}")
}

/// The name of an unfinished journal.
pub(super) fn making_name_of(number: u64) -> String {
    format!("{PREFIX}{number}{IN_THE_MAKING}")
}

/// The number of a name that begins with `journal.N`, and the rest: nothing, or a dot and what
/// follows it.
pub(super) fn split_name(name: &[u8]) -> Option<(u64, &str)> {
    let rest = std::str::from_utf8(name).ok()?.strip_prefix(PREFIX)?;
    let (digits, suffix) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
    let number = digits.parse::<u64>().ok()?;
    // `+1` and `01` parse as numbers too.
    (number.to_string() == digits).then_some((number, suffix))
}

/// The highest number that any name has; 0 if none has one.
pub(super) fn last_number(names: &[Vec<u8>]) -> u64 {
    names.iter().filter_map(|name| split_name(name)).map(|(number, _)| number).max().unwrap_or(0)
}

/// The numbers of complete journals.
pub(super) fn journals(names: &[Vec<u8>]) -> impl Iterator<Item = u64> + '_ {
    names
        .iter()
        .filter_map(|name| split_name(name))
        .filter(|(_, suffix)| suffix.is_empty())
        .map(|(number, _)| number)
}

/// The name, or the first of `NAME.2`, `NAME.3` and so on that is not taken.
pub(super) fn free_name(first: &str, names: &[Vec<u8>]) -> String {
    let further = (2..).map(|n| format!("{first}.{n}"));
    let is_free = |name: &String| !names.iter().any(|known| known == name.as_bytes());
    std::iter::once(first.to_owned()).chain(further).find(is_free).expect("some number is free")
}
