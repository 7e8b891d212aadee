//! Config -> running process. A placeholder until the loop is here.

/// Runs until the files are read (`--once`) or a signal comes.
///
/// # Errors
/// When the run cannot start or cannot go on.
pub fn run(config: crate::config::Config) -> anyhow::Result<()> {
    drop(config);
    Ok(())
}
