//! The tables of files, directories, their names, and the rules that apply to them.
//!
//! In: what the other rooms find out. Out: slots and directories, found by name, identity or watch.
//! Always holds: these tables only compute and never call the kernel; a file costs 64 bytes and its
//! name.

pub(super) mod inputs;
pub(super) mod registry;
pub(super) mod tree;
