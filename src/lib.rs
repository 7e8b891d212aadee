//! manytail follows hundreds of thousands of job logs.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod diagnostics;
pub mod lines;
pub mod patterns;
pub mod record;
pub mod sink;
pub mod sys;
