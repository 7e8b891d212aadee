//! Numbers in decimal and in hex, without the formatting machinery of `write!`.
//!
//! In: a number. Out: its digits.
//! Always holds: there are no leading zeros.

pub(super) fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

/// The two digits of each number below 100.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number: u8 = 0;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

/// The two digits of a number below 100.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "it is below 100")]
pub(super) fn digit_pair(number: u64) -> [u8; 2] {
    DIGIT_PAIRS[number as usize]
}

/// Writes a number to the end of `digits` and returns where it begins. Each record contains one, so
/// this is faster than `write!`. u64::MAX has 20 digits.
#[inline]
pub(super) fn write_decimal(mut number: u64, digits: &mut [u8; 20]) -> usize {
    let mut at = digits.len();
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&digit_pair(number % 100));
        number /= 100;
    }
    let [tens, ones] = digit_pair(number);
    digits[at - 1] = ones;
    if number < 10 {
        return at - 1;
    }
    digits[at - 2] = tens;
    at - 2
}

pub(super) fn push_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let at = write_decimal(number, &mut digits);
    out.extend_from_slice(&digits[at..]);
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest four bits are meant")]
fn lowest_hex_digit(number: u64) -> u8 {
    hex_digit(number as u8 & 15)
}

/// Appends a number in hex, lower case, without leading zeros.
pub(super) fn push_hex(number: u64, out: &mut Vec<u8>) {
    // 0 also has one digit.
    let digits = (u64::BITS - (number | 1).leading_zeros()).div_ceil(4);
    out.extend((0..digits).rev().map(|at| lowest_hex_digit(number >> (at * 4))));
}
