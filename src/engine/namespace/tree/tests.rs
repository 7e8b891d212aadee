//! Directories in memory: names, parents, paths.

use super::*;

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
