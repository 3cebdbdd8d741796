//! Answering requests for parts, within what each peer may be given.

use std::sync::Arc;

use super::Machine;
use crate::distribution::Effect;
use crate::distribution::fetch::{CHUNK_BYTES, CHUNK_ENTRIES};
use crate::distribution::message::{Bytes, Message, Part, Want};
use crate::id::{Digest, NodeId};
use crate::trust::Bundle;

impl Machine {
    /// Answers a request with the part, or with an empty one: then the peer asks another at once.
    pub(super) fn serve(&mut self, to: NodeId, want: Want, out: &mut Vec<Effect>) {
        let now = self.now();
        let peer = self.peers.get_mut(&to);
        let may = peer.is_some_and(|peer| peer.may_have_more(now));
        let part = if may { self.part(want) } else { empty(want) };
        let message = Message::Body(part);
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.given(message.weight());
        }
        out.push(Effect::Send(to, Arc::new(message)));
    }

    fn part(&self, want: Want) -> Part {
        match want {
            Want::Roots { from } => {
                let versions = from..=self.ours.root.version;
                let roots = versions.map_while(|version| self.state.root_of(version));
                let roots = roots.map(|root| root.shared());
                Part::Roots {
                    from,
                    roots: chunk(roots),
                }
            }
            Want::Body { digest, offset } => Part::Body {
                digest,
                offset,
                bytes: self.body_from(digest, offset),
            },
            Want::Entries { row, from } => {
                let entries = self.state.entries(&row, from, CHUNK_ENTRIES);
                Part::Entries {
                    row,
                    from,
                    entries: chunk(entries.unwrap_or_default().into_iter()),
                }
            }
        }
    }

    fn body_from(&self, digest: Digest, offset: u64) -> Bytes {
        let bundle = self.state.bundle();
        let bundle = bundle.filter(|bundle| bundle.head().content().body == digest);
        let held = bundle.map(Bundle::body_bytes);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let piece = held.as_deref().and_then(|body| body.get(from..));
        let piece = piece.unwrap_or(&[]);
        Bytes::from(piece.get(..CHUNK_BYTES).unwrap_or(piece))
    }
}

/// As many of `items` as one part holds.
fn chunk(items: impl Iterator<Item = Bytes>) -> Vec<Bytes> {
    let mut bytes = 0;
    let fits = |item: &Bytes| {
        bytes += item.len();
        bytes <= CHUNK_BYTES
    };
    items.take(CHUNK_ENTRIES).take_while(fits).collect()
}

/// The part that says there is none.
fn empty(want: Want) -> Part {
    match want {
        Want::Roots { from } => Part::Roots {
            from,
            roots: Vec::new(),
        },
        Want::Body { digest, offset } => Part::Body {
            digest,
            offset,
            bytes: Bytes::from([]),
        },
        Want::Entries { row, from } => Part::Entries {
            row,
            from,
            entries: Vec::new(),
        },
    }
}
