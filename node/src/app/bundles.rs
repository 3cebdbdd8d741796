//! The bundles that were in force here, as operators see them.

use protocol::codec;
use protocol::control::{BundleFile, Failure, FailureKind, FileBytes, PastBundle};
use protocol::limits::MAX_BUNDLE_BYTES;
use protocol::trust::bundle::BundleBody;

use super::node::Node;
use super::operations::stored;
use crate::overlay::trust::PastBundle as Kept;

/// Bytes of a kept bundle beside its body.
const FIELDS: usize = 128;

impl Node {
    /// Every bundle kept, the oldest first. One that cannot be read is left out.
    pub(super) fn listed_bundles(&self) -> Result<Vec<PastBundle>, Failure> {
        let snapshot = self.store.snapshot().map_err(stored)?;
        let running = self
            .standing
            .now()
            .bundle()
            .map(|b| (b.version(), b.hash()));
        let kept = snapshot.past_bundles().map_err(stored)?.into_iter();
        let told = kept.filter_map(|(version, bytes)| {
            let kept: Kept = codec::decode(&bytes, MAX_BUNDLE_BYTES + FIELDS).ok()?;
            let body = BundleBody::decode(&kept.body).ok()?;
            Some(PastBundle {
                version,
                hash: kept.hash,
                created: kept.created,
                policies: body.policies.len() as u64,
                pins: body.pins.len() as u64,
                in_force: running == Some((version, kept.hash)),
            })
        });
        Ok(told.collect())
    }

    /// One of them, without its head.
    pub(super) fn kept_bundle(&self, version: u64) -> Result<BundleFile, Failure> {
        let snapshot = self.store.snapshot().map_err(stored)?;
        let bytes = snapshot.past_bundle(version).map_err(stored)?;
        let kept = bytes.and_then(|b| codec::decode::<Kept>(&b, MAX_BUNDLE_BYTES + FIELDS).ok());
        let kept = kept.ok_or_else(|| {
            let message = format!("no bundle {version} is kept here");
            Failure::new(FailureKind::NotFound, "unknown_bundle", message)
                .with_hint("see `hedgerow policy history`")
        })?;
        Ok(BundleFile {
            version,
            hash: Some(kept.hash),
            created: Some(kept.created),
            head: None,
            body: Some(FileBytes(kept.body)),
        })
    }
}
