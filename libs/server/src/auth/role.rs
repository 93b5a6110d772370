//! What callers may do.

tactus_model::words! {
    /// What a caller may do for its tenants.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Role: name {
        /// Query.
        Read = "read",
        /// Send spans.
        Write = "write",
        /// Change limits, delete; with all tenants, operate the processes.
        Admin = "admin",
    }
}
