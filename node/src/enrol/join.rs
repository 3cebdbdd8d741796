//! Joining a mesh with a ticket: a host without a membership asks the ticket's bootstraps.
//!
//! Works on the state directory alone; no node runs yet. The keys are made first and kept, so that
//! asking again, after a crash or while a person decides, is asking for the same node: the issuer
//! answers it the same and uses the ticket once. Nothing of the ticket is stored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_crypto::Primitives;
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::joining::{Granted, JoinRefusal};
use protocol::trust::ticket::MAX_BOOTSTRAPS;
use protocol::trust::{IssuerNode, PeerAddress, Ticket, TrustError, VerifiedMembership};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::asking::{Answer, AskError, Asking};
use super::limits::{DIAL, POLL, THROTTLED_PAUSE, THROTTLED_TRIES};
use super::refused::is_of_issuer;
use super::request::{self, RequestError};
use crate::clock::{Clock as _, SystemClock};
use crate::setup::{self, Keys, SetupError};
use crate::transport::{self, Admission, BindError, LinkError, Links, PeerIdentity, Refusal};

/// What happens while a host joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A bootstrap is asked.
    Asking {
        /// The node.
        node: NodeId,
        /// Where.
        address: String,
    },
    /// It is of no use; the next one is asked.
    Failed(Tried),
    /// The issuer serves too many just now; asked again in a moment.
    Throttled,
    /// A person must approve this node. Said once.
    Waiting {
        /// This node.
        node: NodeId,
    },
}

/// A bootstrap that did not help, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The node.
    pub node: NodeId,
    /// Where.
    pub address: String,
    /// Why, for people.
    pub why: String,
    /// The name of the reason.
    pub reason: String,
}

/// What came of joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// This node.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// The end of its membership.
    pub expires: UnixSeconds,
}

/// Why a host did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The state directory.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No UDP port to dial from.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The request was not made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The issuer said no: itself, or as a node in between passes it on where no other leads to it.
    #[error("{}", .0.message)]
    Refused(JoinRefusal),
    /// No bootstrap led to the issuer.
    #[error("none of the ticket's {} bootstrap(s) led to the issuer: {}", .0.len(), list(.0))]
    Unreachable(Vec<Tried>),
    /// A membership came that this host's clock says is not valid.
    #[error("the membership is not valid by this host's clock: {0}")]
    Clock(TrustError),
}

impl JoinError {
    /// The name of the reason, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.reason),
            Self::Unreachable(_) => Some("bootstraps_unreachable"),
            Self::Clock(error) => Some(error.reason()),
            _ => None,
        }
    }

    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Setup(error) => error.hint(),
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::Unreachable(tried) => Some(if tried.iter().any(|t| t.reason == "wrong_node") {
                "another node answers at an address of the ticket; make a new ticket".to_owned()
            } else {
                "check that the issuer's node runs and that UDP reaches the addresses listed"
                    .to_owned()
            }),
            Self::Clock(_) => Some("set this host's clock, then join again".to_owned()),
            _ => None,
        }
    }
}

pub(super) fn list(tried: &[Tried]) -> String {
    let each = tried
        .iter()
        .map(|t| format!("{} at `{}`: {}", t.node.short(), t.address, t.why));
    each.collect::<Vec<_>>().join("; ")
}

/// Makes the host at `state` a member of the ticket's mesh, asking until a person has decided where
/// one must; dropped meanwhile, it can be called again.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    state: &Path,
    ticket: &Ticket,
    name: Option<Name>,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Joined, JoinError> {
    let keys = setup::keys_to_join_with(state)?;
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let joiner = Joiner {
        dialers: [
            dialer(&keys, Ipv4Addr::UNSPECIFIED.into(), &stop),
            dialer(&keys, Ipv6Addr::UNSPECIFIED.into(), &stop),
        ],
        node: keys.tls.node_id(&Primitives),
        keys,
        ticket,
        name,
    };
    let granted = joiner.ask_until_decided(tell).await?;
    let joined = joiner.joined(&granted)?;
    setup::join(state, &granted.admission(ticket))?;
    Ok(joined)
}

/// What a bootstrap handed over, verified.
struct Verified {
    membership: VerifiedMembership,
    roots: Vec<Vec<u8>>,
    granted: Granted,
}

impl Verified {
    /// The file that makes a host a member.
    fn admission(&self, ticket: &Ticket) -> Vec<u8> {
        let mut peers: Vec<PeerAddress> = self.granted.peers.clone();
        let new = |p: &&PeerAddress| !peers.iter().any(|known| known.node == p.node);
        let more: Vec<PeerAddress> = ticket.bootstraps.iter().filter(new).cloned().collect();
        peers.extend(more);
        peers.truncate(2 * MAX_BOOTSTRAPS);
        let own = IssuerNode {
            issuer: ticket.issuer,
            node: ticket.issuer_node,
        };
        let told = self.granted.issuers.iter().copied();
        let issuers = [own]
            .into_iter()
            .chain(told.filter(|i| i.issuer != own.issuer));
        protocol::trust::Admission {
            root: self.roots.first().cloned().unwrap_or_default(),
            membership: self.granted.membership.clone(),
            peers,
            roots: later_roots(self.roots.iter().skip(1)),
            issuers: Some(issuers.take(protocol::limits::MAX_ROLE_KEYS).collect()),
        }
        .encode()
    }
}

fn later_roots<'a>(
    roots: impl Iterator<Item = &'a Vec<u8>>,
) -> Option<Vec<minicbor::bytes::ByteVec>> {
    let later: Vec<_> = roots.map(|root| root.clone().into()).collect();
    (!later.is_empty()).then_some(later)
}

/// Why one bootstrap did not help.
enum Setback {
    /// Try the next one.
    Next(Tried),
    /// A node in between passes this on as the issuer's refusal. It may lie, so the others are asked
    /// too; if none of them leads to the issuer, it is believed.
    PassedOn(Tried, JoinRefusal),
    /// The issuer itself said so; the others would say the same.
    Final(JoinError),
    /// Try again in a moment.
    Throttled(JoinRefusal),
}

enum Outcome {
    Granted(Box<Verified>),
    Waiting,
}

struct Joiner<'a> {
    /// For IPv4 and IPv6; a host may lack either.
    dialers: [Result<Links, BindError>; 2],
    node: NodeId,
    keys: Keys,
    ticket: &'a Ticket,
    name: Option<Name>,
}

impl Joiner<'_> {
    async fn ask_until_decided(
        &self,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Verified, JoinError> {
        let mut told = false;
        loop {
            match self.ask_all(tell, told).await? {
                Outcome::Granted(verified) => return Ok(*verified),
                Outcome::Waiting => {
                    if !told {
                        tell(Progress::Waiting { node: self.node });
                        told = true;
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// Asks one bootstrap after the other, and again as long as the issuer is only busy.
    async fn ask_all(
        &self,
        tell: &mut (dyn FnMut(Progress) + Send),
        quiet: bool,
    ) -> Result<Outcome, JoinError> {
        let mut pause = THROTTLED_PAUSE;
        let mut tried: Vec<Tried> = Vec::new();
        let mut passed_on: Option<JoinRefusal> = None;
        for attempt in 0..=THROTTLED_TRIES {
            let mut busy = None;
            for peer in &self.ticket.bootstraps {
                for address in &peer.addresses {
                    // One that was of no use is not asked again: only who is busy is.
                    let useless = |t: &Tried| t.node == peer.node && t.address == *address;
                    if tried.iter().any(useless) {
                        continue;
                    }
                    if !quiet {
                        tell(Progress::Asking {
                            node: peer.node,
                            address: address.clone(),
                        });
                    }
                    let mut note = |failed: Tried, tried: &mut Vec<Tried>| {
                        if !quiet {
                            tell(Progress::Failed(failed.clone()));
                        }
                        tried.push(failed);
                    };
                    match self.ask(peer.node, address).await {
                        Ok(outcome) => return Ok(outcome),
                        Err(Setback::Final(error)) => return Err(error),
                        Err(Setback::Throttled(refusal)) => busy = Some(refusal),
                        Err(Setback::PassedOn(failed, refusal)) => {
                            passed_on = passed_on.or(Some(refusal));
                            note(failed, &mut tried);
                        }
                        Err(Setback::Next(failed)) => note(failed, &mut tried),
                    }
                }
            }
            let Some(refusal) = busy else {
                return Err(match passed_on {
                    Some(refusal) => JoinError::Refused(refusal),
                    None => JoinError::Unreachable(tried),
                });
            };
            if attempt == THROTTLED_TRIES {
                return Err(JoinError::Refused(refusal));
            }
            if !quiet {
                tell(Progress::Throttled);
            }
            tokio::time::sleep(self.jittered(pause)).await;
            pause *= 2;
        }
        Err(JoinError::Unreachable(Vec::new()))
    }

    /// Half to all of a pause, by this node's own id: hosts that were refused together do not come
    /// back together.
    fn jittered(&self, pause: Duration) -> Duration {
        let byte = self.node.as_bytes().first().copied().unwrap_or_default();
        pause / 2 + pause / 512 * u32::from(byte)
    }

    async fn ask(&self, node: NodeId, address: &str) -> Result<Outcome, Setback> {
        let tried = |reason: &str, why: String| Tried {
            node,
            address: address.to_owned(),
            why,
            reason: reason.to_owned(),
        };
        let next = |reason: &str, why: String| Setback::Next(tried(reason, why));
        let resolved = tokio::net::lookup_host(address).await;
        let resolved = resolved.map_err(|e| next("unresolved", format!("cannot resolve: {e}")))?;
        let mut last = next("unresolved", "no such address".to_owned());
        for remote in resolved {
            let approach = match self.approach(remote, node).await {
                Ok(approach) => approach,
                Err(error) => {
                    last = next(error.name(), one_line(&error));
                    continue;
                }
            };
            let conversation = approach.converse(self).await;
            return conversation.map_err(|error| self.setback(error, node, &tried));
        }
        Err(last)
    }

    async fn approach(&self, remote: SocketAddr, node: NodeId) -> Result<Approached, LinkError> {
        let [v4, v6] = &self.dialers;
        let dialer = if remote.is_ipv4() { v4 } else { v6 };
        let undialable = LinkError::Undialable { remote };
        let dialer = dialer.as_ref().map_err(|_| undialable)?;
        dialer.approach(remote, Some(node)).await.map(Approached)
    }

    fn setback(
        &self,
        error: JoinFault,
        node: NodeId,
        tried: &impl Fn(&str, String) -> Tried,
    ) -> Setback {
        // Only what the issuer's own node says ends it: a node in between may say anything.
        let own_word = node == self.ticket.issuer_node;
        match error {
            JoinFault::Ask(AskError::Refused(refusal)) if refusal.reason == "join_throttled" => {
                Setback::Throttled(refusal)
            }
            JoinFault::Ask(AskError::Refused(refusal)) if own_word => {
                Setback::Final(JoinError::Refused(refusal))
            }
            JoinFault::Ask(AskError::Refused(refusal)) => {
                let tried = tried(&refusal.reason, refusal.message.clone());
                if is_of_issuer(&refusal) {
                    Setback::PassedOn(tried, refusal)
                } else {
                    Setback::Next(tried)
                }
            }
            JoinFault::Ask(error) => Setback::Next(tried("join_broken", error.to_string())),
            JoinFault::Request(error) => Setback::Final(error.into()),
        }
    }

    fn joined(&self, verified: &Verified) -> Result<Joined, JoinError> {
        let now = SystemClock.now().seconds();
        verified
            .membership
            .valid_at(now)
            .map_err(JoinError::Clock)?;
        let content = verified.membership.content();
        Ok(Joined {
            node: self.node,
            name: content.name.clone(),
            expires: content.not_after,
        })
    }
}

enum JoinFault {
    Ask(AskError),
    Request(RequestError),
}

impl From<AskError> for JoinFault {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

impl From<RequestError> for JoinFault {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

/// A bootstrap that answered the handshake.
struct Approached(transport::Approach);

impl Approached {
    async fn converse(mut self, joiner: &Joiner<'_>) -> Result<Outcome, JoinFault> {
        let (ticket, crypto) = (joiner.ticket, &Primitives);
        let mut asking = Asking::new(&mut self.0.send, &mut self.0.recv);
        let challenged = asking
            .challenge(ticket.mesh, Some(ticket.issuer_node))
            .await?;
        let (root, roots) = asking.roots(crypto, ticket.mesh).await?;
        let now = SystemClock.now().seconds();
        let (tls, signing) = (&joiner.keys.tls, &joiner.keys.signing);
        let mut request = request::plain(crypto, tls, signing, joiner.name.clone(), now)?;
        let key = ticket.secret.mac_key(crypto);
        let challenge = challenged.challenge;
        request.mesh = Some(ticket.mesh);
        request.ticket = Some(ticket.id(crypto));
        request.challenge = Some(challenge);
        let (node, mesh) = (&joiner.node, &ticket.mesh);
        request.mac = Some(key.mac(crypto, node, &request.signing, mesh, &challenge));
        let signed = request.sign(crypto, signing).map_err(RequestError::from)?;
        let granted = match asking.enrol(signed, None).await? {
            Answer::Waiting => return Ok(Outcome::Waiting),
            Answer::Granted(granted) => granted,
        };
        let membership = VerifiedMembership::verify(crypto, &root, &granted.membership)
            .map_err(AskError::Forged)?;
        if membership.node() != joiner.node || membership.content().signing != request.signing {
            return Err(AskError::NotOurs("for other keys").into());
        }
        if membership.issuer() != ticket.issuer {
            return Err(AskError::NotOurs("by another issuer than the ticket's").into());
        }
        Ok(Outcome::Granted(Box::new(Verified {
            membership,
            roots,
            granted,
        })))
    }
}

/// Admits nobody: an endpoint that only dials.
struct Outsider;

impl Admission for Outsider {
    fn hello(&self) -> Vec<u8> {
        Vec::new()
    }

    fn admit(&self, _: &PeerIdentity, _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::new("no_member", "this host is no member yet"))
    }
}

pub(super) fn dialer(
    keys: &Keys,
    address: IpAddr,
    stop: &CancellationToken,
) -> Result<Links, BindError> {
    let mut config = transport::Config::new(SocketAddr::new(address, 0));
    config.handshake_timeout = DIAL;
    config.hello_timeout = DIAL;
    Links::bind(
        config,
        Arc::clone(&keys.tls),
        Arc::new(Primitives),
        Arc::new(Outsider),
        TaskTracker::new(),
        stop.clone(),
    )
}

/// The first line of an error's text; hints of other commands are left out.
pub(super) fn one_line(error: &LinkError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
