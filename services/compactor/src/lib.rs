//! The compactor: decides which blocks become one, and when data goes.
