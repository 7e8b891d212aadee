//! The results: a table while the cases run, an object for later runs, and ratios to an earlier
//! object.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::callgrind::Units;

/// The results so far.
pub(crate) struct Report {
    results: Map<String, Value>,
    baseline: Option<Map<String, Value>>,
}

impl Report {
    /// A report; it is compared with the object in `baseline` if there is one.
    pub(crate) fn new(baseline: Option<OsString>) -> Result<Self> {
        let baseline = match baseline {
            Some(path) => {
                let path = resolve(&path);
                let text = fs::read(&path)
                    .with_context(|| format!("BASELINE: cannot read {}", path.display()))?;
                Some(
                    serde_json::from_slice(&text)
                        .with_context(|| format!("BASELINE: {} is not a result", path.display()))?,
                )
            }
            None => None,
        };
        Ok(Report { results: Map::new(), baseline })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// Records a result, and prints its row.
    pub(crate) fn add(&mut self, case: &str, instructions: u64, units: &Units) {
        if self.results.is_empty() {
            let ratio = if self.baseline.is_some() { "  now/then" } else { "" };
            println!("{:<24} {:>12}  {:<6}{ratio}", "case", "instructions", "per");
        }
        let each = instructions as f64 / units.count as f64;
        let ratio = match &self.baseline {
            None => String::new(),
            Some(then) => {
                match then
                    .get(case)
                    .filter(|then| then["per"] == units.name)
                    .and_then(|then| then["instructions"].as_f64())
                {
                    Some(then) => format!("  {:>8.3}", each / then),
                    None => format!("  {:>8}", "new"),
                }
            }
        };
        println!("{case:<24} {each:>12.1}  {:<6}{ratio}", units.name);
        self.results.insert(case.to_owned(), json!({ "instructions": each, "per": units.name }));
    }

    /// Writes the object, if one was asked for.
    pub(crate) fn finish(self, file: Option<OsString>) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let path = resolve(&file);
        let text = serde_json::to_string_pretty(&self.results).context("JSON")? + "\n";
        fs::write(&path, text).with_context(|| format!("JSON: cannot write {}", path.display()))
    }
}

/// A relative path is relative to the directory of the `cargo bench` call, which PWD still has:
/// cargo runs benchmarks at the top of the package.
fn resolve(path: &OsStr) -> PathBuf {
    match env::var_os("PWD") {
        Some(called_from) => Path::new(&called_from).join(path),
        None => path.into(),
    }
}
