//! Further names of files: hard links, and links that lead to them. They are rare, so slots have no
//! room for them.
//!
//! In: names that come and go. Out: the file of a name, the names of a file, the names in a
//! directory.
//! Always holds: a name stands for one file; no operation takes longer because there are many
//! names.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{NONE, SlotId};
use crate::engine::namespace::tree::DirId;
use crate::names::{NameRef, Names};

/// One name: a link in the list of its file and in that of its directory.
#[derive(Debug)]
struct Alias {
    dir: u32,
    name: NameRef,
    file: SlotId,
    of_file: Links,
    in_dir: Links,
}

/// Neighbours in a list.
#[derive(Debug, Clone, Copy)]
struct Links {
    previous: u32,
    next: u32,
}

/// Both ends of a list.
#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Aliases {
    all: Vec<Alias>,
    free: Vec<u32>,
    names: Names,
    by_name: HashTable<u32>,
    of_file: HashMap<SlotId, Ends>,
    in_dir: HashMap<DirId, Ends>,
    hasher: DefaultHashBuilder,
}

impl Aliases {
    pub(super) fn new() -> Self {
        Aliases {
            all: Vec::new(),
            free: Vec::new(),
            names: Names::new(),
            by_name: HashTable::new(),
            of_file: HashMap::new(),
            in_dir: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    fn place(&self, dir: DirId, name: &[u8]) -> Option<u32> {
        if self.by_name.is_empty() {
            return None;
        }
        let is_it = |&at: &u32| {
            self.all[at as usize].dir == dir.0 && self.names.get(self.all[at as usize].name) == name
        };
        self.by_name.find(self.hasher.hash_one((dir.0, name)), is_it).copied()
    }

    /// The file that has this name.
    pub(super) fn find(&self, dir: DirId, name: &[u8]) -> Option<SlotId> {
        self.place(dir, name).map(|at| self.all[at as usize].file)
    }

    /// Adds a name at the end of a file's names.
    pub(super) fn add(&mut self, file: SlotId, dir: DirId, name: &[u8]) {
        if let Some(known) = self.place(dir, name) {
            if self.all[known as usize].file == file {
                return;
            }
            self.remove_at(known);
        }
        let alone = Links { previous: NONE, next: NONE };
        let alias = Alias {
            dir: dir.0,
            name: self.names.insert(name),
            file,
            of_file: alone,
            in_dir: alone,
        };
        let at = if let Some(at) = self.free.pop() {
            self.all[at as usize] = alias;
            at
        } else {
            self.all.push(alias);
            u32::try_from(self.all.len() - 1)
                .ok()
                .filter(|&at| at < NONE)
                .expect("fewer than 2^32 further names")
        };
        append(
            &mut self.all,
            self.of_file.entry(file).or_insert(Ends { first: NONE, last: NONE }),
            at,
            |alias| &mut alias.of_file,
        );
        append(
            &mut self.all,
            self.in_dir.entry(dir).or_insert(Ends { first: NONE, last: NONE }),
            at,
            |alias| &mut alias.in_dir,
        );
        let (all, names, hasher) = (&self.all, &self.names, &self.hasher);
        let hash =
            |at: u32| hasher.hash_one((all[at as usize].dir, names.get(all[at as usize].name)));
        self.by_name.insert_unique(hash(at), at, |&at| hash(at));
    }

    /// Forgets a name. Returns the file that had it.
    pub(super) fn remove(&mut self, dir: DirId, name: &[u8]) -> Option<SlotId> {
        let at = self.place(dir, name)?;
        let file = self.all[at as usize].file;
        self.remove_at(at);
        Some(file)
    }

    fn remove_at(&mut self, at: u32) {
        let Alias { dir, name, file, .. } = self.all[at as usize];
        let hash = self.hasher.hash_one((dir, self.names.get(name)));
        match self.by_name.find_entry(hash, |&other| other == at) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("a further name is in the index"),
        }
        self.names.remove(name);
        let ends = self.of_file.get_mut(&file).expect("the file has this name");
        if take_out(&mut self.all, ends, at, |alias| &mut alias.of_file) {
            self.of_file.remove(&file);
        }
        let ends = self.in_dir.get_mut(&DirId(dir)).expect("the directory has this name");
        if take_out(&mut self.all, ends, at, |alias| &mut alias.in_dir) {
            self.in_dir.remove(&DirId(dir));
        }
        self.free.push(at);
        if self.by_name.is_empty() {
            // Frees the memory of very many names.
            *self = Aliases::new();
        }
    }

    /// Whether the file has further names.
    pub(super) fn has_any(&self, file: SlotId) -> bool {
        !self.by_name.is_empty() && self.of_file.contains_key(&file)
    }

    /// The names of a file, oldest first.
    pub(super) fn of_file(&self, file: SlotId) -> impl Iterator<Item = (DirId, &[u8])> + '_ {
        let mut at = self.of_file.get(&file).map_or(NONE, |ends| ends.first);
        std::iter::from_fn(move || {
            let alias = self.all.get(at as usize)?;
            at = alias.of_file.next;
            Some((DirId(alias.dir), self.names.get(alias.name)))
        })
    }

    /// The newest name of a file.
    pub(super) fn last_of(&self, file: SlotId) -> Option<(DirId, &[u8])> {
        let alias = &self.all[self.of_file.get(&file)?.last as usize];
        Some((DirId(alias.dir), self.names.get(alias.name)))
    }

    /// A name in the directory, and the file that has it.
    pub(super) fn one_in(&self, dir: DirId) -> Option<(&[u8], SlotId)> {
        let alias = &self.all[self.in_dir.get(&dir)?.first as usize];
        Some((self.names.get(alias.name), alias.file))
    }
}

/// Puts a name at the end of one of its lists.
fn append(all: &mut [Alias], ends: &mut Ends, at: u32, links: fn(&mut Alias) -> &mut Links) {
    *links(&mut all[at as usize]) = Links { previous: ends.last, next: NONE };
    if ends.last == NONE {
        ends.first = at;
    } else {
        links(&mut all[ends.last as usize]).next = at;
    }
    ends.last = at;
}

/// Takes a name out of one of its lists. Returns whether the list is empty now.
fn take_out(
    all: &mut [Alias],
    ends: &mut Ends,
    at: u32,
    links: fn(&mut Alias) -> &mut Links,
) -> bool {
    let Links { previous, next } = *links(&mut all[at as usize]);
    if previous == NONE {
        ends.first = next;
    } else {
        links(&mut all[previous as usize]).next = next;
    }
    if next == NONE {
        ends.last = previous;
    } else {
        links(&mut all[next as usize]).previous = previous;
    }
    ends.first == NONE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(aliases: &Aliases, file: SlotId) -> Vec<(u32, Vec<u8>)> {
        aliases.of_file(file).map(|(dir, name)| (dir.0, name.to_vec())).collect()
    }

    #[test]
    fn names_are_found_by_file_and_by_directory_in_the_order_in_which_they_came() {
        let (mut aliases, one, other) = (Aliases::new(), SlotId(1), SlotId(2));
        for name in [b"a", b"b", b"c"] {
            aliases.add(one, DirId(7), name);
            aliases.add(other, DirId(8), name);
        }
        aliases.add(one, DirId(7), b"a");
        assert_eq!(
            names(&aliases, one),
            [(7, b"a".to_vec()), (7, b"b".to_vec()), (7, b"c".to_vec())]
        );
        assert_eq!(aliases.remove(DirId(7), b"b"), Some(one));
        assert_eq!(aliases.remove(DirId(7), b"b"), None);
        aliases.add(other, DirId(7), b"a");
        assert_eq!(
            (names(&aliases, one), aliases.find(DirId(7), b"a")),
            (vec![(7, b"c".to_vec())], Some(other))
        );
        assert_eq!(aliases.last_of(other), Some((DirId(7), b"a".as_slice())));
        assert_eq!(aliases.one_in(DirId(7)), Some((b"c".as_slice(), one)));
        aliases.remove(DirId(7), b"c");
        assert!(!aliases.has_any(one) && aliases.last_of(one).is_none() && aliases.has_any(other));
    }

    #[test]
    fn very_many_names_of_one_file_go_in_any_order_and_leave_nothing() {
        let (mut aliases, file) = (Aliases::new(), SlotId(3));
        let name = |number: u32| format!("link{number:07}").into_bytes();
        (0..100_000).for_each(|number| aliases.add(file, DirId(number % 1_000), &name(number)));
        for number in (0..100_000).rev().step_by(2).chain((0..100_000).step_by(2)) {
            assert_eq!(aliases.remove(DirId(number % 1_000), &name(number)), Some(file));
        }
        assert_eq!(
            (aliases.all.capacity(), aliases.of_file.len(), aliases.in_dir.len()),
            (0, 0, 0)
        );
    }
}
