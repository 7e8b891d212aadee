//! Numbers for people.
//!
//! In: a count, a number of bytes. Out: a short text.

/// With a comma between thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The nearest floating-point number: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "rates and shares are shown with few digits")]
pub(crate) fn approximate(number: u64) -> f64 {
    number as f64
}

/// The nearest whole number; 0 for negative numbers and NaN.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, as intended"
)]
pub(crate) fn rounded(number: f64) -> u64 {
    number.round() as u64
}

/// Bytes in the largest unit in which the number is at least 1.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut value = approximate(bytes);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// The system's text for an error, without its number.
pub(crate) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Bytes in the largest unit in which the number has at least two digits.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
    let (mut number, mut unit) = (bytes, 0);
    while number >= 10 * 1024 && unit + 1 < UNITS.len() {
        number = number.div_ceil(1024);
        unit += 1;
    }
    format!("{} {}", count(number), UNITS[unit])
}

/// `1 file`, `2 files`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// The `s` of a plural.
pub(crate) fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown = [0, 12, 999, 1_000, 120_334, 1_048_576, 1_234_567].map(count);
        assert_eq!(shown, ["0", "12", "999", "1,000", "120,334", "1,048,576", "1,234,567"]);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            [size(0), size(1023), size(1024), size(150 << 20), size(u64::MAX)],
            ["0 B", "1023 B", "1.0 KiB", "150 MiB", "16.0 EiB"]
        );
    }
}
