//! Follows redirects. The library can, but takes credentials away already where only the port or the scheme differs.

use std::time::Instant;

use http::header::{HOST, LOCATION};
use http::{HeaderMap, StatusCode};
use reqwest::{Request, RequestBuilder, Response, Url};

use super::{Connections, address};

/// Redirects that are followed, as Go's client does.
const MAX_REDIRECTS: usize = 10;

/// Headers that another host does not get.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "cookie2"];

const OTHER_HOST: &str = "a redirect led to another host, to which credentials are not sent";
const UNENCRYPTED: &str = "a redirect led from https to http, over which credentials are not sent";

/// An answer that came directly or after redirects.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) response: Response,
    /// Why who answered did not get the credentials of the request.
    pub(crate) withheld: Option<&'static str>,
}

impl Connections {
    /// Sends a request of [`Self::post`], and again to where it is redirected.
    ///
    /// Errors: no answer came, or too many redirects. The text does not show addresses.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answered, String> {
        let failed = |error: reqwest::Error| tactus_telemetry::error_text(&error.without_url());
        let (client, request) = request.build_split();
        let mut request = request.map_err(failed)?;
        let started = Instant::now();
        let mut from = self.url.clone();
        let mut withheld = None;
        let mut followed = 0;
        loop {
            let again = if self.options.follow_redirects { request.try_clone() } else { None };
            let response = client.execute(request).await.map_err(failed)?;
            let (Some(again), Some(to)) = (again, target(&response, &from)) else {
                return Ok(Answered { response, withheld });
            };
            if followed == MAX_REDIRECTS {
                return Err("too many redirects".to_owned());
            }
            followed += 1;
            request = self.redirected(again, &to, &mut withheld)?;
            // One limit for all of them.
            let left = self.options.timeout.saturating_sub(started.elapsed());
            *request.timeout_mut() = Some(left);
            from = to;
        }
    }

    fn redirected(
        &self,
        mut request: Request,
        to: &Url,
        withheld: &mut Option<&'static str>,
    ) -> Result<Request, String> {
        if !matches!(to.scheme(), "http" | "https") {
            return Err("a redirect leads to an address that is not HTTP".to_owned());
        }
        if let Some(reason) = untrusted(&self.url, to)
            && take_credentials(request.headers_mut())
        {
            *withheld = Some(reason);
        }
        let (mut url, host) =
            address(to, self.options.lookup.as_ref()).map_err(|error| error.to_string())?;
        // Who redirects does not choose credentials. Addresses of HTTP can always be without.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        *request.url_mut() = url;
        let headers = request.headers_mut();
        headers.remove(HOST);
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
        Ok(request)
    }
}

/// Where the same request is wanted. After any other redirect a page would be asked for, without what was to be sent, and
/// its answer would look as if that had arrived.
fn target(response: &Response, from: &Url) -> Option<Url> {
    let is_same_request = matches!(
        response.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    if !is_same_request {
        return None;
    }
    let location = std::str::from_utf8(response.headers().get(LOCATION)?.as_bytes()).ok()?;
    from.join(location).ok()
}

/// Why credentials for one address are not sent to another. As Go's client does, the port does not matter, and hosts below
/// the first one are trusted like it. Unlike it, credentials that were encrypted stay so.
fn untrusted(first: &Url, to: &Url) -> Option<&'static str> {
    if first.host_str() != to.host_str() && !is_below(to, first) {
        return Some(OTHER_HOST);
    }
    (first.scheme() == "https" && to.scheme() == "http").then_some(UNENCRYPTED)
}

/// Whether the host is `x.example.com`, and the other one `example.com`.
fn is_below(url: &Url, other: &Url) -> bool {
    let (Some(name), Some(other)) = (url.domain(), other.domain()) else { return false };
    name.strip_suffix(other).is_some_and(|rest| rest.ends_with('.'))
}

/// True if there were some.
fn take_credentials(headers: &mut HeaderMap) -> bool {
    let mut any = false;
    for name in CREDENTIALS {
        any |= headers.remove(name).is_some();
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_the_first_host_and_those_below_it() {
        let judged = |first: &str, to: &str| {
            untrusted(&Url::parse(first).unwrap(), &Url::parse(to).unwrap())
        };
        for to in
            ["http://a.test:81/x", "https://A.test/", "http://b.a.test/", "https://c.b.a.test/"]
        {
            assert_eq!(judged("http://a.test/write", to), None, "{to}");
        }
        for to in ["http://b.test/", "http://ba.test/", "http://test/", "http://a.test.b/"] {
            assert_eq!(judged("http://a.test/write", to), Some(OTHER_HOST), "{to}");
        }
        assert_eq!(judged("http://127.0.0.1:1/", "http://127.0.0.1:2/"), None);
        assert_eq!(judged("http://127.0.0.1/", "http://127.0.0.2/"), Some(OTHER_HOST));
        assert_eq!(judged("http://[::1]:1/", "https://[::1]:2/"), None);
        assert_eq!(judged("https://a.test/", "http://a.test/"), Some(UNENCRYPTED));
        assert_eq!(judged("https://a.test/", "http://b.test/"), Some(OTHER_HOST));
    }
}
