//! What a cache is for.

use std::fmt;

/// What a cache holds; the names are those of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Bloom filters of blocks.
    Bloom,
    /// Indexes of trace ids, which only blocks of older formats have.
    TraceIdIndex,
    /// Footers of blocks.
    ParquetFooter,
    /// Statistics of pages.
    ParquetColumnIndex,
    /// Places of pages.
    ParquetOffsetIndex,
    /// Pages: the data itself.
    ParquetPage,
    /// Answers of jobs.
    FrontendSearch,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 7] = [
        Self::Bloom,
        Self::TraceIdIndex,
        Self::ParquetFooter,
        Self::ParquetColumnIndex,
        Self::ParquetOffsetIndex,
        Self::ParquetPage,
        Self::FrontendSearch,
    ];

    /// The name in the configuration, in keys and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bloom => "bloom",
            Self::TraceIdIndex => "trace-id-index",
            Self::ParquetFooter => "parquet-footer",
            Self::ParquetColumnIndex => "parquet-column-idx",
            Self::ParquetOffsetIndex => "parquet-offset-idx",
            Self::ParquetPage => "parquet-page",
            Self::FrontendSearch => "frontend-search",
        }
    }

    /// The role of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
