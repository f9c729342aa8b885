//! The real command, as people run it.

mod bad_input;
mod commands;
mod documents;
mod run;
