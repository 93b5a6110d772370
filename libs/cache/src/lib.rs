//! Clients of shared caches.
