use std::collections::BTreeMap;

use tactus_config::Secret;
use tactus_config::sections::remote_write::{
    Authorization, BasicAuth, OAuth2, RelabelConfig, RemoteTls,
};

use super::*;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config { url: "http://localhost/write".to_owned(), ..Config::default() };
    change(&mut config);
    config
}

fn refusal(change: impl FnOnce(&mut Config)) -> String {
    let config = config(change);
    let error = remotes(std::slice::from_ref(&config)).err();
    error.map_or_else(|| "accepted".to_owned(), |error| error.reason.to_string())
}

fn headers(name: &str) -> BTreeMap<String, Secret> {
    [(name.to_owned(), Secret::new("x"))].into()
}

#[test]
fn entries_that_cannot_be_used_are_refused_in_prometheus_words() {
    assert_eq!(refusal(|_| ()), "accepted");
    assert_eq!(refusal(|config| config.url.clear()), "url for remote_write is empty");
    assert_eq!(
        refusal(|config| config.headers = headers("Content-Type")),
        "Content-Type is a reserved header. It must not be changed"
    );
    assert_eq!(
        refusal(|config| config.headers = headers("Authorization")),
        "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter"
    );
    assert_eq!(refusal(|config| config.headers = headers("a b")), "\"a b\" cannot be a header");
    assert_eq!(
        refusal(|config| config.protobuf_message = "x".to_owned()),
        "invalid protobuf_message value: unknown type for remote write protobuf message x, \
         supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"
    );
    assert!(refusal(|config| config.url = "localhost:80".to_owned()).contains("http://"));
    assert_eq!(
        refusal(|config| config.queue_config.max_shards = 0),
        "queue_config.max_shards must be greater than zero"
    );
    assert_eq!(
        refusal(|config| {
            let rule = RelabelConfig { action: "x".to_owned(), ..RelabelConfig::default() };
            config.write_relabel_configs = vec![rule];
        }),
        "write_relabel_configs: unknown relabel action \"x\""
    );
}

#[test]
fn one_way_to_authenticate_at_most() {
    let basic = || Some(BasicAuth { username: "u".to_owned(), ..BasicAuth::default() });
    let oauth2 = || {
        Some(OAuth2 {
            client_id: "c".to_owned(),
            token_url: "http://localhost/token".to_owned(),
            ..OAuth2::default()
        })
    };
    assert_eq!(refusal(|config| config.basic_auth = basic()), "accepted");
    assert_eq!(refusal(|config| config.oauth2 = oauth2()), "accepted");
    let both = "at most one of basic_auth, oauth2 & authorization must be configured";
    assert_eq!(refusal(|config| (config.basic_auth, config.oauth2) = (basic(), oauth2())), both);
    assert_eq!(
        refusal(|config| {
            config.basic_auth = basic();
            config.authorization = Some(Authorization::default());
        }),
        both
    );
    assert_eq!(
        refusal(|config| {
            let basic = BasicAuth { username_file: "f".to_owned(), ..basic().unwrap() };
            config.basic_auth = Some(basic);
        }),
        "at most one of basic_auth username, username_file & username_ref must be configured"
    );
    assert_eq!(
        refusal(|config| {
            config.oauth2 = Some(OAuth2 { token_url: String::new(), ..oauth2().unwrap() });
        }),
        "oauth2 token_url must be configured"
    );
}

#[test]
fn proxy_that_would_be_gone_past_is_refused_with_its_key() {
    let tail = "must begin with http:// or https://: there are no other proxies here";
    for proxy in ["ftp://p:9", "htp://p:9", "socks5://p:9", "ftp:p:9", "file:///p"] {
        let reason = refusal(|config| config.proxy_url = proxy.to_owned());
        assert_eq!(reason, format!("proxy_url {proxy:?}: {tail}"));
        let oauth2 = OAuth2 {
            client_id: "c".to_owned(),
            token_url: "http://localhost/token".to_owned(),
            proxy_url: proxy.to_owned(),
            ..OAuth2::default()
        };
        let reason = refusal(|config| config.oauth2 = Some(oauth2));
        assert_eq!(reason, format!("oauth2.proxy_url {proxy:?}: {tail}"));
    }
    for proxy in ["http://p:9", "HTTPS://p", "http://u:x@p:9", "p:9", "10.0.0.1:9", "u:x@p:9"] {
        let reason = refusal(|config| config.proxy_url = proxy.to_owned());
        assert_eq!(reason, "accepted", "{proxy}");
    }
}

#[test]
fn refusals_show_no_password() {
    let refusals = [
        refusal(|config| config.url = "u:hunter2@h/x".to_owned()),
        refusal(|config| config.url = "//u:hunter2@h".to_owned()),
        refusal(|config| config.proxy_url = "ftp://u:hunter2@h".to_owned()),
    ];
    for reason in refusals {
        assert!(reason.contains("u:********@h"), "{reason}");
    }
}

#[test]
fn certificates_are_judged_also_where_only_a_redirect_needs_them() {
    let broken = || RemoteTls { ca: "x".to_owned(), ..RemoteTls::default() };
    let section = "metrics_generator.storage.remote_write";
    let reason = refusal(|config| config.tls_config = broken());
    assert!(reason.starts_with(&format!("{section}.tls_config.ca")), "{reason}");
    let reason = refusal(|config| config.tls_config.cert = "x".to_owned());
    assert!(reason.contains("certificate given but no key configured"), "{reason}");
    let reason = refusal(|config| {
        config.oauth2 = Some(OAuth2 {
            client_id: "c".to_owned(),
            token_url: "http://localhost/token".to_owned(),
            tls_config: broken(),
            ..OAuth2::default()
        });
    });
    assert!(reason.starts_with(&format!("{section}.oauth2.tls_config.ca")), "{reason}");
    let unused = refusal(|config| {
        config.tls_config = broken();
        config.follow_redirects = false;
    });
    assert_eq!(unused, "accepted");
}

#[test]
fn same_entry_twice_is_refused_and_a_difference_makes_two_remotes() {
    let entry = config(|_| ());
    let error = remotes(&[entry.clone(), entry.clone()]).unwrap_err();
    assert_eq!(
        error.reason.to_string(),
        "duplicate remote write configs are not allowed, found duplicate for URL: http://localhost/write"
    );
    let other = config(|config| config.queue_config.max_shards = 7);
    let both = remotes(&[entry, other]).unwrap();
    assert_ne!(both[0].key, both[1].key);
    assert_ne!(both[0].name, both[1].name);
    assert_eq!(both[0].name.len(), 6);
}

#[test]
fn key_of_a_remote_stays_when_its_queue_or_credentials_change() {
    let key = |change: fn(&mut Config)| remotes(&[config(change)]).unwrap()[0].key.key.clone();
    let plain = key(|_| ());
    assert_eq!(plain, key(|config| config.queue_config.max_shards = 3));
    assert_eq!(plain, key(|config| config.bearer_token_file = "token".to_owned()));
    assert_ne!(plain, key(|config| config.url = "http://localhost/other".to_owned()));
}

#[test]
fn key_of_one_of_several_that_are_alike_does_not_depend_on_its_place() {
    let [a, b, c] = [1, 2, 3].map(|shards| config(|c| c.queue_config.max_shards = shards));
    let secret = |value: &str| {
        let value = Secret::new(value);
        config(|config| config.headers = [("x-key".to_owned(), value)].into())
    };
    let keys = |configs: &[Config]| -> Vec<RemoteKey> {
        remotes(configs).unwrap().iter().map(|remote| remote.key.clone()).collect()
    };
    let all = keys(&[a.clone(), b.clone(), c.clone()]);
    let fewer = keys(&[a.clone(), c.clone()]);
    assert_eq!((&fewer[0], &fewer[1]), (&all[0], &all[2]));
    let alone = keys(std::slice::from_ref(&c));
    assert_eq!(alone[0].key, all[0].key, "the key of the first");
    assert_eq!(alone[0].content, all[2].key, "tells that it was another one");
    let twins = keys(&[a, secret("x"), secret("y")]);
    assert_ne!(twins[1].key, twins[2].key);
}
