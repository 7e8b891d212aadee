//! Counting: each case runs in its own process under callgrind, which counts inside one function
//! only.
//!
//! In: the name of a case. Out: the number of instructions of its work, and the number of units.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;

/// The variable that names the child's case.
pub(crate) const CASE_FLAG: &str = "--case";

/// The function that callgrind counts in, as a pattern for its mangled name.
const COUNTED: &str = "*only_this_is_counted*";

/// The amount of work that was counted.
pub(crate) struct Units {
    pub(crate) name: String,
    pub(crate) count: u64,
}

impl Units {
    pub(crate) fn new(name: &str, count: usize) -> Self {
        Units { name: name.to_owned(), count: count as u64 }
    }
}

/// Runs `work`, the only counted part of a case.
#[inline(never)]
pub(crate) fn only_this_is_counted(work: &mut dyn FnMut()) {
    work();
    // Not a tail call: callgrind would consider this function left before the work.
    std::hint::black_box(());
}

/// Whether valgrind is installed.
pub(crate) fn check() -> Result<()> {
    let is_there = Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !is_there {
        bail!(
            "valgrind is needed to count instructions; on Debian and Ubuntu: apt-get install \
            valgrind"
        );
    }
    Ok(())
}

/// Runs a case in a child under callgrind.
pub(crate) fn run(name: &str) -> Result<(u64, Units)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let profile = folder.join(format!("{name}.callgrind"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe().context("the path of this program is not known")?)
        .args([CASE_FLAG, name])
        .output()
        .context("cannot start valgrind")?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let (unit, count) =
        said.trim_end().split_once('=').with_context(|| format!("the child said {said:?}"))?;
    let units = Units {
        name: unit.to_owned(),
        count: count.parse().with_context(|| format!("the child said {said:?}"))?,
    };
    let text = fs::read_to_string(&profile)
        .with_context(|| format!("cannot read {}", profile.display()))?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .context("the profile has no total")?;
    let instructions = total.trim().parse().with_context(|| format!("total {total:?}"))?;
    if instructions == 0 || units.count == 0 {
        bail!("nothing was counted");
    }
    Ok((instructions, units))
}

/// The child's side: runs the case, and prints the number of units.
pub(crate) fn run_as_child(case: fn() -> Units) -> Result<()> {
    // A signal that ends the parent ends the child, too.
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl")?;
    let units = case();
    println!("{}={}", units.name, units.count);
    Ok(())
}
