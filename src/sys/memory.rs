//! The allocator's settings.
//!
//! In: nothing; called once, at the start. Out: nothing.
//! Always holds: outgrown tables are returned to the system.

/// Keeps large allocations in mappings of their own. Otherwise glibc raises its threshold after the
/// first such free, and outgrown tables stay in the heap as holes (mallopt(3), `M_MMAP_THRESHOLD`).
/// Steady work allocates nothing, so this costs nothing there.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt is a libc call")]
pub(crate) fn return_large_blocks() {
    const THRESHOLD_BYTES: nix::libc::c_int = 128 * 1024;
    // SAFETY: takes two integers; called before any other thread could exist.
    unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, THRESHOLD_BYTES) };
}

/// Other C libraries map large blocks one by one anyway.
#[cfg(not(target_env = "gnu"))]
pub fn return_large_blocks() {}
