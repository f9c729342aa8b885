//! Figures, grades and advice, and whether the documents say what the code does.

mod advice;
mod advice_pool;
mod advice_properties;
mod docs;
mod export;
mod figures;
mod peaks;
#[path = "../support/mod.rs"]
mod support;
mod threads;
