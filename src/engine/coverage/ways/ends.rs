//! Where ways end: other spellings of a PATH, for those who ask about what is below it; and whether
//! a change of that is told.

use super::Ways;

impl Ways {
    /// Whether events tell when what a PATH leads to changes.
    pub(in crate::engine) fn is_told(&self, root: usize) -> bool {
        self.ways.get(root).is_some_and(|(way, _)| way.as_ref().is_some_and(|way| way.is_told))
    }

    /// The current directory as it was when a PATH was walked to, and where that ended, relative to
    /// it. Empty: not known.
    pub(in crate::engine) fn end_of(&self, root: usize) -> (&[u8], &[u8]) {
        let way = self.ways.get(root).and_then(|(way, _)| way.as_ref());
        way.map_or((b"", b""), |way| (&way.base, &way.real))
    }

    /// The path of the state directory, and where it led.
    pub(in crate::engine) fn state_directory(&self) -> Option<(&[u8], &[u8])> {
        let (path, way, _) = self.state.as_ref()?;
        Some((path, way.as_ref().map_or(path, |way| &way.real)))
    }
}
