//! manytail follows hundreds of thousands of job logs.

pub mod cli;
pub mod config;
mod interpret;
pub mod lines;
mod names;
pub mod patterns;
pub mod record;
mod registry;
pub mod sink;
pub mod sys;
mod tree;
