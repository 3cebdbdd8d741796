//! Taking newer documents, by the rules of each role.

use std::sync::Arc;

use super::super::bundle::{Bundle, VerifiedBundleHead};
use super::super::document::{Document, LogRow};
use super::super::revocation::VerifiedLogHead;
use super::super::timestamp::{Timestamp, VerifiedTimestamp};
use super::super::{Bytes, TrustError, VerifiedRoot};
use super::{AdminLog, Change, ForkOf, Missing, Offer, TrustState, body_of};
use crate::cose::CoseError;
use crate::crypto::Crypto;
use crate::id::SignerId;
use crate::limits::{MAX_BUNDLE_JUMP, MAX_TIME_AHEAD_S, MAX_TIMESTAMP_JUMP};
use crate::time::UnixSeconds;

impl TrustState {
    /// Takes `document` if it is newer than what is in force and holds. `now` is the local clock.
    ///
    /// # Errors
    /// [`TrustError`] if it does not hold: whoever made or sent it is at fault, and nothing has
    /// changed.
    pub fn offer(
        &mut self,
        crypto: &dyn Crypto,
        now: UnixSeconds,
        document: &Document,
    ) -> Result<Offer, TrustError> {
        match document {
            Document::Root(bytes) => self.offer_root(crypto, bytes),
            Document::BundleHead(bytes) => self.offer_bundle_head(crypto, bytes),
            Document::BundleBody(bytes) => self.offer_bundle_body(crypto, bytes),
            Document::LogHead(bytes) => self.offer_log_head(crypto, bytes),
            Document::LogEntries {
                admin,
                from,
                entries,
            } => self.offer_entries(crypto, admin, *from, entries),
            Document::Timestamp(bytes) => self.offer_timestamp(crypto, now, bytes),
        }
    }

    fn offer_root(&mut self, crypto: &dyn Crypto, bytes: &Bytes) -> Result<Offer, TrustError> {
        let content = VerifiedRoot::peek(bytes)?;
        let (held, version) = (self.root.root().version, content.version);
        let next = held.saturating_add(1);
        if version > next {
            return Ok(Offer::Wanted(Missing::Roots { from: next }));
        }
        if version == next {
            let root = self.root.successor(crypto, bytes)?;
            self.take_root(Arc::new(root));
            return Ok(Offer::New(Change::Root { version }));
        }
        if self.root_of(version).is_some_and(|r| *r.root() == content) {
            return Ok(if version == held {
                Offer::Known
            } else {
                Offer::Stale
            });
        }
        // Another root of a version there is: an alarm if it would have held in its place.
        match version.checked_sub(1).and_then(|v| self.root_of(v)) {
            Some(before) => before.successor(crypto, bytes).map(|_| ())?,
            None => return Err(TrustError::ForeignMesh),
        }
        Ok(Offer::Fork(ForkOf::Root(version)))
    }

    pub(super) fn take_root(&mut self, root: Arc<VerifiedRoot>) {
        let mesh = root.mesh();
        for admin in root.admin_ids().iter().chain(root.retired_ids()) {
            let empty = || Arc::new(AdminLog::new(mesh, *admin));
            self.logs.entry(*admin).or_insert_with(empty);
        }
        let known = self.root.retired_ids();
        for admin in root.retired_ids().iter().filter(|id| !known.contains(id)) {
            if let (Some(log), Some(cut)) = (self.logs.get_mut(admin), root.retired(admin)) {
                Arc::make_mut(log).cut(cut);
            }
        }
        if root.root().epoch != self.root.root().epoch {
            self.bundle = None;
            self.timestamps.clear();
            self.complete = None;
            self.greatest = UnixSeconds(0);
            for log in self.logs.values_mut() {
                Arc::make_mut(log).forget_marks();
            }
        }
        self.bundle_head = None;
        self.timestamps
            .retain(|id, _| root.timestamper(id).is_some());
        Arc::make_mut(&mut self.roots).push(Arc::clone(&root));
        self.root = root;
        self.rejudge();
        self.recomplete();
    }

    /// Whether a document of this epoch and root can be judged here.
    fn place(&self, epoch: u64, root_version: u64) -> Result<Option<Missing>, TrustError> {
        let root = self.root.root();
        if root_version > root.version {
            let from = root.version.saturating_add(1);
            return Ok(Some(Missing::Roots { from }));
        }
        if epoch == root.epoch {
            Ok(None)
        } else {
            let (expected, found) = (root.epoch, epoch);
            Err(TrustError::WrongEpoch { expected, found })
        }
    }

    fn offer_bundle_head(
        &mut self,
        crypto: &dyn Crypto,
        bytes: &Bytes,
    ) -> Result<Offer, TrustError> {
        let content = VerifiedBundleHead::peek(bytes)?;
        if content.mesh != self.mesh() {
            return Err(TrustError::ForeignMesh);
        }
        if let Some(missing) = self.place(content.epoch, content.root_version)? {
            return Ok(Offer::Wanted(missing));
        }
        let found = content.version;
        let held = self.bundle.as_ref().map(|b| b.version());
        let same = |head: &VerifiedBundleHead| *head.content() == content;
        if self.bundle.as_ref().is_some_and(|b| same(b.head())) {
            return Ok(Offer::Known);
        }
        if let Some(pending) = self.bundle_head.as_ref().filter(|p| same(p)) {
            return Ok(Offer::Wanted(body_of(pending)));
        }
        if held.is_some_and(|held| found < held) {
            return Ok(Offer::Stale);
        }
        if let Some(held) = held.filter(|h| found.saturating_sub(*h) > MAX_BUNDLE_JUMP) {
            return Err(TrustError::VersionJump { held, found });
        }
        let Some(head) = self.verify_bundle_head(crypto, bytes, content.root_version)? else {
            return Ok(Offer::Wanted(Missing::Timestamp));
        };
        let other = |t: &Arc<VerifiedTimestamp>| {
            let named = t.content().bundle;
            named.is_some_and(|n| n.version == found && n.hash != head.hash())
        };
        let pending = self.bundle_head.as_ref().map(|p| p.content().version);
        if held == Some(found) || pending == Some(found) || self.timestamps.values().any(other) {
            return Ok(Offer::Fork(ForkOf::Bundle(found)));
        }
        if pending > Some(found) {
            return Ok(Offer::Stale);
        }
        let missing = body_of(&head);
        self.bundle_head = Some(Arc::new(head));
        Ok(Offer::Wanted(missing))
    }

    /// A head counts under the root in force. One made under an older root counts if the admins of
    /// then and of now have signed it, or those of then and a timestamp of this epoch names it;
    /// none if only such a timestamp is missing.
    fn verify_bundle_head(
        &self,
        crypto: &dyn Crypto,
        bytes: &Bytes,
        root_version: u64,
    ) -> Result<Option<VerifiedBundleHead>, TrustError> {
        let own = self.root.as_ref();
        if root_version == own.root().version {
            return VerifiedBundleHead::verify(crypto, &[own], bytes).map(Some);
        }
        let then = self.root_of(root_version).ok_or(TrustError::Unchained)?;
        if let Ok(head) = VerifiedBundleHead::verify(crypto, &[then, own], bytes) {
            return Ok(Some(head));
        }
        let head = VerifiedBundleHead::verify(crypto, &[then], bytes)?;
        let named = self.timestamps.values().any(|t| {
            let named = t.content().bundle;
            named.is_some_and(|n| n.version == head.content().version && n.hash == head.hash())
        });
        Ok(named.then_some(head))
    }

    fn offer_bundle_body(
        &mut self,
        crypto: &dyn Crypto,
        bytes: &Bytes,
    ) -> Result<Offer, TrustError> {
        let Some(head) = &self.bundle_head else {
            let known = |b: &Arc<Bundle>| b.body_bytes() == *bytes;
            let known = self.bundle.as_ref().is_some_and(known);
            return Ok(if known { Offer::Known } else { Offer::Stale });
        };
        let bundle = Bundle::join(crypto, head.as_ref().clone(), Bytes::clone(bytes))?;
        let version = bundle.version();
        self.bundle = Some(Arc::new(bundle));
        self.bundle_head = None;
        self.recomplete();
        Ok(Offer::New(Change::Bundle { version }))
    }

    fn offer_log_head(&mut self, crypto: &dyn Crypto, bytes: &Bytes) -> Result<Offer, TrustError> {
        let content = VerifiedLogHead::peek(bytes)?;
        if content.mesh != self.mesh() {
            return Err(TrustError::ForeignMesh);
        }
        let Some(log) = self.logs.get_mut(&content.admin) else {
            return Err(CoseError::UnknownKey.into());
        };
        if let Some(offer) = log.recognise(&content) {
            return Ok(offer);
        }
        let head = VerifiedLogHead::verify(crypto, &self.root, bytes)?;
        if self.root.retired(&content.admin).is_some() {
            // What counts of it is bound by the root; whatever else it says came too late.
            return Ok(Offer::Stale);
        }
        Ok(Arc::make_mut(log).take_head(&head))
    }

    fn offer_entries(
        &mut self,
        crypto: &dyn Crypto,
        admin: &SignerId,
        from: u64,
        entries: &[Bytes],
    ) -> Result<Offer, TrustError> {
        let Some(log) = self.logs.get_mut(admin) else {
            return Ok(Offer::Stale);
        };
        if log.missing().is_none() {
            return Ok(Offer::Stale);
        }
        let offer = Arc::make_mut(log).take_entries(crypto, from, entries)?;
        if matches!(offer, Offer::New(_) | Offer::Fork(_)) {
            self.rejudge();
            self.recomplete();
        }
        Ok(offer)
    }

    fn offer_timestamp(
        &mut self,
        crypto: &dyn Crypto,
        now: UnixSeconds,
        bytes: &Bytes,
    ) -> Result<Offer, TrustError> {
        let content = VerifiedTimestamp::peek(bytes)?;
        if content.mesh != self.mesh() {
            return Err(TrustError::ForeignMesh);
        }
        if let Some(missing) = self.place(content.epoch, content.root_version)? {
            return Ok(Offer::Wanted(missing));
        }
        let (timestamper, found) = (content.timestamper, content.version);
        if let Some(held) = self.timestamps.get(&timestamper) {
            let held = held.content();
            if *held == content {
                return Ok(Offer::Known);
            }
            if found < held.version {
                return Ok(Offer::Stale);
            }
            if found - held.version > MAX_TIMESTAMP_JUMP {
                let held = held.version;
                return Err(TrustError::VersionJump { held, found });
            }
        }
        if content.time > now.plus(MAX_TIME_AHEAD_S) {
            return Err(TrustError::TimestampAhead(content.time));
        }
        let timestamp = VerifiedTimestamp::verify(crypto, &self.root, bytes)?;
        if let Some(fork) = self.contradicted_by(&content) {
            return Ok(Offer::Fork(fork));
        }
        self.mark(&content);
        self.greatest = self.greatest.max(content.time);
        self.timestamps.insert(timestamper, Arc::new(timestamp));
        // Where one admin suffices for everything, dates decide nothing.
        if self.root.root().needed() > 1 {
            self.rejudge();
        }
        self.recomplete();
        Ok(Offer::New(Change::Timestamp {
            timestamper,
            version: found,
        }))
    }

    /// What in a verified timestamp contradicts what is in force.
    fn contradicted_by(&self, stated: &Timestamp) -> Option<ForkOf> {
        let held = self.timestamps.get(&stated.timestamper);
        if held.is_some_and(|t| t.content().version == stated.version) {
            return Some(ForkOf::Timestamp(stated.timestamper));
        }
        let version = stated.root_version;
        let same_root = self
            .root_of(version)
            .is_some_and(|r| r.hash() == stated.root);
        if !same_root {
            return Some(ForkOf::Root(version));
        }
        let other = |b: &Arc<Bundle>| {
            let named = stated.bundle;
            named.is_some_and(|n| n.version == b.version() && n.hash != b.hash())
        };
        if let Some(bundle) = self.bundle.as_ref().filter(|b| other(b)) {
            return Some(ForkOf::Bundle(bundle.version()));
        }
        let forked = stated.logs.iter().find(|state| {
            let row = LogRow {
                admin: state.admin,
                length: state.length,
                link: state.link,
            };
            let log = self.logs.get(&state.admin);
            log.is_some_and(|log| log.contradicts(&row))
        })?;
        Some(ForkOf::Log(forked.admin))
    }
}
