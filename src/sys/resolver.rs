//! Where a static binary looks names up.
//!
//! In: nothing; called once, at the start. Out: nothing.
//! Always holds: a static binary loads no module of this system.

/// Resolves host names by hosts(5) and DNS only, and users by passwd(5) and group(5), whatever
/// nsswitch.conf(5) says. The C library of a static binary has these built in. For others it would
/// load this system's modules, which are built for another C library, and crash in them.
#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[expect(unsafe_code, reason = "a libc call")]
pub(crate) fn use_built_in_resolver() {
    unsafe extern "C" {
        /// glibc, nss/nss_database.c: overrides nsswitch.conf for one database, for the lifetime of
        /// the process.
        fn __nss_configure_lookup(
            database: *const nix::libc::c_char,
            services: *const nix::libc::c_char,
        ) -> nix::libc::c_int;
    }
    for (database, services) in [
        (c"hosts", c"files dns"),
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"initgroups", c"files"),
    ] {
        // SAFETY: both strings end with NUL and are only read; called before any other thread could
        // exist.
        let result = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        assert!(result == 0, "the database and the services exist");
    }
}

/// A binary that uses the system's C library follows nsswitch.conf(5).
#[cfg(not(all(target_env = "gnu", target_feature = "crt-static")))]
pub(crate) fn use_built_in_resolver() {}
