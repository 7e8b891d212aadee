//! Inputs: which rules hold for what lies below which PATH.
//!
//! In: the inputs of the settings, PATHs by number. Out: for a directory a [`ScopeId`], which
//! stands for the PATHs that cover it; for an input its globs and labels.
//! Always holds: the PATHs of a scope are ordered from the innermost to the outermost; PATHs of the
//! same directory are in the order of their inputs. A file belongs to the first PATH that accepts
//! it.

use std::cmp::Reverse;

use hashbrown::HashMap;

use crate::config::{
    Binary, CarriageReturn, EndRules, Filters, Format, INPUTS_MAX, InputConfig, JobPattern,
    JobRules, RecordRules, StartAt, below_path, file_name,
};
use crate::patterns::Patterns;
use crate::record::encode_labels;

/// An input's number. It does not change while the input keeps one of its PATHs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct InputId(u8);

/// A PATH's number in the list of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RootId(pub(crate) u32);

impl From<usize> for RootId {
    fn from(at: usize) -> RootId {
        RootId(u32::try_from(at).expect("fewer than 2^32 PATHs"))
    }
}

/// The PATHs that cover a directory. The default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ScopeId(u32);

/// The rules of one input.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) patterns: Patterns,
    /// The patterns of earlier settings, back to the last time at which all followed files matched
    /// the settings.
    former: Vec<Patterns>,
    pub(crate) from: StartAt,
    pub(crate) binary: Binary,
    pub(crate) carriage_return: CarriageReturn,
    pub(crate) multiline: Option<RecordRules>,
    pub(crate) filters: Filters,
    pub(crate) ends: EndRules,
    pub(crate) job: JobRules,
    /// Whether records have a place for that, and there is something.
    pub(crate) tells_job: bool,
    /// Its PATHs as given.
    paths: Vec<Vec<u8>>,
    /// How many reads were of files whose names the pattern for jobs does not match, and the last
    /// such path.
    job_mismatches: (u64, Vec<u8>),
    /// Its labels, encoded for records; may be empty.
    pub(crate) labels: Vec<u8>,
    /// The same as they were given, for the fields of templates.
    pub(crate) label_pairs: Vec<(String, String)>,
    /// Its place in the order of inputs; `None`: removed.
    rank: Option<usize>,
    /// It has accepted a file.
    has_accepted: bool,
    /// Records of its files, and the bytes of which they were made.
    records: u64,
    bytes: u64,
}

impl Input {
    fn new(config: InputConfig, rank: usize, format: Format) -> Input {
        let labels = encode_labels(format, &config.labels);
        Input {
            patterns: config.patterns,
            former: Vec::new(),
            from: config.from,
            binary: config.binary,
            carriage_return: config.carriage_return,
            multiline: config.multiline,
            filters: config.filters,
            ends: config.ends,
            tells_job: format == Format::Json && !config.job.is_empty(),
            job: config.job,
            paths: config.paths,
            job_mismatches: (0, Vec::new()),
            labels,
            label_pairs: config.labels,
            rank: Some(rank),
            has_accepted: false,
            records: 0,
            bytes: 0,
        }
    }

    /// Its PATHs as given.
    pub(crate) fn paths(&self) -> &[Vec<u8>] {
        &self.paths
    }

    /// Its place in the order of inputs, from 0 on; `None`: removed.
    pub(crate) fn rank(&self) -> Option<usize> {
        self.rank
    }

    /// How many records of its files were made, and of how many bytes.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.records, self.bytes)
    }

    /// The globs that may have accepted a file: the current ones, and those of settings whose
    /// listings have not finished.
    pub(crate) fn all_patterns(&self) -> impl Iterator<Item = &Patterns> {
        self.former.iter().chain([&self.patterns])
    }
}

/// All inputs, and which PATHs belong to them.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Of records.
    format: Format,
    inputs: Vec<Input>,
    /// The input of each PATH, by [`RootId`].
    of_root: Vec<InputId>,
    /// How many directories are above what each PATH leads to.
    depths: Vec<usize>,
    scopes: Vec<Box<[RootId]>>,
    known_scopes: HashMap<Box<[RootId]>, ScopeId>,
    needs_path: bool,
    /// Some input wants the owners of its files.
    wants_owner: bool,
    /// Some input wants the ends of its logs.
    wants_ends: bool,
    /// Grows with each change of the settings.
    version: u32,
}

impl Inputs {
    pub(crate) fn new(format: Format) -> Self {
        let none: Box<[RootId]> = Box::default();
        Inputs {
            format,
            inputs: Vec::new(),
            of_root: Vec::new(),
            depths: Vec::new(),
            scopes: vec![none.clone()],
            known_scopes: HashMap::from_iter([(none, ScopeId::default())]),
            needs_path: false,
            wants_owner: false,
            wants_ends: false,
            version: 0,
        }
    }

    pub(crate) fn get(&self, id: InputId) -> &Input {
        &self.inputs[usize::from(id.0)]
    }

    /// The input of a PATH.
    pub(crate) fn of_root(&self, root: RootId) -> InputId {
        self.of_root[root.0 as usize]
    }

    /// The rules of a PATH.
    pub(crate) fn rules(&self, root: RootId) -> &Input {
        self.get(self.of_root(root))
    }

    /// Whether some glob matches the path below PATH, so that paths have to be built.
    pub(crate) fn needs_path(&self) -> bool {
        self.needs_path
    }

    /// Adds the next PATH.
    pub(crate) fn add_root(&mut self, input: InputId) -> RootId {
        let root = RootId::from(self.of_root.len());
        self.of_root.push(input);
        self.depths.push(0);
        root
    }

    /// Sets how many directories are above what a PATH leads to.
    pub(crate) fn set_depth(&mut self, root: RootId, depth: usize) {
        if std::mem::replace(&mut self.depths[root.0 as usize], depth) != depth {
            self.rearrange(|_| false);
        }
    }

    /// Whether records of some input tell the owners of its files.
    #[inline]
    pub(crate) fn wants_owner(&self) -> bool {
        self.wants_owner
    }

    /// Whether records of some input tell the ends of its logs.
    #[inline]
    pub(crate) fn wants_ends(&self) -> bool {
        self.wants_ends
    }

    /// Whether several lines may make one record of some input.
    pub(crate) fn are_multiline(&self) -> bool {
        self.inputs.iter().any(|input| input.rank.is_some() && input.multiline.is_some())
    }

    /// A number that changes with the settings.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// What a pattern of an input is compared with, of the path of a file.
    pub(crate) fn text_for_job<'a>(
        &self,
        id: InputId,
        pattern: &JobPattern,
        path: &'a [u8],
    ) -> &'a [u8] {
        if pattern.is_of_path() { below_path(path, self.paths_of(id)) } else { file_name(path) }
    }

    /// The PATHs that a path of an input may be below: its own, then all others.
    fn paths_of(&self, id: InputId) -> impl Iterator<Item = &Vec<u8>> {
        let others = self.inputs.iter().filter(|input| input.rank.is_some());
        self.get(id).paths.iter().chain(others.flat_map(|input| &input.paths))
    }

    /// The name of a file that was read does not match the pattern for jobs.
    #[cold]
    pub(crate) fn note_job_mismatch(&mut self, id: InputId, path: &[u8]) {
        let (count, last) = &mut self.inputs[usize::from(id.0)].job_mismatches;
        *count += 1;
        last.clear();
        last.extend_from_slice(path);
    }

    /// Inputs with a pattern for jobs: their PATHs, in how many reads it did not match, and the
    /// last path that it did not match.
    pub(crate) fn job_mismatches(&self) -> impl Iterator<Item = (&[Vec<u8>], u64, &[u8])> {
        let with_pattern =
            self.inputs.iter().filter(|input| input.rank.is_some() && input.job.pattern.is_some());
        with_pattern.map(|input| {
            let (count, last) = &input.job_mismatches;
            (&*input.paths, *count, &**last)
        })
    }

    /// Records were made of a file of the input.
    #[inline]
    pub(crate) fn count(&mut self, id: InputId, records: u64, bytes: u64) {
        let input = &mut self.inputs[usize::from(id.0)];
        input.records += records;
        input.bytes += bytes;
    }

    /// Notes that the input has accepted a file.
    #[inline]
    pub(crate) fn note_accepted(&mut self, id: InputId) {
        self.inputs[usize::from(id.0)].has_accepted = true;
    }

    /// All inputs in their order, each with whether it has accepted a file.
    pub(crate) fn accepted(&self) -> Vec<(InputId, bool)> {
        let mut all: Vec<(usize, InputId, bool)> = (0..=u8::MAX)
            .zip(&self.inputs)
            .filter_map(|(at, input)| Some((input.rank?, InputId(at), input.has_accepted)))
            .collect();
        all.sort_unstable_by_key(|&(rank, _, _)| rank);
        all.into_iter().map(|(_, id, has_accepted)| (id, has_accepted)).collect()
    }

    /// The order of PATHs in a scope: inner ones first, then by their inputs.
    fn order(&self, root: RootId) -> (Reverse<usize>, Option<usize>, RootId) {
        (Reverse(self.depths[root.0 as usize]), self.rules(root).rank, root)
    }

    /// The PATHs of a scope.
    pub(crate) fn roots(&self, scope: ScopeId) -> &[RootId] {
        &self.scopes[scope.0 as usize]
    }

    pub(crate) fn is_empty(&self, scope: ScopeId) -> bool {
        self.roots(scope).is_empty()
    }

    /// The scope of these PATHs, in any order.
    pub(crate) fn scope(&mut self, mut roots: Vec<RootId>) -> ScopeId {
        roots.sort_unstable_by_key(|&root| self.order(root));
        roots.dedup();
        if let Some(&known) = self.known_scopes.get(&*roots) {
            return known;
        }
        let roots = roots.into_boxed_slice();
        let scope = ScopeId(u32::try_from(self.scopes.len()).expect("fewer than 2^32 scopes"));
        self.scopes.push(roots.clone());
        self.known_scopes.insert(roots, scope);
        scope
    }

    /// Whether a PATH adds nothing to a scope, because it or another PATH with the same rules is in
    /// it.
    pub(crate) fn covers(&self, scope: ScopeId, root: RootId) -> bool {
        let input = self.of_root(root);
        let roots = self.roots(scope);
        // A PATH between the two would come before this one.
        let same = roots.first().filter(|&&first| {
            self.of_root(first) == input && !self.get(input).patterns.needs_path()
        });
        same.is_some() || roots.contains(&root)
    }

    /// Takes new settings. `known` returns the inputs that a PATH had so far; `is_settled`: all
    /// followed files match the former settings. Returns for each new input its number, and whether
    /// its rules have to be applied again, because its globs or the order changed. The caller then
    /// assigns the PATHs, and calls [`Inputs::rearrange`].
    pub(crate) fn replace(
        &mut self,
        new: Vec<InputConfig>,
        known: impl Fn(&[u8]) -> Vec<InputId>,
        is_settled: bool,
    ) -> Vec<(InputId, bool)> {
        self.version += 1;
        self.wants_owner = self.format == Format::Json && new.iter().any(|input| input.job.uid);
        self.wants_ends = new.iter().any(|input| input.ends.are_any());
        let mut taken: Vec<InputId> = Vec::new();
        let ranks: Vec<Option<usize>> =
            self.inputs.iter_mut().map(|input| input.rank.take()).collect();
        let mut ranks_kept = Vec::new();
        let mut replaced = Vec::new();
        for (rank, config) in new.into_iter().enumerate() {
            let before =
                config.paths.iter().flat_map(|path| known(path)).find(|id| !taken.contains(id));
            let id = before.unwrap_or_else(|| self.unused(&taken));
            taken.push(id);
            let mut input = Input::new(config, rank, self.format);
            let at = usize::from(id.0);
            let mut is_changed = true;
            if at == self.inputs.len() {
                self.inputs.push(input);
            } else {
                std::mem::swap(&mut self.inputs[at], &mut input);
                let (old, new) = (input, &mut self.inputs[at]);
                is_changed = old.patterns != new.patterns
                    || old.binary != new.binary
                    || old.ends != new.ends;
                new.has_accepted =
                    before.is_some() && old.has_accepted && old.patterns == new.patterns;
                if before.is_some() {
                    (new.records, new.bytes) = old.counts();
                }
                if old.job == new.job && before.is_some() {
                    new.job_mismatches = old.job_mismatches;
                }
                if before.is_some() {
                    ranks_kept.push(ranks[at]);
                    new.former = if is_settled { Vec::new() } else { old.former };
                    new.former.extend(Some(old.patterns).filter(|old| *old != new.patterns));
                }
            }
            replaced.push((id, is_changed));
        }
        if !ranks_kept.is_sorted() {
            // A file that several inputs accept may belong to another one now.
            replaced.iter_mut().for_each(|(_, is_changed)| *is_changed = true);
        }
        replaced
    }

    /// A number that no PATH uses; if possible, one that was never used.
    fn unused(&self, taken: &[InputId]) -> InputId {
        let fresh = u8::try_from(self.inputs.len()).ok().map(InputId);
        let is_free = |id: &InputId| !taken.contains(id) && !self.of_root.contains(id);
        let removed = || (0..=u8::MAX).map(InputId).find(is_free);
        let any = || (0..=u8::MAX).map(InputId).find(|id| !taken.contains(id));
        fresh.or_else(removed).or_else(any).unwrap_or_else(|| panic!("at most {INPUTS_MAX} inputs"))
    }

    /// Gives a PATH to another input.
    pub(crate) fn assign(&mut self, root: RootId, input: InputId) {
        self.of_root[root.0 as usize] = input;
    }

    /// Removes PATHs from all scopes, and sorts the others.
    pub(crate) fn rearrange(&mut self, is_removed: impl Fn(RootId) -> bool) {
        let mut scopes = std::mem::take(&mut self.scopes);
        self.known_scopes.clear();
        for (at, scope) in (0..).zip(&mut scopes) {
            let mut roots: Vec<RootId> =
                scope.iter().copied().filter(|&root| !is_removed(root)).collect();
            roots.sort_unstable_by_key(|&root| self.order(root));
            *scope = roots.into_boxed_slice();
            self.known_scopes.entry(scope.clone()).or_insert(ScopeId(at));
        }
        self.scopes = scopes;
        self.needs_path =
            self.inputs.iter().any(|input| input.rank.is_some() && input.patterns.needs_path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(paths: &[&str], include: &[&str]) -> InputConfig {
        let include: Vec<String> = include.iter().map(|&glob| glob.to_owned()).collect();
        InputConfig {
            paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
            patterns: Patterns::new(&include, &[], true).unwrap(),
            from: StartAt::Beginning,
            binary: Binary::Deliver,
            carriage_return: CarriageReturn::Data,
            multiline: None,
            filters: Filters::default(),
            ends: EndRules::default(),
            job: JobRules::default(),
            labels: Vec::new(),
        }
    }

    fn numbers(replaced: &[(InputId, bool)]) -> Vec<(u8, bool)> {
        replaced.iter().map(|(id, is_changed)| (id.0, *is_changed)).collect()
    }

    #[test]
    fn an_input_keeps_its_number_with_its_path_and_tells_whether_its_globs_changed() {
        let mut inputs = Inputs::new(Format::Json);
        let first = inputs.replace(
            vec![input(&["a"], &[]), input(&["b"], &["*.log"])],
            |_| Vec::new(),
            true,
        );
        assert_eq!(numbers(&first), [(0, true), (1, true)]);
        let known = |path: &[u8]| if path == b"b" { vec![InputId(1)] } else { vec![] };
        let second =
            inputs.replace(vec![input(&["b"], &["*.log"]), input(&["c"], &[])], known, true);
        assert_eq!(numbers(&second), [(1, false), (2, true)]);
        let third = inputs.replace(vec![input(&["b"], &["*.out"])], known, true);
        assert_eq!(numbers(&third), [(1, true)]);
        let accept = |inputs: &Inputs, name: &[u8]| {
            inputs.get(InputId(1)).all_patterns().any(|globs| globs.accepts_file(name, b""))
        };
        assert!(accept(&inputs, b"x.log") && accept(&inputs, b"x.out"));
        inputs.replace(vec![input(&["b"], &["*.err"])], known, false);
        assert!(
            accept(&inputs, b"x.log") && accept(&inputs, b"x.out"),
            "what they took in may still be there"
        );
        inputs.replace(vec![input(&["b"], &["*.err"])], known, true);
        assert!(!accept(&inputs, b"x.log") && accept(&inputs, b"x.err"));
    }

    #[test]
    fn inputs_in_another_order_are_all_asked_anew_and_those_that_only_move_up_are_not() {
        let mut inputs = Inputs::new(Format::Json);
        let known = |path: &[u8]| vec![InputId(path[0] - b'a')];
        inputs.replace(
            vec![input(&["a"], &[]), input(&["b"], &[]), input(&["c"], &[])],
            |_| Vec::new(),
            true,
        );
        let fewer = inputs.replace(vec![input(&["b"], &[]), input(&["c"], &[])], known, true);
        assert_eq!(numbers(&fewer), [(1, false), (2, false)]);
        let turned = inputs.replace(vec![input(&["c"], &[]), input(&["b"], &[])], known, true);
        assert_eq!(numbers(&turned), [(2, true), (1, true)]);
    }

    #[test]
    fn a_scope_is_in_the_order_of_the_inputs_and_loses_what_is_removed() {
        let mut inputs = Inputs::new(Format::Json);
        let replaced =
            inputs.replace(vec![input(&["a"], &[]), input(&["b"], &[])], |_| Vec::new(), true);
        let later = inputs.add_root(replaced[1].0);
        let sooner = inputs.add_root(replaced[0].0);
        let scope = inputs.scope(vec![later, sooner, later]);
        assert_eq!(inputs.roots(scope), [sooner, later]);
        assert_eq!(inputs.scope(vec![sooner, later]), scope);
        assert!(inputs.covers(scope, later) && inputs.is_empty(ScopeId::default()));
        inputs.rearrange(|root| root == sooner);
        assert_eq!(inputs.roots(scope), [later]);
    }

    #[test]
    fn the_innermost_path_comes_first_whichever_input_it_belongs_to() {
        let mut inputs = Inputs::new(Format::Json);
        let replaced = inputs.replace(
            vec![input(&["a"], &[]), input(&["a/b"], &[]), input(&["c"], &[])],
            |_| Vec::new(),
            true,
        );
        let [outer, inner, same] = [0, 1, 2].map(|at| inputs.add_root(replaced[at].0));
        let scope = inputs.scope(vec![outer, inner, same]);
        assert_eq!(inputs.roots(scope), [outer, inner, same]);
        inputs.set_depth(outer, 1);
        inputs.set_depth(inner, 2);
        inputs.set_depth(same, 1);
        assert_eq!(
            inputs.roots(scope),
            [inner, outer, same],
            "also of a scope that was there before"
        );
        assert_eq!(inputs.scope(vec![same, inner, outer]), scope);
    }

    #[test]
    fn an_input_that_never_accepted_a_file_is_known_until_its_globs_change() {
        let mut inputs = Inputs::new(Format::Json);
        let known = |path: &[u8]| vec![InputId(path[0] - b'a')];
        inputs.replace(vec![input(&["a"], &[]), input(&["b"], &[])], |_| Vec::new(), true);
        inputs.note_accepted(InputId(1));
        assert_eq!(inputs.accepted(), [(InputId(0), false), (InputId(1), true)]);
        inputs.replace(vec![input(&["b"], &[]), input(&["a"], &[])], known, true);
        assert_eq!(inputs.accepted(), [(InputId(1), true), (InputId(0), false)]);
        inputs.replace(vec![input(&["b"], &["*.lgo"])], known, true);
        assert_eq!(inputs.accepted(), [(InputId(1), false)]);
    }

    #[test]
    fn numbers_are_used_again_when_none_is_left() {
        let mut inputs = Inputs::new(Format::Json);
        for round in 0..3 {
            let many = (0..INPUTS_MAX).map(|at| input(&[&format!("{round}/{at}")], &[])).collect();
            let replaced = inputs.replace(many, |_| Vec::new(), true);
            let mut ids: Vec<u8> = replaced.iter().map(|(id, _)| id.0).collect();
            ids.sort_unstable();
            assert_eq!(ids, (0..=u8::MAX).collect::<Vec<_>>());
        }
    }
}
