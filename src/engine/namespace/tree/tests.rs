//! Directories in memory: names, parents, paths.

use super::*;
use crate::sys::{Guard, Links};

fn path(tree: &Tree, id: DirId) -> String {
    let mut path = Vec::new();
    tree.write_path(id, &mut path);
    String::from_utf8(path).unwrap()
}

#[test]
fn paths_follow_a_renamed_parent() {
    let mut tree = Tree::new(None);
    let root = tree.add_root(b"logs/", Role::Listed);
    let a = tree.add(root, b"a");
    let b = tree.add(a, b"b");
    assert_eq!(path(&tree, b), "logs/a/b/");
    tree.rename(a, root, b"z");
    assert_eq!(path(&tree, b), "logs/z/b/");
    assert_eq!(tree.find(root, b"z"), Some(a));
    assert_eq!(tree.find(root, b"a"), None);
    assert!(tree.is_within(b, a) && !tree.is_within(a, b));
}

#[test]
fn the_path_of_a_directory_a_million_levels_deep_takes_no_stack() {
    let mut tree = Tree::new(None);
    let root = tree.add_root(b"logs/", Role::Listed);
    let deepest = (0..1_000_000).fold(root, |above, _| tree.add(above, b"d"));
    assert_eq!(path(&tree, deepest).len(), "logs/".len() + 2_000_000);
    assert_eq!(tree.depth(deepest), 1_000_000);
}

#[test]
fn links_are_followed_to_the_end_of_the_one_nearest_to_the_end_of_the_path() {
    let mut tree = Tree::new(None);
    let root = tree.add_root(b"logs/", Role::Listed);
    let a = tree.add(root, b"a");
    let b = tree.add(a, b"bb");
    let c = tree.add(b, b"c");
    let trust = |tree: &Tree| tree.write_path(c, &mut Vec::new());
    let trusted = "logs/".len();
    assert_eq!(trust(&tree), Trust { trusted, followed: trusted });
    tree.get_mut(a).via_link = true;
    assert_eq!(trust(&tree), Trust { trusted, followed: "logs/a/".len() });
    tree.get_mut(b).via_link = true;
    assert_eq!(trust(&tree), Trust { trusted, followed: "logs/a/bb/".len() });
}

#[test]
fn children_are_listed_whatever_moved_among_them() {
    let mut tree = Tree::new(None);
    let root = tree.add_root(b"logs/", Role::Listed);
    let (a, z) = (tree.add(root, b"a"), tree.add(root, b"z"));
    let b = tree.add(a, b"b");
    tree.detach(b);
    tree.rename(b, root, b"c");
    assert_eq!(tree.children(root).collect::<Vec<_>>(), [b, z, a]);
    tree.detach(z);
    tree.rename(z, b, b"z");
    assert_eq!(tree.children(root).collect::<Vec<_>>(), [b, a]);
    assert_eq!(tree.children(b).collect::<Vec<_>>(), [z]);
    tree.remove(z);
    tree.remove(b);
    let b = tree.add(root, b"b");
    assert_eq!(tree.children(root).collect::<Vec<_>>(), [b, a]);
    tree.remove(a);
    assert_eq!(tree.children(root).collect::<Vec<_>>(), [b]);
}

#[test]
fn a_removed_directory_is_not_found_by_anything_that_knew_it() {
    let mut tree = Tree::new(None);
    let root = tree.add_root(b"logs/", Role::Listed);
    let a = tree.add(root, b"a");
    tree.set_inode(a, (1, 2));
    tree.set_watch(a, Some(WatchId(7)));
    assert_eq!([tree.set_unreadable(a, true), tree.set_unreadable(a, true)], [false, true]);
    assert_eq!(tree.unreadable(), 1);
    let key = tree.key(a);
    tree.remove(a);
    assert_eq!(tree.alive(key), None);
    assert_eq!(tree.find_inode((1, 2)), None);
    assert_eq!(tree.find_watch(WatchId(7)), None);
    assert_eq!(tree.unreadable(), 0);
    let again = tree.add(root, b"a");
    assert_eq!(again, a, "the place is reused");
    assert_eq!(tree.alive(key), None, "but it is another directory");
    assert_eq!(tree.children(root).collect::<Vec<_>>(), [again]);
}

#[test]
fn links_are_followed_on_paths_as_the_rule_and_the_way_there_say() {
    let rule = LinkRule::Owner;
    let guarded = |trusted, followed| Links::Guarded(Guard { trusted, followed, rule });
    for (link_rule, via_link, below, name, bare) in [
        (None, false, true, Links::Beneath(5), Links::Beneath(5)),
        (None, true, true, Links::Beneath(5), Links::Beneath(5)),
        (Some(rule), false, true, Links::Beneath(5), Links::Beneath(5)),
        (Some(rule), true, true, guarded(5, 7), guarded(5, 7)),
        // A PATH itself may be a link: the settings name it.
        (Some(rule), false, false, Links::Beneath(5), Links::Follow),
        (None, false, false, Links::Beneath(5), Links::Follow),
    ] {
        let mut tree = Tree::new(link_rule);
        let root = tree.add_root(b"logs/", Role::Listed);
        let dir = if below { tree.add(root, b"a") } else { root };
        tree.get_mut(dir).via_link = via_link;
        let mut path = b"what was here before".to_vec();
        assert_eq!(tree.write_name(dir, b"x.log", &mut path), name);
        assert_eq!(path, if below { b"logs/a/x.log".as_slice() } else { b"logs/x.log" });
        assert_eq!(tree.write_bare_path(dir, &mut path), bare);
        assert_eq!(path, if below { b"logs/a".as_slice() } else { b"logs" });
    }
    // The root of the file system, and the current directory.
    for (prefix, wanted) in [(b"/".as_slice(), b"/".as_slice()), (b"", b".")] {
        let mut tree = Tree::new(None);
        let root = tree.add_root(prefix, Role::Home);
        let mut path = Vec::new();
        assert_eq!(tree.write_bare_path(root, &mut path), Links::Follow);
        assert_eq!(path, wanted);
    }
}

#[test]
fn the_owner_below_a_path_is_that_of_the_directory_that_is_entered_first() {
    let mut tree = Tree::new(None);
    let root = tree.add_root(b"logs/", Role::Listed);
    tree.get_mut(root).is_path = true;
    let a = tree.add(root, b"a");
    let b = tree.add(a, b"b");
    let inner = tree.add(b, b"inner");
    let c = tree.add(inner, b"c");
    tree.get_mut(inner).is_path = true;
    for (dir, owner) in [(root, 1), (a, 2), (b, 3), (inner, 4), (c, 5)] {
        tree.get_mut(dir).owner = owner;
    }
    let owners = [root, a, b, inner, c].map(|dir| tree.owner_below_path(dir));
    assert_eq!(owners, [None, Some(2), Some(2), None, Some(5)]);
    tree.detach(b);
    let moving = [root, a, b, inner, c].map(|dir| tree.is_any_moving(dir));
    assert_eq!(moving, [false, false, true, true, true]);
}
