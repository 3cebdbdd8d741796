//! Whether the definition of the tool that was called was an approved one.
//!
//! A record holds the digest of the definition; which were approved then stands in the bundle it
//! was decided under, as long as the node keeps that.

use protocol::control::{BundleFile, Decision, FileBytes, route};
use protocol::trust::bundle::{BundleBody, Pin};

use crate::client::Client;

/// What is known of a tool's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Definition {
    /// It was approved.
    Approved,
    /// None of this tool was approved.
    NotApproved,
    /// Another of this tool was.
    OtherApproved,
    /// The node did not know how the tool was defined.
    NotKnown,
    /// The bundle it was decided under is not kept any more.
    BundleGone,
}

impl Definition {
    /// For people.
    pub(crate) const fn told(self) -> &'static str {
        match self {
            Self::Approved => "an approved one",
            Self::NotApproved => "not approved; none of this tool was",
            Self::OtherApproved => "not approved; another of this tool was",
            Self::NotKnown => "not known here when this was decided",
            Self::BundleGone => "not known whether approved: its bundle is not kept any more",
        }
    }
}

/// What a decision's definition was; `None` of what calls no tool or was decided on no facts.
pub(crate) async fn of(client: &Client, decision: &Decision) -> Option<Definition> {
    let basis = decision.basis.as_ref()?;
    let tool = decision.name.as_ref()?;
    let server = decision.server.as_ref()?;
    if decision.method.as_deref() != Some("tools/call") || decision.bundle == 0 {
        return None;
    }
    let Some(digest) = basis.tool_digest else {
        return Some(Definition::NotKnown);
    };
    let path = format!("{}?version={}", route::PAST_BUNDLE, decision.bundle);
    let bundle: Result<BundleFile, _> = client.read(&path).await;
    let body = bundle.ok().and_then(|bundle| match bundle.body {
        Some(FileBytes(bytes)) => BundleBody::decode(&bytes).ok(),
        None => None,
    });
    let Some(body) = body else {
        return Some(Definition::BundleGone);
    };
    let of_tool = |pin: &&Pin| pin.server.as_str() == server.as_str() && pin.tool == *tool;
    let pins: Vec<&Pin> = body.pins.iter().filter(of_tool).collect();
    Some(if pins.iter().any(|pin| pin.digest == digest) {
        Definition::Approved
    } else if pins.is_empty() {
        Definition::NotApproved
    } else {
        Definition::OtherApproved
    })
}
