//! The reasons that a command ends without its result, and the exit code of each.

use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::schema::SCHEMA_VERSION;

/// A failure, with its exit code. The message says what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command was called wrongly.
    Usage(String),
    /// The command could not be completed.
    Failed(String),
    /// The command has printed everything already.
    Printed(ExitCode),
}

impl Failure {
    /// Returns a failure with an error's own message.
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Prints the failure of `command` on standard error, as a line or as JSON, and returns the exit code. The
    /// code is all that is left to say where standard error cannot be written.
    pub(crate) fn report(self, json: bool, command: Option<&str>) -> ExitCode {
        let (kind, code) = match &self {
            Self::Usage(_) => ("usage", 2),
            Self::Failed(_) => ("failed", 1),
            Self::Printed(code) => return *code,
        };
        let _ = if json {
            let error = serde_json::json!({ "kind": kind, "message": self.to_string(), "exit_code": code });
            writeln!(
                io::stderr(),
                "{}",
                serde_json::json!({ "command": command, "error": error, "schema_version": SCHEMA_VERSION })
            )
        } else {
            writeln!(io::stderr(), "error: {self}")
        };
        ExitCode::from(code)
    }
}

/// Runs a command. A panic becomes a failure; the panic's message and place are on standard error already.
pub(crate) fn guarded(run: impl FnOnce() -> Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(Failure::failed("the command panicked with the message above; report this defect"))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_that_says_so() {
        let failure = guarded(|| panic!("of a test")).unwrap_err();
        assert!(matches!(&failure, Failure::Failed(words) if words.contains("panicked")), "{failure}");
        assert!(guarded(|| Ok(ExitCode::SUCCESS)).is_ok());
    }
}
