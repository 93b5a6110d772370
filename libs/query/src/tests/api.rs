//! The API over a real querier and the sample blocks, for the tests of this crate and of those above it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tactus_config::sections::overrides::Limits;
use tactus_query::{Frontend, Parts, Settings, router};
use tactus_query_jobs::Querier;
use tactus_server::tenancy::Tenancy;
use tactus_storage::block_io::read_meta;
use tactus_storage::{BlockMeta, Blocklist, Bucket, BucketSettings, Uuid};
use tactus_telemetry::metrics::Registry;
use tower::ServiceExt as _;

use super::doubles::{BlockData, RecentData};

pub(crate) const TENANT: &str = "single-tenant";
pub(crate) const V4: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const V5: &str = "22222222-2222-4222-8222-222222222222";

/// The time of the sample blocks.
pub(crate) const RANGE: &str = "start=1699999000&end=1700001000";

/// Two aligned minutes, of which a range query with steps of a minute shows three intervals.
pub(crate) const MINUTES: &str = "start=1700000040&end=1700000160";

pub(crate) struct Api {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) recent: Arc<RecentData>,
    pub(crate) registry: Registry,
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) router: Router,
}

/// What differs from test to test.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) tenancy: Tenancy,
    pub(crate) limits: Limits,
    pub(crate) blocks: &'static [&'static str],
    /// In place of a real querier of the blocks.
    pub(crate) querier: Option<Arc<BlockData>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            tenancy: Tenancy::single(),
            limits: Limits::built_in(),
            blocks: &[V4],
            querier: None,
        }
    }
}

/// The built-in limits, changed.
pub(crate) fn limits_with(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::built_in();
    change(&mut limits);
    limits
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Api {
    pub(crate) async fn new(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        setup.blocks.iter().for_each(|block| copy_block(block, &path));
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let blocklist = Arc::new(Blocklist::new());
        for block in setup.blocks {
            blocklist.add_block(meta_of(&bucket, block).await);
        }
        let registry = Registry::new();
        let querier = Querier::new(
            tactus_query_jobs::Settings::default(),
            bucket,
            Arc::clone(&blocklist),
            &registry,
        );
        let recent = Arc::new(RecentData::default());
        let limits = Arc::new(setup.limits);
        let parts = Parts {
            settings: setup.settings,
            tenancy: setup.tenancy,
            limits: Arc::new(move |_| Arc::clone(&limits)),
            ingester: Arc::clone(&recent) as _,
            querier: setup.querier.map_or_else(|| Arc::new(querier) as _, |double| double as _),
            blocklist: Arc::clone(&blocklist),
        };
        let frontend = Frontend::new(parts, &registry);
        let router = router(Arc::clone(&frontend));
        Self { directory, blocklist, recent, registry, frontend, router }
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get_as(&self, path: &str, header: &str, value: &str) -> Answer {
        self.request(Request::get(path).header(header, value).body(Body::empty()).unwrap()).await
    }

    /// A search within the time of the sample blocks; the query may hold anything.
    pub(crate) async fn search(&self, query: &str, more: &str) -> Answer {
        let encoded = encoded(query);
        self.get(&format!("/api/search?q={encoded}&{RANGE}&limit=1000{more}")).await
    }

    /// A range query over three intervals of a minute, which end at 1700000040 and after.
    pub(crate) async fn range(&self, query: &str, more: &str) -> Answer {
        let encoded = encoded(query);
        self.get(&format!("/api/metrics/query_range?q={encoded}&{MINUTES}&step=60{more}")).await
    }

    pub(crate) fn cut_data(&self, block: &str) {
        let path = self.directory.path().join(TENANT).join(block).join("data.parquet");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
}

/// A query as part of a URL.
pub(crate) fn encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

pub(crate) async fn meta_of(bucket: &Bucket, block: &str) -> BlockMeta {
    read_meta(bucket, TENANT, Uuid::parse_str(block).unwrap()).await.unwrap()
}

pub(crate) fn copy_block(block: &str, root: &Path) {
    let version = if block == V4 { "vParquet4" } else { "vParquet5" };
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../conformance/blocks")
        .join(version)
        .join(TENANT)
        .join(block);
    let target = root.join(TENANT).join(block);
    fs::create_dir_all(&target).unwrap();
    for entry in fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        // Not `fs::copy`: the samples are read-only, and a test damages its copy.
        fs::write(target.join(path.file_name().unwrap()), fs::read(&path).unwrap()).unwrap();
    }
}
