//! The command, as users run it.

mod bad_input;
mod check;
mod commands;
mod documents;
mod gate;
mod json;
mod manners;
mod mistakes;
mod run;
