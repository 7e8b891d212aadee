//! manytail follows hundreds of thousands of job logs.

mod batch;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod diagnostics;
mod discovery;
pub mod engine;
mod interpret;
pub mod lines;
mod names;
mod notices;
pub mod patterns;
mod reader;
pub mod record;
mod registry;
pub mod sink;
pub mod stats;
mod succession;
pub mod sys;
mod tree;
