//! Links come up and go down. Who connects is decided as in a node: both ends ask their trust
//! state whether the other is revoked.

use protocol::distribution::Event as Input;

use super::links::{Link, MS};
use super::scenario::Sabotage;
use super::world::{Event, World};

/// How often a node that nobody wants tries the next one, in milliseconds.
const INTRUDE_MS: u64 = 400;

impl World<'_> {
    /// Plans an attempt to connect in `after` microseconds, unless one is planned.
    pub(crate) fn dial_in(&mut self, link: usize, after: u64) {
        if self.links.link(link).is_some_and(|l| !l.dialling) {
            self.dial_anew(link, after);
        }
    }

    /// Plans an attempt in `after` microseconds, in place of one that is planned.
    pub(crate) fn dial_anew(&mut self, link: usize, after: u64) {
        if let Some(known) = self.links.link_mut(link).filter(|l| !l.given_up) {
            known.dialling = true;
            known.attempt += 1;
            let attempt = known.attempt;
            self.queue.after(after, Event::Dial { link, attempt });
        }
    }

    /// Whether a packet would go from one end to the other now.
    pub(crate) fn passes(&self, link: &Link) -> bool {
        let [a, b] = link.ends;
        let up = |node: usize| self.hosts.get(node).is_some_and(|h| h.up);
        up(a) && up(b) && !self.is_split(a, b)
    }

    /// Whether a partition is between two nodes.
    pub(crate) fn is_split(&self, a: usize, b: usize) -> bool {
        let side = |node: usize| self.sides.as_ref().and_then(|s| s.get(node));
        side(a) != side(b)
    }

    pub(crate) fn dial(&mut self, number: usize, attempt: u32) {
        let Some(link) = self.links.link(number).filter(|l| l.attempt == attempt) else {
            return;
        };
        let [a, b] = link.ends;
        let gone = |node: usize| self.hosts.get(node).is_none_or(|h| h.dead);
        let (hopeless, passes) = (gone(a) || gone(b) || link.given_up, self.passes(link));
        let takes = link.handshake_us();
        if hopeless || link.is_up() {
            if let Some(link) = self.links.link_mut(number) {
                link.dialling = false;
            }
        } else if passes {
            let connect = Event::Connect {
                link: number,
                attempt,
            };
            self.queue.after(takes, connect);
        } else {
            self.fail(number);
        }
    }

    /// An attempt failed; another follows.
    fn fail(&mut self, number: usize) {
        let redial = self.scenario.links.redial_ms;
        if let Some(link) = self.links.link_mut(number) {
            let after = link.backoff_us(&mut self.rng, redial);
            self.dial_anew(number, after);
        }
    }

    pub(crate) fn connect(&mut self, number: usize, attempt: u32) {
        let loss = self.scenario.links.loss;
        let Some(link) = self.links.link(number).filter(|l| l.attempt == attempt) else {
            return;
        };
        let [a, b] = link.ends;
        if !self.passes(link) || (loss > 0 && self.rng.chance(loss)) {
            return self.fail(number);
        }
        if self.refuses(a, b) || self.refuses(b, a) {
            self.report.refused_connections += 1;
            // Who is let in again tries until everybody knows.
            let lasting = |node: usize| self.hosts.get(node).is_none_or(|h| !h.is_honest());
            if !lasting(a) && !lasting(b) {
                return self.fail(number);
            }
            if let Some(link) = self.links.link_mut(number) {
                link.dialling = false;
                link.given_up = true;
            }
            return;
        }
        self.judge_connection(a, b);
        // An end that had not noticed that the last connection is gone does so now.
        self.drop_end(number, a);
        self.drop_end(number, b);
        if let Some(link) = self.links.link_mut(number) {
            link.connect();
        }
        for (end, peer) in [(a, b), (b, a)] {
            self.promise(number, end, peer);
            self.tell(end, peer, Input::PeerUp);
            let id = self.hosts.get(peer).map(|h| h.id);
            if let Some(id) = id.filter(|_| self.scenario.sabotage == Sabotage::CallBeforeSync) {
                self.synced(end, id);
            }
        }
    }

    /// Whether `node` refuses `peer`.
    fn refuses(&mut self, node: usize, peer: usize) -> bool {
        if self.scenario.sabotage == Sabotage::AcceptRevoked {
            return false;
        }
        let refused = self.knows_as_revoked(node, peer);
        let heads = self.hosts.get(node).map(|h| h.known.clone());
        if refused && heads.is_some_and(|heads| !self.grounds(node, peer, &heads).may) {
            let at = self.at_ms();
            self.invariants.refused(at, node, peer);
        }
        refused
    }

    /// `end` no longer believes in a connection; its machine is told, if it is there.
    pub(crate) fn drop_end(&mut self, number: usize, end: usize) {
        let Some(link) = self.links.link_mut(number) else {
            return;
        };
        let peer = link.other(end);
        if link.close(end) {
            self.promised.remove(&(number, end));
            self.tell(end, peer, Input::PeerDown);
        }
    }

    /// `end` closes a connection in the middle of a step: its machine is told in the next.
    pub(crate) fn cut(&mut self, number: usize, end: usize, for_good: bool) {
        let Some(link) = self.links.link_mut(number) else {
            return;
        };
        link.given_up |= for_good;
        let (peer, epoch, latency) = (link.other(end), link.epoch, link.latency_us());
        if !link.close(end) {
            return;
        }
        self.promised.remove(&(number, end));
        if let Some(process) = self.hosts.get(end).map(|h| h.process) {
            let node = end;
            let gone = Event::Gone {
                node,
                process,
                peer,
            };
            self.queue.after(0, gone);
        }
        let closed = Event::Closed {
            link: number,
            epoch,
            end: peer,
        };
        self.queue.after(latency, closed);
    }

    pub(crate) fn gone(&mut self, node: usize, process: u32, peer: usize) {
        if self.hosts.get(node).is_some_and(|h| h.process == process) {
            self.tell(node, peer, Input::PeerDown);
        }
    }

    pub(crate) fn closed(&mut self, number: usize, epoch: u32, end: usize) {
        let Some(link) = self.links.link(number) else {
            return;
        };
        if link.epoch != epoch {
            return;
        }
        let peer = link.other(end);
        if self.is_split(end, peer) {
            return; // the goodbye does not come through
        }
        self.drop_end(number, end);
        self.reconnect(number, end);
    }

    /// Plans the next attempt after a connection is gone in the eyes of `end`.
    fn reconnect(&mut self, number: usize, end: usize) {
        let Some(link) = self.links.link(number) else {
            return;
        };
        if link.given_up {
            self.look_elsewhere(end);
            return;
        }
        let redial = self.scenario.links.redial_ms * MS;
        let after = self.rng.between(0, redial);
        self.dial_in(number, after);
    }

    /// A node that was shut out and does not accept it tries others.
    pub(crate) fn look_elsewhere(&mut self, node: usize) {
        let unwanted = self.hosts.get(node).is_some_and(|h| !h.is_honest() && h.up);
        if unwanted {
            self.queue.after(INTRUDE_MS * MS, Event::Intrude(node));
        }
    }

    pub(crate) fn intrude(&mut self, node: usize) {
        let up = self.hosts.get(node).is_some_and(|h| h.up);
        // An end to it, so that a run that waits for quiet has one.
        if !up || self.links.of(node).len() > 4 * self.scenario.mesh.degree {
            return;
        }
        let last = self.hosts.len() as u64 - 1;
        let peer = usize::try_from(self.rng.between(0, last)).unwrap_or(0);
        if peer != node && self.links.between(node, peer).is_none() {
            let link = self.links.add(&mut self.rng, [node, peer]);
            self.dial_in(link, 0);
        }
        self.queue.after(INTRUDE_MS * MS, Event::Intrude(node));
    }

    /// An end looks, after the idle timeout, whether anything came.
    pub(crate) fn probe(&mut self, number: usize, epoch: u32, end: usize) {
        let Some(link) = self.links.link(number) else {
            return;
        };
        let peer = link.other(end);
        let stands = link.is_open(peer) && self.passes(link);
        if link.epoch == epoch && link.is_open(end) && !stands {
            self.drop_end(number, end);
            self.reconnect(number, end);
        }
    }

    /// Lets the ends of a connection that is broken in silence notice.
    pub(crate) fn probe_later(&mut self, number: usize, end: usize) {
        let Some(link) = self.links.link(number) else {
            return;
        };
        let (epoch, timeout) = (link.epoch, self.scenario.links.idle_timeout_ms * MS);
        if link.is_open(end) {
            let after = self.rng.between(timeout / 2, timeout);
            let probe = Event::Probe {
                link: number,
                epoch,
                end,
            };
            self.queue.after(after, probe);
        }
    }

    /// Remembers what `end` has to have before calls from `peer` may flow.
    fn promise(&mut self, number: usize, end: usize, peer: usize) {
        let honest = |node: usize| self.hosts.get(node).filter(|h| h.is_honest());
        if let Some((_, peer)) = honest(end).zip(honest(peer)) {
            let promise = (self.queue.now, peer.known.clone());
            self.promised.insert((number, end), promise);
        }
    }

    /// Judges a connection that neither end refused.
    fn judge_connection(&mut self, a: usize, b: usize) {
        let at = self.at_ms();
        for (node, peer) in [(a, b), (b, a)] {
            if self.holds_revocation_of(node, peer) {
                self.invariants.accepted(at, node, peer);
            }
        }
    }

    /// Whether `node` follows the protocol and has an entry that revokes `peer`.
    fn holds_revocation_of(&self, node: usize, peer: usize) -> bool {
        let Some(host) = self.hosts.get(node).filter(|h| h.is_honest()) else {
            return false;
        };
        let grounds = self.grounds(node, peer, &host.known);
        grounds.must || (grounds.may && self.knows_as_revoked(node, peer))
    }
}
