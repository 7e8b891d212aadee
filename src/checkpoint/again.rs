//! Bytes of a file that are written over themselves.
//!
//! In: a range of a file. Out: the same bytes, which the next sync makes durable.
//! Always holds: nothing changes. After a failed sync the kernel takes pages for clean that are not
//! on the disk (see [`mod@super::store`]), and a further sync alone would not write them.

use std::io;

/// Bytes of one step.
const STEP_BYTES: usize = 256 * 1024;

/// Writes the bytes from `offset` to `end` again. `step` reads bytes from an offset on, as far as
/// the buffer goes, and writes what it read to the same place. It returns how many bytes it wrote.
pub(super) fn write_again(
    mut offset: u64,
    end: u64,
    mut step: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut buffer = vec![0; STEP_BYTES];
    while offset < end {
        let len = usize::try_from(end - offset).unwrap_or(usize::MAX).min(STEP_BYTES);
        match step(&mut buffer[..len], offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            outcome => offset += outcome? as u64,
        }
    }
    Ok(())
}
