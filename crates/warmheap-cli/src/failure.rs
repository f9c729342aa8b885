//! Why a command ends without its result, and what the shell hears of it.

use std::fmt;
use std::process::ExitCode;

/// A failure, each with its exit code. Messages say what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command was called wrongly.
    Usage(String),
    /// The command could not be done.
    Failed(String),
    /// Everything that is to be said has been printed.
    Printed(ExitCode),
}

impl Failure {
    /// A failure with an error's own message.
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Prints the failure on standard error and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = match &self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
            Self::Printed(code) => return *code,
        };
        eprintln!("error: {self}");
        code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => write!(f, "{message}; see `warmheap --help`"),
            Self::Failed(message) => f.write_str(message),
            Self::Printed(_) => Ok(()),
        }
    }
}
