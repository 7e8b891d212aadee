//! Finds, with vector instructions, how many bytes at the front of a text need no escape.
//!
//! In: bytes, and a test for special ones. Out: a number of bytes.
//! Always holds: none of that many bytes is special.

/// How many bytes at the front are not special: all of them, or a part that was quick to find.
#[inline]
pub(super) fn plain_len(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    match bytes.len() {
        0..8 => bytes.iter().position(|&byte| is_special(byte)).unwrap_or(bytes.len()),
        8..32 => plain_chunks_len::<8>(bytes, is_special),
        _ => plain_chunks_len::<32>(bytes, is_special),
    }
}

/// The same by chunks. The last chunk overlaps the one before it.
#[inline]
fn plain_chunks_len<const N: usize>(bytes: &[u8], is_special: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let from = at.min(bytes.len() - N);
        let Some(chunk) = bytes[from..].first_chunk::<N>() else { return at };
        // Two steps without a branch, which the compiler turns into vector instructions.
        let special: [u8; N] = std::array::from_fn(|at| u8::from(is_special(chunk[at])));
        if special.iter().fold(0, |any, one| any | one) != 0 {
            return at;
        }
        at = from + N;
    }
    bytes.len()
}
