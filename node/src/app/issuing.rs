//! Issuing memberships: what the founder does for a second host until there are tickets.

use hedgerow_crypto::verify_composite;
use protocol::control::{Admission, Failure, FailureKind, FileBytes, IssueMembership};
use protocol::crypto::TLS_PUBLIC_LEN;
use protocol::trust::membership::sorted_names;
use protocol::trust::{self, Membership, MembershipRequest, PeerAddress};

use super::node::Node;
use super::operations::stored;
use crate::store::Write;

/// Seconds in a day.
const DAY_S: u64 = 24 * 3600;

impl Node {
    pub(super) fn verify_request(&self, bytes: &[u8]) -> Result<trust::VerifiedRequest, Failure> {
        MembershipRequest::verify(&*self.identity.crypto, bytes, |key, message, signature| {
            let key = key.first_chunk::<TLS_PUBLIC_LEN>();
            key.is_some_and(|key| verify_composite(key, message, &[], signature).is_ok())
        })
        .map_err(|e| {
            let text = format!("not a membership request: {e}");
            Failure::new(FailureKind::Invalid, e.reason(), text)
                .with_hint("make one on the other host with `hedgerow id --request FILE`")
        })
    }

    /// Issues a membership within what the root allows this issuer, keeps it, and returns the file
    /// for the other host.
    pub(super) async fn issue(&self, issue: IssueMembership) -> Result<Admission, Failure> {
        let Some(issuer) = &self.issuer else {
            let text = "this node is no issuer of memberships";
            return Err(Failure::new(FailureKind::Denied, "not_an_issuer", text)
                .with_hint("run the command on the host that founded the mesh"));
        };
        let request = self.verify_request(&issue.request.0)?;
        let _one_at_a_time = self.issuing.lock().await;
        let now = self.clock.now().seconds();
        let issued = self
            .store
            .snapshot()
            .and_then(|s| s.memberships())
            .map_err(stored)?;
        let verified: Vec<trust::VerifiedMembership> = issued
            .iter()
            .filter_map(|(_, bytes)| self.verify_membership(bytes))
            .collect();
        let taken = |m: &trust::VerifiedMembership| {
            m.content().name == issue.name && m.node() != request.node && m.valid_at(now).is_ok()
        };
        let own_name = *self.identity.name() == issue.name && self.identity.node() != request.node;
        if own_name || verified.iter().any(taken) {
            let text = format!("another node is named `{}`", issue.name);
            return Err(Failure::new(FailureKind::Conflict, "name_taken", text)
                .with_hint("names are unique in a mesh; choose another with --name"));
        }
        let last = verified
            .iter()
            .map(|m| m.content().issuer_sequence)
            .max()
            .unwrap_or(1);
        let membership = Membership {
            mesh: self.identity.mesh(),
            tls_key: request.content.tls_key,
            signing: request.content.signing,
            name: issue.name.clone(),
            groups: sorted_names(issue.groups),
            site: issue.site,
            not_before: now,
            not_after: now.plus(u64::from(issue.days) * DAY_S),
            issuer_sequence: last + 1,
            replaces: None,
        };
        let expires = membership.not_after;
        let signed = membership
            .sign(&*self.identity.crypto, issuer)
            .map_err(|e| Failure::new(FailureKind::Internal, "signing_failed", e.to_string()))?;
        // What our own verification would refuse is not handed out.
        if self.verify_membership(&signed).is_none() {
            let text = "the membership would exceed what the root allows this issuer";
            return Err(Failure::new(
                FailureKind::Denied,
                "beyond_issuer_limits",
                text,
            ));
        }
        let write = Write::PutMembership(request.node, signed.clone());
        self.store.durable(vec![write]).await.map_err(stored)?;
        let file = trust::Admission {
            root: self.identity.root().bytes().to_vec(),
            membership: signed,
            peers: vec![PeerAddress {
                node: self.identity.node(),
                addresses: self.admission.addresses(),
            }],
            issuers: None,
        };
        Ok(Admission {
            node: request.node,
            name: issue.name,
            mesh: self.identity.mesh(),
            expires,
            file: FileBytes(file.encode()),
        })
    }

    fn verify_membership(&self, bytes: &[u8]) -> Option<trust::VerifiedMembership> {
        let crypto = &*self.identity.crypto;
        trust::VerifiedMembership::verify(crypto, &self.identity.root(), bytes).ok()
    }
}
