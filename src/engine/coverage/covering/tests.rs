//! Which input a name belongs to, in trees with several PATHs.

use super::*;
use crate::config::{Binary, CarriageReturn, EndRules, Filters, Format, InputConfig, JobRules};
use crate::engine::namespace::tree::Role;
use crate::patterns::Patterns;

/// A coverage and its tree. Each input: its PATHs, its includes and excludes.
fn covering(inputs: &[(&[&str], &[&str], &[&str])]) -> (Coverage, Tree) {
    let (mut coverage, mut tree) = (Coverage::new(Format::Json), Tree::new(None));
    let texts = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
    let configs = inputs.iter().map(|(paths, include, exclude)| InputConfig {
        paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
        patterns: Patterns::new(&texts(include), &texts(exclude), false).unwrap(),
        from: StartAt::Beginning,
        binary: Binary::Deliver,
        carriage_return: CarriageReturn::Data,
        multiline: None,
        filters: Filters::default(),
        ends: EndRules::default(),
        job: JobRules::default(),
        labels: Vec::new(),
    });
    let told = coverage.inputs.replace(configs.collect(), |_| Vec::new(), true);
    for (&(paths, ..), (input, _)) in inputs.iter().zip(told) {
        for path in paths {
            let root = coverage.inputs.add_root(input);
            let dir = tree.add_root(format!("{path}/").as_bytes(), Role::Listed);
            tree.get_mut(dir).is_path = true;
            tree.get_mut(dir).scope = coverage.inputs.scope(vec![root]);
            let state = RootState::Found(tree.key(dir));
            let path = path.as_bytes().to_vec();
            coverage.roots.push(Root { path, state, is_tree: true });
            coverage.inputs.set_depth(root, root.0 as usize);
        }
    }
    coverage.inputs.rearrange(|_| false);
    (coverage, tree)
}

/// Adds a directory and, if it is covered, gives it its scope.
fn add(coverage: &mut Coverage, tree: &mut Tree, above: DirId, name: &[u8]) -> Option<DirId> {
    let scope = coverage.scope_below(tree, above, name, &mut Vec::new());
    if coverage.inputs.is_empty(scope) {
        return None;
    }
    let dir = tree.add(above, name);
    tree.get_mut(dir).scope = scope;
    Some(dir)
}

#[test]
fn a_name_belongs_to_the_input_whose_globs_accept_it_where_it_is() {
    let (mut coverage, mut tree) = covering(&[(&["logs"], &["*.log", "jobs/*.out"], &["old/"])]);
    let root = DirId(0);
    let jobs = add(&mut coverage, &mut tree, root, b"jobs").unwrap();
    let deep = add(&mut coverage, &mut tree, jobs, b"deep").unwrap();
    assert_eq!(add(&mut coverage, &mut tree, root, b"old"), None);
    let cases: [(DirId, &str, bool); 6] = [
        (root, "a.log", true),
        (root, "a.out", false),
        (jobs, "a.out", true),
        (jobs, "a.log", true),
        (deep, "a.out", false),
        (deep, "a.log", true),
    ];
    for (dir, name, is_accepted) in cases {
        let input = coverage.input_of(&tree, dir, name.as_bytes(), &mut Vec::new());
        assert_eq!(input.is_some(), is_accepted, "{name} in {dir:?}");
    }
}

#[test]
fn the_innermost_path_that_accepts_a_name_has_it_and_a_single_file_comes_before_all() {
    let (mut coverage, mut tree) =
        covering(&[(&["logs"], &[], &[]), (&["logs/in"], &["*.log"], &[])]);
    let (outer, inner) = (DirId(0), DirId(1));
    let both = coverage.inputs.scope(vec![RootId(0), RootId(1)]);
    tree.get_mut(inner).scope = both;
    let of = |coverage: &Coverage, dir, name: &[u8]| {
        coverage.input_of(&tree, dir, name, &mut Vec::new())
    };
    let [first, second] = [0, 1].map(|root| coverage.inputs.of_root(RootId(root)));
    assert_eq!(of(&coverage, outer, b"a.log"), Some(first));
    assert_eq!(of(&coverage, inner, b"a.log"), Some(second));
    assert_eq!(of(&coverage, inner, b"a.txt"), Some(first));
    coverage.single_files.insert(inner, b"a.log", SingleFile::Path(first));
    assert_eq!(of(&coverage, inner, b"a.log"), Some(first));
}

#[test]
fn one_more_path_covers_what_is_below_once() {
    let (mut coverage, mut tree) =
        covering(&[(&["a"], &["*.log"], &[]), (&["b"], &["*.out"], &[])]);
    let below = add(&mut coverage, &mut tree, DirId(0), b"d").unwrap();
    let name = |coverage: &Coverage, tree: &Tree| {
        coverage.input_of(tree, below, b"x.out", &mut Vec::new()).is_some()
    };
    assert!(!name(&coverage, &tree));
    assert!(coverage.widen(&mut tree, DirId(0), &[RootId(1)], &mut Vec::new()));
    assert!(name(&coverage, &tree));
    assert!(!coverage.widen(&mut tree, DirId(0), &[RootId(1)], &mut Vec::new()));
    // A removed PATH covers nothing any more.
    coverage.roots[1].state = RootState::Removed;
    coverage.inputs.rearrange(|root| root == RootId(1));
    assert!(!name(&coverage, &tree));
    assert_eq!(coverage.trees(&tree).map(|(root, _)| root).collect::<Vec<_>>(), [RootId(0)]);
}

#[test]
fn inputs_without_files_are_those_whose_path_is_there() {
    let (mut coverage, _) = covering(&[(&["a", "b"], &[], &[]), (&["c"], &[], &[])]);
    assert_eq!(coverage.inputs_without_files(), ["a b", "c"]);
    coverage.inputs.note_accepted(coverage.inputs.of_root(RootId(0)));
    coverage.roots[2].state = RootState::Missing;
    assert!(coverage.inputs_without_files().is_empty());
}
