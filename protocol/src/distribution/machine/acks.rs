//! Acknowledgements: asking for them, giving this node's, passing on those of others.

use std::sync::Arc;

use super::Machine;
use super::take::is_senders_fault;
use crate::distribution::ack::Ack;
use crate::distribution::head::LogRow;
use crate::distribution::message::{Acks, Bytes, Message, PullAcks};
use crate::distribution::pull::{ACK_BATCH, Admission, MAX_PULL_HOPS, Pull, PullId};
use crate::distribution::{Context, Effect};
use crate::id::NodeId;
use crate::trust::TrustError;

impl Machine {
    /// Asks every node for its acknowledgement.
    pub(super) fn pull(
        &mut self,
        cx: &Context<'_>,
        id: PullId,
        log: LogRow,
        life_ms: u64,
        out: &mut Vec<Effect>,
    ) {
        let pull = Pull::new(self.now(), log, None, (life_ms, MAX_PULL_HOPS));
        match self.pulls.admit(id, pull) {
            Admission::Admitted => {
                self.pass_pull(id, None, out);
                self.answer_pulls(cx, out);
            }
            Admission::Known => {}
            Admission::Full => out.push(Effect::PullRefused { id, by: None }),
        }
    }

    /// Takes a request that came over a link: passed on once, answered once.
    pub(super) fn take_pull(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        asked: PullAcks,
        out: &mut Vec<Effect>,
    ) {
        let limits = (asked.life_ms, asked.hops);
        let pull = Pull::new(self.now(), asked.log, Some(from), limits);
        match self.pulls.admit(asked.id, pull) {
            Admission::Admitted => {
                self.pass_pull(asked.id, Some(from), out);
                self.answer_pulls(cx, out);
            }
            Admission::Known => {}
            Admission::Full => {
                let message = Message::PullRefused(asked.id);
                out.push(Effect::Send(from, Arc::new(message)));
            }
        }
    }

    /// Ends a request of `by`, or of this node's own, here and wherever it was passed on to.
    pub(super) fn end_pull(&mut self, id: PullId, by: Option<NodeId>, out: &mut Vec<Effect>) {
        if !self.pulls.end(&id, by, self.clock.now()) {
            return;
        }
        let message = Arc::new(Message::EndPull(id));
        for &peer in self.peers.keys().filter(|&&peer| Some(peer) != by) {
            out.push(Effect::Send(peer, Arc::clone(&message)));
        }
    }

    /// A peer had no room for a request: whoever asked is told, once.
    pub(super) fn take_pull_refused(&mut self, from: NodeId, id: PullId, out: &mut Vec<Effect>) {
        let Some(pull) = self.pulls.find(&id) else {
            return;
        };
        // It was never passed on to who it came from.
        if pull.towards == Some(from) || core::mem::replace(&mut pull.refused, true) {
            return;
        }
        out.push(match pull.towards {
            Some(towards) => Effect::Send(towards, Arc::new(Message::PullRefused(id))),
            None => Effect::PullRefused { id, by: Some(from) },
        });
    }

    fn pass_pull(&mut self, id: PullId, except: Option<NodeId>, out: &mut Vec<Effect>) {
        let now = self.now();
        let onward = self.pulls.find(&id).and_then(|pull| pull.onward(id, now));
        let Some(onward) = onward else {
            return;
        };
        let message = Arc::new(Message::PullAcks(onward));
        for &peer in self.peers.keys().filter(|&&peer| Some(peer) != except) {
            out.push(Effect::Send(peer, Arc::clone(&message)));
        }
    }

    /// Passes the requests alive here on to a peer that has just come.
    pub(super) fn pass_pulls_to(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        let now = self.now();
        for (id, pull) in self.pulls.iter_mut() {
            if let Some(onward) = pull.onward(*id, now) {
                let message = Message::PullAcks(onward);
                out.push(Effect::Send(peer, Arc::new(message)));
            }
        }
    }

    /// Gives this node's acknowledgement to every request that it can answer by now.
    pub(super) fn answer_pulls(&mut self, cx: &Context<'_>, out: &mut Vec<Effect>) {
        let (now, node, mesh) = (self.now(), self.node, self.state.mesh());
        for (id, pull) in self.pulls.iter_mut().filter(|(_, pull)| !pull.answered) {
            let log = pull.log;
            let held = self.state.log(&log.admin);
            let leads = |row: &LogRow| held.is_some_and(|held| held.continues(row, &log));
            let Some(since) = self.durable.holding(&log.admin, leads) else {
                continue;
            };
            let ack = Ack {
                mesh,
                node,
                log,
                since,
            };
            pull.answered = true;
            if pull.towards.is_none() {
                pull.seen.insert(node);
                out.push(Effect::Acked { id: *id, ack });
            } else if let Ok(bytes) = ack.sign(cx.crypto, cx.signer) {
                // A node that cannot sign is missing from the answer, which is what it is.
                pull.pass(now, node, Bytes::from(bytes));
            }
        }
        self.flush_pulls(out);
    }

    /// Takes acknowledgements of others: what holds goes on towards who pulled.
    pub(super) fn take_acks(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        acks: &Acks,
        out: &mut Vec<Effect>,
    ) {
        for bytes in &acks.acks {
            if let Err(error) = self.take_ack(cx, acks.id, bytes, out)
                && is_senders_fault(&error)
            {
                out.push(Effect::Misbehaved(from, error));
                break;
            }
        }
        self.flush_pulls(out);
    }

    fn take_ack(
        &mut self,
        cx: &Context<'_>,
        id: PullId,
        bytes: &Bytes,
        out: &mut Vec<Effect>,
    ) -> Result<(), TrustError> {
        let (now, mesh) = (self.now(), self.state.mesh());
        let Some(pull) = self.pulls.find(&id) else {
            return Ok(());
        };
        let claim = Ack::parse(mesh, bytes)?;
        if claim.log != pull.log || pull.seen.contains(&claim.node) {
            return Ok(());
        }
        // Of a node unknown here nothing can be said, so nothing is passed on.
        let Some(set) = cx.members.signing_set(&claim.node) else {
            return Ok(());
        };
        let ack = Ack::verify(cx.crypto, mesh, &set, bytes)?;
        if pull.towards.is_none() {
            if pull.seen.insert(ack.node) {
                out.push(Effect::Acked { id, ack });
            }
        } else {
            pull.pass(now, ack.node, bytes.clone());
        }
        Ok(())
    }

    /// Sends on the acknowledgements that have waited long enough.
    pub(super) fn flush_pulls(&mut self, out: &mut Vec<Effect>) {
        let now = self.now();
        for (id, pull) in self.pulls.iter_mut() {
            let Some(towards) = pull.towards else {
                continue;
            };
            for acks in pull.flush(now).unwrap_or_default().chunks(ACK_BATCH) {
                let acks = acks.to_vec();
                let message = Message::Acks(Acks { id: *id, acks });
                out.push(Effect::Send(towards, Arc::new(message)));
            }
        }
    }
}
