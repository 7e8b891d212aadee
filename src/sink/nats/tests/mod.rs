//! The output against real servers, which each test starts on loopback.
//!
//! In: the program nats-server, by the environment variable `NATS_SERVER` (`scripts/brokers get
//! nats` has one). Out: what a reader that shares no code with the output finds in the stream.
//! Always holds: without the program the tests are skipped, and say so.

mod cluster;
mod conditions;
mod crashes;
mod life;
mod proxy;
mod raw;

use std::time::Duration;

use self::cluster::Cluster;
use self::life::{Life, Plan};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process ends here, as by SIGKILL, if the test that started it said so: at the n-th step.
pub(super) fn step() {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static LAST: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var(life::DIES_AT).ok()?.parse().ok());
    static STEPS: AtomicU64 = AtomicU64::new(0);
    if LAST.is_some_and(|last| STEPS.fetch_add(1, Ordering::Relaxed) + 1 == last) {
        let own = nix::unistd::getpid();
        nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL).expect("ourselves");
    }
}

/// A step within a batch, when what was sent of it is on its way.
pub(super) async fn step_within(at: usize, count: usize) {
    if at == 1 || at == count / 2 {
        tokio::task::yield_now().await;
        step();
    }
}

#[test]
fn records_become_messages_in_order_and_what_was_committed_is_not_sent_again() {
    let Some(cluster) = Cluster::start(1) else { return };
    cluster.add_stream("JOBS", "jobs.>", 1);
    let directory = tempfile::tempdir().expect("a directory");
    let plan = Plan { lines: 300, ..Plan::new(cluster.servers(), directory.path()) };
    Life::begin(&plan).run_to_end();
    cluster.check(&plan);
    let longer = Plan { lines: 400, ..plan };
    Life::begin(&longer).run_to_end();
    cluster.check(&longer);
}
