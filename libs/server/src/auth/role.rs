//! The roles of callers.

tactus_model::words! {
    /// A permission of a caller for its tenants.
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
