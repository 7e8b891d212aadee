//! The real binary on the real kernel: one file per chapter of the guarantees.
//!
//! A test's name is a sentence that must be true; its doc comment names its case (`D-01` ...).
//! Tests wait for conditions with a deadline. Tests that a machine cannot run (no logrotate, not
//! root, no user namespaces) are skipped by `world::skip`, which counts them.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests drive the world: clocks, threads, files"
)]

mod above;
mod backpressure;
mod behind_links;
mod binary;
mod broker_settings;
mod capture;
mod carriage_returns;
mod closed;
mod concurrency;
mod crash;
mod crash_rounds;
mod crowding;
mod deletion;
mod departed;
mod departures;
mod directories;
mod discovery;
mod displaced;
mod doctor;
mod encoding;
mod ends;
mod exchanges;
mod faults;
mod filters;
mod harness;
mod identity;
mod insight;
mod job_list;
mod jobs;
mod limits;
mod lines;
mod links;
mod long_lines;
mod metrics;
mod multiline;
mod options;
mod output_file;
mod outputs;
mod overflow;
mod overlay;
mod own_output;
mod owners;
mod packages;
mod permissions;
mod planted;
mod process;
mod promptness;
mod questions;
mod random_life;
mod reconnect;
mod records;
mod restored;
mod resume;
mod rotation;
mod rotation_tools;
mod scrape;
mod service;
mod settings;
mod shutdown;
#[path = "../skipping/mod.rs"]
mod skipping;
mod start_position;
mod state;
mod state_directory;
mod strangers;
mod terminal;
mod torn_output;
mod truncation;
mod trust;
mod unlinked;
mod usage;
mod user_mounts;
mod wide_text;
mod world;
mod written_over;
