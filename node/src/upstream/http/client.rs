//! The HTTP client of one attached server: its TLS, and what it never does (follow redirects,
//! use a proxy of the environment, ask for HTTP/2).

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls_platform_verifier::Verifier;

use crate::upstream::error::UpstreamError;
use crate::upstream::limits::CONNECT_TIMEOUT;
use crate::upstream::spec::ServerSpec;

/// A connection without traffic is probed this often, so that a vanished server is noticed.
const KEEPALIVE: core::time::Duration = core::time::Duration::from_secs(30);

/// How long an idle connection is kept. Common servers close theirs after five seconds, and a
/// request sent just then is lost without an answer, which for a call must not be repeated.
const IDLE_KEPT: core::time::Duration = core::time::Duration::from_secs(2);

/// The client for `spec`, if it is attached by URL.
pub(in crate::upstream) fn client(
    spec: &ServerSpec,
) -> Result<Option<reqwest::Client>, UpstreamError> {
    let ServerSpec::Url { url, .. } = spec else {
        return Ok(None);
    };
    let failed = |detail: String| UpstreamError::Tls { detail };
    let https = reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "https");
    let tls = tls(https).map_err(|error| failed(error.to_string()))?;
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .pool_idle_timeout(IDLE_KEPT)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION")));
    let client = builder.build().map_err(|error| failed(error.to_string()))?;
    Ok(Some(client))
}

/// TLS 1.3 with the hybrid group first, and the classical ones because remote servers are not
/// ours to upgrade. The host's root certificates are only asked for where they are needed: a
/// server on loopback must not depend on them.
fn tls(https: bool) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![
        kx_group::X25519MLKEM768,
        kx_group::X25519,
        kx_group::SECP256R1,
        kx_group::SECP384R1,
    ];
    let provider = Arc::new(provider);
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let config = if https {
        let verifier = Verifier::new(provider)?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth()
    } else {
        builder
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    };
    Ok(config)
}

/// The configured headers. Values are marked sensitive, so that no log shows them.
pub(super) fn configured_headers(spec: &ServerSpec) -> HeaderMap {
    let mut map = HeaderMap::new();
    if let ServerSpec::Url { headers, .. } = spec {
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.expose());
            // `ServerSpec::validate` has refused everything else.
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                map.append(name, value);
            }
        }
    }
    map
}
