//! Which files and directories are followed: include and exclude globs over names and paths.
/// Include and exclude globs.
#[derive(Debug)]
pub struct Patterns;
