//! The configured caches, from today's section and from the keys of earlier releases.

use crate::sections::cache::{BackgroundCache, Cache};
use crate::sections::root::Config;

const ROLES: &[&str] = &[
    "bloom",
    "trace-id-index",
    "parquet-footer",
    "parquet-column-idx",
    "parquet-offset-idx",
    "parquet-page",
    "frontend-search",
];

impl Config {
    /// Whether `storage.trace.cache` names a cache. The Tempo operator writes `none`.
    pub(crate) fn has_old_cache(&self) -> bool {
        !matches!(self.storage.trace.cache.as_str(), "" | "none")
    }

    /// All caches with the settings of their writes: those of `cache`, and the one that `storage.trace.cache` names, as
    /// if it stood among them.
    ///
    /// Errors: that one is of an unknown kind, or its keys are set without it.
    pub fn all_caches(&self) -> Result<Vec<(Cache, BackgroundCache)>, String> {
        let background = &self.cache.background;
        let mut all: Vec<_> =
            self.cache.caches.iter().map(|cache| (cache.clone(), background.clone())).collect();
        let trace = &self.storage.trace;
        let control = &trace.search.cache_control;
        let controlled = [
            (control.footer, "footer", "parquet-footer"),
            (control.column_index, "column_index", "parquet-column-idx"),
            (control.offset_index, "offset_index", "parquet-offset-idx"),
        ];
        let mut roles = vec!["bloom".to_owned(), "trace-id-index".to_owned()];
        for (is_set, key, role) in controlled {
            if !is_set {
                continue;
            }
            if !self.has_old_cache() {
                return Err(format!(
                    "storage.trace.search.cache_control.{key} is set, but storage.trace.cache is not"
                ));
            }
            roles.push(role.to_owned());
        }
        let (memcached, redis) = match trace.cache.as_str() {
            _ if !self.has_old_cache() => return Ok(all),
            "memcached" => (Some(trace.memcached.clone().unwrap_or_default()), None),
            "redis" => (None, Some(trace.redis.clone().unwrap_or_default())),
            other => return Err(format!("storage.trace.cache: unknown cache {other}")),
        };
        all.push((Cache { roles, memcached, redis }, trace.background_cache.clone()));
        Ok(all)
    }
}

pub(super) fn validate(config: &Config) -> Result<(), String> {
    let mut claimed: Vec<String> = Vec::new();
    for (cache, _) in config.all_caches()? {
        let roles = cache.roles.join(" ");
        let wrong = match (&cache.memcached, &cache.redis) {
            (Some(_), Some(_)) => "both memcached and redis configs",
            (None, None) => "neither memcached nor redis configs",
            _ => "",
        };
        if !wrong.is_empty() {
            return Err(format!("cache config for role [{roles}] has {wrong}"));
        }
        if cache.roles.is_empty() {
            return Err("configured caches require a valid role".to_owned());
        }
        for role in cache.roles {
            if !ROLES.contains(&role.as_str()) {
                return Err(format!("role {role} is not a valid role"));
            }
            if claimed.contains(&role) {
                return Err(format!("role {role} is claimed by more than one cache"));
            }
            claimed.push(role);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::from_yaml;

    fn roles(text: &str) -> Result<Vec<Vec<String>>, String> {
        let all = from_yaml(text).unwrap().all_caches()?;
        Ok(all.into_iter().map(|(cache, _)| cache.roles).collect())
    }

    #[test]
    fn old_cache_claims_the_roles_that_it_had() {
        let text = "storage: {trace: {cache: redis, redis: {endpoint: 'r:1', pool-size: 3}, background_cache: \
                    {writeback_goroutines: 2}, search: {cache_control: {footer: true, offset_index: true}}}}";
        let mut all = from_yaml(text).unwrap().all_caches().unwrap();
        let (cache, background) = all.remove(0);
        let roles = ["bloom", "trace-id-index", "parquet-footer", "parquet-offset-idx"];
        assert_eq!(cache.roles, roles);
        assert_eq!((background.writeback_goroutines, background.writeback_buffer), (2, 10_000));
        let redis = cache.redis.unwrap();
        assert_eq!((redis.endpoint.as_str(), redis.pool_size, cache.memcached), ("r:1", 3, None));
        assert_eq!(all, []);
    }

    #[test]
    fn keys_of_the_old_cache_need_it() {
        let control = "storage: {trace: {search: {cache_control: {column_index: true}}}}";
        let text = "storage.trace.search.cache_control.column_index is set, but storage.trace.cache is not";
        assert_eq!(roles(control).unwrap_err(), text);
        let unknown = roles("storage: {trace: {cache: disk}}").unwrap_err();
        assert_eq!(unknown, "storage.trace.cache: unknown cache disk");
        let unused = "storage: {trace: {memcached: {host: h}}}";
        assert_eq!(roles(unused).unwrap(), [[""; 0]; 0]);
    }

    #[test]
    fn old_and_new_cache_stand_side_by_side() {
        let text = "storage: {trace: {cache: memcached, memcached: {addresses: 'm:1'}}}\n\
                    cache: {background: {writeback_buffer: 5}, caches: [{roles: [parquet-page], redis: {endpoint: 'r:1'}}]}";
        let all = from_yaml(text).unwrap().all_caches().unwrap();
        assert_eq!(all[0].1.writeback_buffer, 5);
        assert_eq!(roles(text).unwrap(), [vec!["parquet-page"], vec!["bloom", "trace-id-index"]]);
    }
}
