//! What nodes say of their own state, as operators see it. Reads only.

use protocol::control::{
    Failure, FailureKind, MAX_POSTURES, NodePosture, PostureInfo, PostureReport,
};
use protocol::id::Digest;
use protocol::time::UnixSeconds;
use protocol::trust::Posture;
use protocol::trust::posture::SELF_ASSERTED;

use super::node::Node;
use crate::members::Member;

impl Node {
    /// What this node has told the others of its own state.
    pub(super) fn posture(&self, now: UnixSeconds) -> Option<PostureInfo> {
        let member = self.members.member(&self.identity.node())?;
        self.announced(&member, now)
    }

    /// This node's posture as it measured and as it announced it, and those of others: of `node`
    /// alone, by name or id, or of all.
    pub(super) fn posture_report(&self, node: Option<&str>) -> Result<PostureReport, Failure> {
        let now = self.clock.now().seconds();
        let me = self.identity.node();
        let measured = self.posture.current();
        let digest = Posture::digest(&*self.identity.crypto, &measured.encode());
        let own = self.members.member(&me);
        let told = own.as_ref().is_some_and(|own| {
            let announced = own.record.as_ref().and_then(|r| r.posture.as_ref());
            let announced = announced.map(protocol::trust::PostureFacts::posture);
            announced.is_some_and(|announced| announced.claims_the_same(&measured))
        });
        let mut others = self.members.all();
        let asked = |member: &Member| {
            let (name, id) = (&member.membership.name, member.membership.node());
            node.is_none_or(|node| name.as_str() == node || id.to_string() == node)
        };
        others.retain(|member| asked(member));
        if let (Some(node), true) = (node, others.is_empty()) {
            let text = format!("no node `{}` is known here", protocol::policy::shown(node));
            return Err(Failure::new(FailureKind::NotFound, "unknown_node", text)
                .with_hint("see `hedgerow peers`"));
        }
        others.retain(|member| member.membership.node() != me);
        others.sort_by(|a, b| {
            let (a, b) = (&a.membership, &b.membership);
            (&a.name, a.node()).cmp(&(&b.name, b.node()))
        });
        let left_out = others.len().saturating_sub(MAX_POSTURES);
        others.truncate(MAX_POSTURES);
        let others = others.iter().map(|member| NodePosture {
            node: member.membership.name.clone(),
            id: member.membership.node(),
            posture: self.announced(member, now),
        });
        Ok(PostureReport {
            measured: shown(&measured, digest, now),
            announced: own.and_then(|own| self.announced(&own, now)),
            told,
            others: others.collect(),
            left_out: left_out.try_into().unwrap_or(u64::MAX),
        })
    }

    /// What the record of a member says of it, while that counts.
    fn announced(&self, member: &Member, now: UnixSeconds) -> Option<PostureInfo> {
        let record = member.record.as_ref().filter(|r| now < r.expires)?;
        let announced = record.posture.as_ref()?;
        let digest = announced.digest(&*self.identity.crypto);
        Some(shown(&announced.posture(), digest, now))
    }
}

fn shown(posture: &Posture, digest: Digest, now: UnixSeconds) -> PostureInfo {
    let [major, minor, patch] = posture.kernel;
    PostureInfo {
        word: SELF_ASSERTED.to_owned(),
        measured: posture.measured,
        age_s: now.0.saturating_sub(posture.measured.0),
        os: posture.os.clone(),
        kernel: format!("{major}.{minor}.{patch}"),
        secure_boot: posture.secure_boot,
        disk_encryption: posture.disk_encryption,
        uptime_s: posture.uptime_s,
        binary: posture.binary,
        hardening: posture.hardening.clone(),
        digest,
    }
}
