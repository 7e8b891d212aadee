//! The tables: files and directories, the names they have, the rules that hold there.
//!
//! In: what the other rooms learn. Out: slots and directories, found by name, identity or watch.
//! Always holds: these tables compute and ask nobody; 64 bytes per file and its name.

pub(super) mod inputs;
pub(super) mod registry;
pub(super) mod tree;
