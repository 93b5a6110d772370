//! `auth`: who may do what. Not a section of Tempo's, which has no authentication.

use super::{list, seconds};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// Built-in authentication.
    Auth {
        enabled: bool, "ask callers who they are: for queries, receivers, operations and calls between services";
        users_file: String, "file of callers with the hashes of their secrets, their tenants and roles; re-read when it changes";
        internal_token_file: String, "file with the token that services of the cluster show each other; empty asks for a client certificate that grpc_tls_config verifies";
        allow_open_gossip: bool, "let everyone who reaches the gossip port take part in the cluster: gossip asks for no proof of internal_token_file, and needs no certificates";
        public_paths: Vec<String> = list(&["/ready"]), "HTTP paths that stay open to everyone; a final * matches any rest";
        reload_interval: GoDuration = seconds(10), "look for changed files so often";
    }
}
