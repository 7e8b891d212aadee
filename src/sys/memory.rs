//! The allocator's settings: tables that grew and were replaced go back to the system.

/// Keeps large allocations in mappings of their own: glibc otherwise raises its threshold after the
/// first such free, and outgrown tables then stay in the heap as holes (mallopt(3),
/// `M_MMAP_THRESHOLD`). Costs nothing on a steady state that allocates nothing.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt is a libc call")]
pub fn return_large_blocks() {
    const THRESHOLD_BYTES: nix::libc::c_int = 128 * 1024;
    // SAFETY: takes two integers; called before any other thread could exist.
    unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, THRESHOLD_BYTES) };
}

/// Other C libraries map large blocks one by one anyway.
#[cfg(not(target_env = "gnu"))]
pub fn return_large_blocks() {}
