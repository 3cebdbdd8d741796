//! Who may speak HTTP to a listener on loopback: only what addresses it by one of its own names.
//!
//! Any page of any site can have a browser send requests to this host, and any name can be made to
//! resolve to it. `Host` and `Origin` tell such requests from those meant for the listener. Whoever
//! passes is still nobody: tokens and sessions are the listener's own to check.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};

/// Names by which a client on this host may address a listener, with its port.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Why a request is not meant for this listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// `Host` is missing, doubled, or none of the listener's own names.
    Host,
    /// `Origin` is present and not the listener's own.
    Origin,
}

/// Refuses what a page of another site, or a name that was rebound to loopback, would send to the
/// listener on `port`.
pub(crate) fn check<B>(request: &Request<B>, port: u16) -> Result<(), Foreign> {
    let is_ours = |authority: &str| {
        let port_of = |name: &str| {
            authority
                .strip_prefix(name)?
                .strip_prefix(':')?
                .parse()
                .ok()
        };
        NAMES.iter().any(|name| port_of(name) == Some(port))
    };
    let host = single(request.headers(), &HOST).map_err(|()| Foreign::Host)?;
    if !host.is_some_and(is_ours) {
        return Err(Foreign::Host);
    }
    if request
        .uri()
        .authority()
        .is_some_and(|a| !is_ours(a.as_str()))
    {
        return Err(Foreign::Host);
    }
    let origin = single(request.headers(), &ORIGIN).map_err(|()| Foreign::Origin)?;
    match origin {
        Some(origin) if !origin.strip_prefix("http://").is_some_and(is_ours) => {
            Err(Foreign::Origin)
        }
        _ => Ok(()),
    }
}

/// The one value of a header; `Err` when there are several or it is not visible ASCII.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}
