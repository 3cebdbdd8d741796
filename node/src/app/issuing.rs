//! Issuing memberships by files carried by hand, for hosts that reach no issuer.

use protocol::control::{Admission, Failure, FailureKind, FileBytes, IssueMembership};
use protocol::trust::{self, IssuerNode, MembershipRequest, PeerAddress};

use super::node::Node;
use crate::enrol::verify_tls;

/// Seconds in a day.
const DAY_S: u64 = 24 * 3600;

impl Node {
    pub(super) fn verify_request(&self, bytes: &[u8]) -> Result<trust::VerifiedRequest, Failure> {
        MembershipRequest::verify(&*self.identity.crypto, bytes, verify_tls).map_err(|e| {
            let text = format!("not a membership request: {e}");
            Failure::new(FailureKind::Invalid, e.reason(), text)
                .with_hint("make one on the other host with `hedgerow id --request FILE`")
        })
    }

    /// Issues a membership within what the root allows this issuer, keeps it, and returns the file
    /// for the other host.
    pub(super) async fn issue(&self, issue: IssueMembership) -> Result<Admission, Failure> {
        let issuer = self.own_issuer()?;
        let request = self.verify_request(&issue.request.0)?;
        let node = request.node;
        let grant = crate::store::Grant {
            groups: issue.groups,
            site: issue.site,
            life_s: u64::from(issue.days) * DAY_S,
        };
        let issued = issuer.issue_by_hand(request, issue.name, grant).await;
        let membership = issued.map_err(|refused| refused.to_failure())?;
        let file = trust::Admission {
            root: self.identity.genesis().to_vec(),
            roots: self.standing.later_roots(),
            membership: membership.bytes().to_vec(),
            peers: vec![PeerAddress {
                node: self.identity.node(),
                addresses: self.admission.addresses(),
            }],
            issuers: Some(vec![IssuerNode {
                issuer: issuer.id(),
                node: self.identity.node(),
            }]),
        };
        Ok(Admission {
            node,
            name: membership.content().name.clone(),
            mesh: self.identity.mesh(),
            expires: membership.content().not_after,
            file: FileBytes(file.encode()),
        })
    }
}
