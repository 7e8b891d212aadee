//! The ends of ways: other spellings of a PATH, for questions about what is below it; and whether a
//! change of the end is reported.
//!
//! In: the ways as they were walked. Out: paths.
//! Always holds: an end that is not known is empty.

use super::Ways;

impl Ways {
    /// Whether events report every change of what a PATH leads to.
    pub(in crate::engine) fn is_reported(&self, root: usize) -> bool {
        self.ways.get(root).is_some_and(|(way, _)| way.as_ref().is_some_and(|way| way.is_reported))
    }

    /// The current directory at the time of the walk, and the end of the way, relative to it.
    /// Empty: not known.
    pub(in crate::engine) fn end_of(&self, root: usize) -> (&[u8], &[u8]) {
        let way = self.ways.get(root).and_then(|(way, _)| way.as_ref());
        way.map_or((b"", b""), |way| (&way.base, &way.real))
    }

    /// The path of the state directory, and where it leads.
    pub(in crate::engine) fn state_directory(&self) -> Option<(&[u8], &[u8])> {
        let (path, way, _) = self.state.as_ref()?;
        Some((path, way.as_ref().map_or(path, |way| &way.real)))
    }
}
