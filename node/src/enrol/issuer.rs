//! The issuer of memberships on this node: what it may grant, and how a membership is made.
//!
//! Everything is decided twice: before the transaction by what is cheap or needs the directory, and
//! inside it by the books, which nobody else changes meanwhile. Nothing is handed out that this
//! node's own verification would refuse.

use std::sync::Arc;

use hedgerow_crypto::SigningKeys;
use protocol::crypto::{Crypto, Signer as _, SigningSet, Suite};
use protocol::id::{Challenge, Kid, NodeId, SignerId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::membership::sorted_names;
use protocol::trust::{
    self, MemberFacts, Membership, MembershipRequest, TrustError, VerifiedMembership,
    VerifiedRequest,
};

use super::barred::Barred;
use super::limits::{KEPT_FOR_RENEWAL, MIN_MEMBERSHIP_LIFE_S};
use super::redeem::{Decided, Stop};
use super::refused::Refused;
use super::request::verify_tls;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::members::{Members, Resolved};
use crate::store::{Books, Grant, Store, StoreError};

/// Seconds in an hour, in which the root's rate is counted.
const HOUR_S: u64 = 3600;

/// An issuer. Cheap to share.
pub struct Issuer {
    pub(super) identity: Arc<Identity>,
    pub(super) members: Arc<Members>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) barred: Arc<dyn Barred>,
    pub(super) keys: SigningKeys,
    id: SignerId,
}

/// Whom a membership is for.
pub(super) struct Subject<'a> {
    pub(super) node: NodeId,
    pub(super) tls_key: &'a [u8],
    pub(super) signing: &'a SigningSet,
    pub(super) name: &'a Name,
    pub(super) replaces: Option<Vec<NodeId>>,
}

/// What the books keep of a membership.
struct Issued {
    node: NodeId,
    name: Name,
    kids: Vec<Kid>,
    sequence: u64,
    at: UnixSeconds,
}

/// What part of the hourly rate may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// What newcomers may use.
    Newcomers,
    /// All of it.
    Members,
}

impl Issuer {
    /// The issuer whose keys these are, its books in order: names and keys of memberships that are
    /// known already are bound.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(
        identity: Arc<Identity>,
        members: Arc<Members>,
        store: Store,
        clock: Arc<dyn Clock>,
        barred: Arc<dyn Barred>,
        keys: SigningKeys,
    ) -> Result<Arc<Self>, StoreError> {
        let id = keys.public().id(&*identity.crypto);
        let issuer = Arc::new(Self {
            identity,
            members,
            store,
            clock,
            barred,
            keys,
            id,
        });
        issuer.reconcile().await?;
        Ok(issuer)
    }

    /// The node it runs on.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.identity.node()
    }

    /// What names it.
    #[must_use]
    pub const fn id(&self) -> SignerId {
        self.id
    }

    pub(super) fn now(&self) -> UnixSeconds {
        self.clock.now().seconds()
    }

    pub(super) fn crypto(&self) -> &dyn Crypto {
        &*self.identity.crypto
    }

    /// Binds what was issued before there were books, and this node's own name and keys; goes on
    /// from the greatest sequence seen, wherever it was seen.
    async fn reconcile(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut known: Vec<Issued> = Vec::new();
        // One at a time: ten thousand memberships are 90 MB.
        self.store.snapshot()?.each_membership(|_, bytes| {
            if let Some(membership) = self.verify(bytes) {
                known.extend(self.issued(membership.facts()));
            }
        })?;
        let seen = self.members.all();
        known.extend(seen.iter().filter_map(|m| self.issued(&m.membership)));
        known.extend(self.issued(self.identity.membership().facts()));
        self.store
            .books(move |books| {
                for issued in &known {
                    if books.holder_of_name(&issued.name)?.is_none() {
                        books.bind(&issued.node, &issued.name, &issued.kids)?;
                    }
                    if books.next_sequence()? <= issued.sequence {
                        books.note_issued(issued.sequence, issued.at)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// What the books keep of a membership, if this issuer issued it.
    fn issued(&self, membership: &MemberFacts) -> Option<Issued> {
        (membership.issuer() == self.id).then(|| Issued {
            node: membership.node(),
            name: membership.name.clone(),
            kids: self.kids(&membership.signing),
            sequence: membership.issuer_sequence,
            at: membership.not_before,
        })
    }

    pub(super) fn verify(&self, bytes: &[u8]) -> Option<VerifiedMembership> {
        VerifiedMembership::verify(self.crypto(), &self.identity.root(), bytes).ok()
    }

    pub(super) fn kids(&self, signing: &SigningSet) -> Vec<Kid> {
        let algorithms = Suite::Hybrid.algorithms().iter();
        algorithms
            .map(|&algorithm| signing.kid(self.crypto(), algorithm))
            .collect()
    }

    /// What the root says of this issuer.
    pub(super) fn mandate(&self) -> Result<trust::Issuer, Refused> {
        let root = self.identity.root();
        let named = root.root().issuers.iter();
        let own = named.into_iter().find(|i| i.keys == *self.keys.public());
        own.cloned().ok_or_else(|| Refused::NotNamed {
            node: self.identity.name().clone(),
        })
    }

    /// Whether the root lets this issuer grant that.
    pub(super) fn within(&self, grant: &Grant) -> Result<trust::Issuer, Refused> {
        let mandate = self.mandate()?;
        let beyond = |limit: &Option<Vec<Name>>, name: &Name| {
            limit
                .as_ref()
                .is_some_and(|allowed| !allowed.contains(name))
        };
        if let Some(group) = grant.groups.iter().find(|g| beyond(&mandate.groups, g)) {
            return Err(Refused::BeyondGroups(group.clone()));
        }
        match &grant.site {
            Some(site) if beyond(&mandate.sites, site) => {
                return Err(Refused::BeyondSites(format!("`{site}`")));
            }
            _ => {}
        }
        if grant.life_s > mandate.max_life_s {
            return Err(Refused::BeyondLifetime {
                asked_s: grant.life_s,
                max_s: mandate.max_life_s,
            });
        }
        Ok(mandate)
    }

    /// Makes and keeps a membership, inside the transaction.
    pub(super) fn issue(
        &self,
        books: &mut Books<'_, '_>,
        subject: &Subject<'_>,
        grant: &Grant,
        share: Share,
    ) -> Result<Vec<u8>, Stop> {
        let mandate = self.within(grant)?;
        let now = self.now();
        let allowed = match share {
            Share::Newcomers => mandate.max_per_hour - mandate.max_per_hour / KEPT_FOR_RENEWAL,
            Share::Members => mandate.max_per_hour,
        };
        if books.issued_around(now, HOUR_S, allowed)? >= allowed {
            return Err(Refused::Rate(mandate.max_per_hour).into());
        }
        if books.membership(&subject.node)?.is_none()
            && books.memberships()? >= crate::store::MAX_NODES
        {
            return Err(Refused::Full("this issuer keeps as many memberships as it may").into());
        }
        let sequence = books.next_sequence()?;
        let membership = Membership {
            mesh: self.identity.mesh(),
            tls_key: subject.tls_key.to_vec(),
            signing: subject.signing.clone(),
            name: subject.name.clone(),
            groups: sorted_names(grant.groups.clone()),
            site: grant.site.clone(),
            not_before: now,
            not_after: now.plus(grant.life_s.max(MIN_MEMBERSHIP_LIFE_S)),
            issuer_sequence: sequence,
            replaces: subject.replaces.clone(),
        };
        let signed = membership
            .sign(self.crypto(), &self.keys)
            .map_err(|e| Refused::Failed(e.to_string()))?;
        let Some(verified) = self.verify(&signed) else {
            let text = "the membership made would not verify under the root";
            return Err(Refused::Failed(text.to_owned()).into());
        };
        // The books may know less than the others do: those of a restored issuer do.
        match self.members.judge_issuer(&verified) {
            Ok(()) => {}
            Err(TrustError::IssuerTooFast(most)) => return Err(Refused::Rate(most).into()),
            Err(error) => return Err(Refused::Failed(error.to_string()).into()),
        }
        books.put_membership(&subject.node, sequence, now, &signed)?;
        let kids = self.kids(subject.signing);
        books.bind(&subject.node, subject.name, &kids)?;
        Ok(signed)
    }

    /// Judges a request that came on a join stream on which `challenge` was drawn.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn judge(
        self: &Arc<Self>,
        request: Vec<u8>,
        shown: Option<&[u8]>,
        challenge: Challenge,
    ) -> Result<Decided, Refused> {
        let said = MembershipRequest::peek(&request).map_err(Refused::Request)?;
        if said.mesh != Some(self.identity.mesh()) {
            return Err(Refused::ForeignMesh);
        }
        if said.challenge != Some(challenge) {
            return Err(Refused::WrongChallenge);
        }
        match (said.ticket, said.replaces) {
            (Some(_), Some(_)) => Err(Refused::Malformed(
                "a request joins or rotates, not both".to_owned(),
            )),
            (Some(ticket), None) => {
                // The MAC first: it costs nothing, the signatures cost.
                self.shows(ticket, &said, challenge)?;
                let verified = self.verified(&request)?;
                self.redeem(ticket, verified, request).await
            }
            (None, Some(old)) => self.rotate(old, &request, shown).await,
            (None, None) => {
                let verified = self.verified(&request)?;
                self.renew(verified, shown).await
            }
        }
    }

    fn verified(&self, request: &[u8]) -> Result<VerifiedRequest, Refused> {
        let verified = MembershipRequest::verify(self.crypto(), request, verify_tls);
        verified.map_err(Refused::Request)
    }

    /// The nodes of the directory that have this name; a revoked node's is free.
    pub(super) fn named(&self, name: &Name) -> Vec<NodeId> {
        let mut nodes = match self.members.resolve(name, self.now()) {
            Resolved::One(member) => vec![member.membership.node()],
            Resolved::Several(nodes) => nodes,
            Resolved::Nobody => Vec::new(),
        };
        nodes.retain(|node| self.barred.node(node).is_none());
        nodes
    }

    /// Whether somebody else of the directory, enrolled by another issuer, has this name or one of
    /// these keys.
    pub(super) fn refuse_known(
        &self,
        node: NodeId,
        name: Option<&Name>,
        signing: &SigningSet,
    ) -> Result<(), Refused> {
        if let Some(name) = name
            && self.named(name).iter().any(|other| *other != node)
        {
            return Err(Refused::NameTaken(name.clone()));
        }
        let shares = |other: &SigningSet| {
            let mut algorithms = Suite::Hybrid.algorithms().iter();
            algorithms.any(|&a| other.key(a) == signing.key(a))
        };
        let holder =
            self.members.all().into_iter().find(|member| {
                member.membership.node() != node && shares(&member.membership.signing)
            });
        match holder {
            Some(holder) => Err(Refused::KidBound(holder.membership.node())),
            None => Ok(()),
        }
    }
}
