//! What callers may do.

/// What a caller may do for its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Query.
    Read,
    /// Send spans.
    Write,
    /// Change limits, delete; with all tenants, operate the processes.
    Admin,
}

impl Role {
    /// As the file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}
