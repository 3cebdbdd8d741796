//! Identifiers and names in text, and the JSON of the control API.

use protocol::control::{
    AddAgent, AddServer, Admission, CallRequest, DecisionQuery, DecisionSearch, InspectRequest,
    IssueMembership, ServerFilter, ServerSpec,
};
use protocol::id::{Digest, EnvelopeId, Kid, MeshId, NodeId, RequestId, SessionId};
use protocol::name::Name;
use serde::de::DeserializeOwned;

pub fn ids(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    id::<NodeId>(text);
    id::<MeshId>(text);
    id::<EnvelopeId>(text);
    id::<Kid>(text);
    id::<Digest>(text);
    id::<RequestId>(text);
    id::<SessionId>(text);
    let _ = NodeId::try_from(data);
}

/// An identifier has one text.
fn id<T: core::str::FromStr + core::fmt::Display>(text: &str) {
    if let Ok(id) = text.parse::<T>() {
        assert_eq!(id.to_string(), text);
    }
}

pub fn names(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    match text.parse::<Name>() {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(text.len() <= Name::MAX && !text.contains("__"));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}

/// What the control API reads from its socket.
pub fn control(data: &[u8]) {
    read::<AddAgent>(data);
    read::<AddServer>(data);
    read::<Admission>(data);
    read::<CallRequest>(data);
    read::<DecisionQuery>(data);
    read::<DecisionSearch>(data);
    read::<InspectRequest>(data);
    read::<IssueMembership>(data);
    read::<ServerFilter>(data);
    if let Ok(spec) = serde_json::from_slice::<ServerSpec>(data)
        && spec.check().is_ok()
    {
        let _ = spec.info();
    }
}

fn read<T: DeserializeOwned>(data: &[u8]) {
    let _ = serde_json::from_slice::<T>(data);
}
