//! The resolver's settings in a static binary.

/// Looks host names up in hosts(5) and DNS only, whatever nsswitch.conf(5) says. The C library of a
/// static binary has these two built in; for others it would load modules of this system, which are
/// made for another C library, and crash in them.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(unsafe_code, reason = "a libc call")]
pub fn use_built_in_resolver() {
    unsafe extern "C" {
        /// glibc, nss/nss_database.c: replaces what nsswitch.conf says of one database, for as long
        /// as the process lives.
        fn __nss_configure_lookup(
            database: *const nix::libc::c_char,
            services: *const nix::libc::c_char,
        ) -> nix::libc::c_int;
    }
    // SAFETY: both strings end with NUL and are only read; called before any other thread could
    // exist.
    let result = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    assert!(result == 0, "the database and both services exist");
}

/// A binary that shares the system's C library does as nsswitch.conf(5) says.
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub fn use_built_in_resolver() {}
