//! Paths as bytes: their components, the directory above, and absolute paths.
//!
//! In: paths. Out: paths.
//! Always holds: nothing here accesses the file system.

/// The names in a path, in order; `..` is one of them.
pub(in crate::engine) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

pub(in crate::engine) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.is_empty() && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Goes from a directory to the one above it. There must be no link on the path. The empty path is
/// the current directory.
pub(in crate::engine) fn up(path: &mut Vec<u8>) {
    if path.is_empty() || *path == b".." || path.ends_with(b"/..") {
        *path = join(path, b"..");
    } else {
        let end = memchr::memrchr(b'/', path).unwrap_or(0);
        path.truncate(end.max(usize::from(path.starts_with(b"/"))));
    }
}

/// The directories above an absolute path, the nearest first.
pub(super) fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let end = memchr::memrchr(b'/', rest)?;
        let is_root = end == 0;
        let here = &rest[..end.max(1)];
        rest = if is_root { b"" } else { here };
        Some(here)
    })
    .filter(move |here| here.len() < path.len())
}

/// The absolute path of a path that is relative to `base`; nothing if the base is not known.
pub(in crate::engine) fn absolute(base: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    if path.starts_with(b"/") {
        return Some(path.to_vec());
    }
    if base.is_empty() {
        return None;
    }
    let mut whole = base.to_vec();
    for name in components(path) {
        if name == b".." { up(&mut whole) } else { whole = join(&whole, name) }
    }
    Some(whole)
}

pub(super) fn or_dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_up_ends_at_the_root_and_leaves_the_current_directory() {
        for (path, wanted) in [
            ("/a/b", "/a"),
            ("/a", "/"),
            ("/", "/"),
            ("a/b", "a"),
            ("a", ""),
            ("", ".."),
            ("..", "../.."),
            ("..a", ""),
        ] {
            let mut path = path.as_bytes().to_vec();
            up(&mut path);
            assert_eq!(path, wanted.as_bytes());
        }
    }

    #[test]
    fn what_is_above_a_path_ends_with_the_root() {
        let names = |path: &'static str| {
            above(path.as_bytes())
                .map(|path| String::from_utf8_lossy(path).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("/a/b/c"), ["/a/b", "/a", "/"]);
        assert_eq!(names("/a"), ["/"]);
        assert!(names("/").is_empty());
    }

    #[test]
    fn a_relative_path_lies_below_its_base() {
        assert_eq!(absolute(b"/x/y", b"../a").as_deref(), Some(b"/x/a".as_slice()));
        assert_eq!(absolute(b"/x/y", b"").as_deref(), Some(b"/x/y".as_slice()));
        assert_eq!(absolute(b"", b"a"), None);
        assert_eq!(absolute(b"", b"/a").as_deref(), Some(b"/a".as_slice()));
    }
}
