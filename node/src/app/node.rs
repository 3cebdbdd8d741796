//! Building the parts, in the order of trust.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::envelope::replay::ReplayWindow;
use protocol::human::HumanError;
use protocol::id::Digest;
use protocol::limits::MAX_CLOCK_AHEAD_S;
use protocol::mcp::{Derivation, Hints};
use protocol::name::Name;
use protocol::time::UnixMillis;
use protocol::trust::{TrustError, TrustState};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::task::TaskTracker;

use super::addresses::Reached;
use super::dialer::MeshDialer;
use super::effects::Effects;
use super::ledger::{RecordedAdmission, Retention, StoreLedger, read_link};
use super::policing::Policing;
use super::roles::Roles;
use super::severing::{Severed, Severing};
use super::trusting::{self, Neighbours, Proposals, Running, Trusting};
use super::{AppError, Composition, Options, page, serve};
use crate::approvals::{self, Approvals};
use crate::backup::Restored;
use crate::call::{Acceptor, InFlight, MeshFabric, Relay, incoming::Servers};
use crate::clock::Clock;
use crate::config::Config;
use crate::enforcement::{Enforcer, Inventory, Parts};
use crate::enrol::{self, Desk, IssuerNodes, Office, Renewal};
use crate::gateway::{AgentEntry, AgentTokens, Gateway, TokenTable};
use crate::identity::Identity;
use crate::lane::Lane;
use crate::members::{DirectoryError, Members};
use crate::overlay::trust::{self, Trust};
use crate::overlay::{Dialing, MeshAdmission, Records, Seed};
use crate::page::{Page, Tail};
use crate::posture::{PostureKeeper, Probe};
use crate::session::{OpenSession, Principal, SessionError};
use crate::setup;
use crate::standing::Standing;
use crate::state_dir::{StateDir, StateLock};
use crate::store::{self, Store, Write};
use crate::supervisor::{Readiness, Tasks};
use crate::telemetry::Counters;
use crate::transport::{self, Links};
use crate::upstream::{self, ServerSpec, Upstreams};

/// A node that runs. Holds what the control API reads and changes.
pub struct Node {
    pub(super) identity: Arc<Identity>,
    pub(super) office: Arc<Office>,
    pub(super) desk: Arc<Desk>,
    pub(super) renewal: Arc<Renewal>,
    pub(super) members: Arc<Members>,
    pub(super) store: Store,
    pub(super) enforcer: Arc<Enforcer>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) links: Links,
    pub(super) fabric: Arc<MeshFabric>,
    pub(super) acceptor: Arc<Acceptor>,
    pub(super) relay: Arc<Relay>,
    pub(super) approvals: Arc<Approvals>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) agents: Arc<TokenTable>,
    pub(super) admission: Arc<MeshAdmission>,
    pub(super) reached: Reached,
    pub(super) records: Arc<Records>,
    pub(super) trust: Trust,
    pub(super) trusting: Trusting,
    pub(super) standing: Arc<Standing>,
    pub(super) policing: Arc<Policing>,
    pub(super) dialing: Arc<Dialing>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) readiness: Readiness,
    pub(super) gateway_address: SocketAddr,
    pub(super) page: Option<Arc<Page>>,
    pub(super) started: UnixMillis,
    pub(super) store_path: std::path::PathBuf,
    pub(super) retention: Retention,
    pub(super) seen: Arc<SeenTokens>,
    pub(super) posture: Arc<PostureKeeper>,
    pub(super) lane: Lane,
    _lock: StateLock,
}

/// The listeners, bound before anything is spawned so that a taken port is one plain error.
pub(super) struct Listeners {
    pub(super) gateway: TcpListener,
    pub(super) control: UnixListener,
    pub(super) mcp: UnixListener,
    /// Absent where there is no status page.
    pub(super) page: Option<TcpListener>,
}

struct Attached(Arc<Upstreams>);

impl Inventory for Attached {
    fn tool_digest(&self, server: &Name, tool: &str) -> Option<Digest> {
        self.0.inventory(server)?.tools.get(tool).copied()
    }

    fn tool_hints(&self, server: &Name, tool: &str) -> Hints {
        let inventory = self.0.inventory(server);
        let hints = inventory.and_then(|i| i.hints.get(tool).copied());
        hints.unwrap_or_default()
    }
}

#[async_trait]
impl Servers for Attached {
    async fn open(&self, server: &Name, initialize: Bytes) -> Result<OpenSession, SessionError> {
        self.0.open(server, initialize).await
    }
}

/// Tokens, and when each was last used. Not persisted: it answers who is active, not who ever was.
pub(super) struct SeenTokens {
    table: Arc<TokenTable>,
    clock: Arc<dyn Clock>,
    last: Mutex<HashMap<Name, UnixMillis>>,
}

impl SeenTokens {
    /// When this process last saw the agent's token.
    pub(super) fn last_used(&self, agent: &Name) -> Option<UnixMillis> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(agent)
            .copied()
    }
}

impl AgentTokens for SeenTokens {
    fn agent(&self, token: &str) -> Option<Principal> {
        let principal = self.table.agent(token)?;
        // Bounded by the agents there are: only known ones get here.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(principal.agent.clone(), self.clock.now());
        Some(principal)
    }
}

impl Node {
    /// Builds and starts the node; everything it spawns ends with `tasks`, and everything it
    /// decides is decided by `clock`.
    ///
    /// # Errors
    /// [`AppError`]: the first part that could not be built.
    pub async fn build(
        dir: &StateDir,
        config: &Config,
        options: &Options,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
        readiness: &Readiness,
    ) -> Result<Arc<Self>, AppError> {
        let composition = Composition::by(clock);
        Self::compose(dir, config, options, composition, tasks, readiness).await
    }

    /// The same, where code chooses more than the clock.
    ///
    /// # Errors
    /// As [`Node::build`].
    pub async fn compose(
        dir: &StateDir,
        config: &Config,
        options: &Options,
        composition: Composition,
        tasks: &Tasks,
        readiness: &Readiness,
    ) -> Result<Arc<Self>, AppError> {
        let Composition {
            clock,
            danger_policy,
            danger_intents,
            host_root,
            cool_down,
            lane,
        } = composition;
        let lock = dir.lock()?;
        let identity = Arc::new(setup::load(dir)?);
        let started = clock.now();
        let own = identity.membership();
        match own.valid_at(started.seconds()) {
            // It renews its membership first, from whichever issuer it reaches.
            Err(TrustError::Expired(at)) => {
                tracing::warn!(
                    expired = at.0,
                    "this node's membership has ended; renewing it"
                );
            }
            other => other.map_err(AppError::Membership)?,
        }
        let store = open_store(dir, config, &identity)?;
        store.durable(vec![Write::ProcessStart(started)]).await?;
        let members = Arc::new(Members::new(Arc::clone(&identity.crypto), identity.root()));
        restore_members(&members, &store, &identity, started)?;
        let state = trust::restore(dir, &store, &*identity.crypto)?;
        let (crypto, now) = (&*identity.crypto, started.seconds());
        let state = trust::founded(dir, &store, crypto, now, state).await?;
        let standing = Arc::new(Standing::new(Arc::new(state)));
        members.attend(Arc::clone(&standing));
        let restored = hold_restored(dir, &standing, &members, config, options)?;
        let counters = Arc::new(Counters::new());
        let in_flight = InFlight::new(tasks.stopping());
        let closing = in_flight.closing();
        let upstreams = Upstreams::new(
            Arc::clone(&identity.crypto),
            &closing,
            upstream::Limits::default(),
            lane.clone(),
        );
        let tail = Arc::new(Tail::default());
        page::recall(&store, &tail)?;
        let ledger = Arc::new(StoreLedger::new(
            store.clone(),
            Arc::clone(&identity.crypto),
            Arc::clone(&tail),
        ));
        let policing = Arc::new(Policing::of(danger_policy));
        let enforcer = Arc::new(Enforcer::new(Parts {
            identity: Arc::clone(&identity),
            members: Arc::clone(&members),
            standing: Arc::clone(&standing),
            replay: restore_replay(&store, started)?,
            ledger,
            inventory: Arc::new(Attached(Arc::clone(&upstreams))),
            clock: Arc::clone(&clock),
            counters: Arc::clone(&counters),
            policy: policing.start(&standing.now()),
            intents: danger_intents.unwrap_or_else(|| Arc::new(Derivation)),
            cool_down_ms: u64::try_from(cool_down.as_millis()).unwrap_or(u64::MAX),
        }));
        let admission = MeshAdmission::new(
            Arc::clone(&identity),
            Arc::clone(&members),
            Arc::clone(&clock),
            Arc::clone(&standing),
        );
        let admission = Arc::new(admission);
        let tracker = TaskTracker::new();
        let listen = options.listen.unwrap_or(config.node().listen);
        let links = Links::bind(
            transport::Config {
                lane: lane.clone(),
                ..transport::Config::new(listen)
            },
            Arc::clone(&identity.tls),
            Arc::clone(&identity.crypto),
            Arc::new(RecordedAdmission {
                admission: Arc::clone(&admission),
                enforcer: Arc::clone(&enforcer),
            }),
            tracker.clone(),
            closing,
        )?;
        let reached = Reached::of(config, &links);
        admission.advertise(reached.now());
        let mut listeners = bind_listeners(dir, config, options, &lane).await?;
        let page = page::bind(config, options)
            .await
            .map(|(listener, address)| {
                listeners.page = Some(listener);
                Arc::new(Page::new(address, Arc::clone(&identity.crypto), tail))
            });
        let gateway_address =
            listeners
                .gateway
                .local_addr()
                .map_err(|source| AppError::Listen {
                    what: "the gateway",
                    address: String::new(),
                    source,
                })?;
        let effected = Arc::new(Effects::new(dir.clone(), Arc::clone(&policing)));
        let (trust, distributing) = trust::start(
            trust::Parts {
                identity: Arc::clone(&identity),
                members: Arc::clone(&members),
                standing: Arc::clone(&standing),
                links: links.clone(),
                store: store.clone(),
                counters: Arc::clone(&counters),
                clock: Arc::clone(&clock),
                effected: Arc::clone(&effected) as Arc<dyn trust::Effected>,
            },
            TrustState::clone(&standing.now()),
            setup::timestamper(dir)?,
            tasks.stopping(),
        );
        let dialing = Arc::new(Dialing::new(seeds(dir, config, options)?, cool_down));
        let dialer = MeshDialer::new(
            links.clone(),
            Arc::clone(&dialing),
            Arc::clone(&members),
            trust.clone(),
            tracker.clone(),
        );
        let dialer = Arc::new(dialer);
        let observed = links.clone();
        let acceptor = Arc::new(Acceptor::new(
            Arc::clone(&enforcer),
            Arc::new(Attached(Arc::clone(&upstreams))),
            Box::new(move |peer| observed.get(peer).map(|link| link.remote.to_string())),
            in_flight.clone(),
        ));
        dialer.serve_self(Arc::clone(&acceptor));
        let relay = Arc::new(Relay::new(
            Arc::clone(&enforcer),
            Arc::clone(&dialer) as Arc<dyn crate::call::Dialer>,
            in_flight.clone(),
            config.relay().accept.clone(),
        ));
        acceptor.relay_through(Arc::clone(&relay));
        let approvals = Arc::new(Approvals::restore(approvals::Parts {
            identity: Arc::clone(&identity),
            members: Arc::clone(&members),
            standing: Arc::clone(&standing),
            enforcer: Arc::clone(&enforcer),
            store: store.clone(),
            clock: Arc::clone(&clock),
        })?);
        if restored {
            // A backup does not know which approvals were used after it was made.
            approvals.forget().await?;
        }
        acceptor.hold_in(Arc::clone(&approvals));
        let fabric = Arc::new(MeshFabric::new(
            Arc::clone(&enforcer),
            Arc::clone(&dialer) as Arc<dyn crate::call::Dialer>,
            tracker,
            in_flight.clone(),
        ));
        let agents = restore_agents(&store, &identity)?;
        let seen = Arc::new(SeenTokens {
            table: Arc::clone(&agents),
            clock: Arc::clone(&clock),
            last: Mutex::default(),
        });
        let gateway = Gateway::new(
            Arc::clone(&fabric) as Arc<dyn crate::session::Fabric>,
            Arc::clone(&seen) as Arc<dyn AgentTokens>,
            Arc::clone(&identity.crypto),
            gateway_limits(config),
            lane.clone(),
        );
        restore_servers(&upstreams, &store)?;
        let records = Arc::new(Records::new(
            Arc::clone(&identity),
            Arc::clone(&members),
            Arc::clone(&admission),
            Arc::clone(&upstreams),
            store.clone(),
            Arc::clone(&clock),
        ));
        records.relay_through(config.relay().through.clone());
        dialer.learn_by(Arc::clone(&records));
        let probe = Probe::under(&host_root, &options.state);
        let posture = Arc::new(PostureKeeper::start(probe, Arc::clone(&clock)).await);
        records.measured_by(Arc::clone(&posture));
        let severed = Arc::new(Severed::default());
        enforcer.ask_through(Arc::new(trust.clone()));
        let labelled = Arc::downgrade(&gateway);
        enforcer.tell_labelled(Box::new(move |agent| {
            if let Some(gateway) = labelled.upgrade() {
                gateway.lists_changed_of(agent);
            }
        }));
        enforcer.attend(Arc::new(Severing {
            links: links.clone(),
            dialing: Arc::clone(&dialing),
            severed: Arc::clone(&severed),
            gateway: Arc::clone(&gateway),
            acceptor: Arc::clone(&acceptor),
            cool_down,
        }));
        admission.keep_off(Box::new(move |peer| severed.why(peer)));
        let issuers = Arc::new(IssuerNodes::restore(store.clone())?);
        for told in setup::admission(dir)?
            .and_then(|a| a.issuers)
            .unwrap_or_default()
        {
            issuers.learn(told.issuer, told.node).await;
        }
        let office = Arc::new(Office::default());
        let roles = Roles {
            dir: dir.clone(),
            identity: Arc::clone(&identity),
            members: Arc::clone(&members),
            standing: Arc::clone(&standing),
            store: store.clone(),
            clock: Arc::clone(&clock),
            trust: trust.clone(),
            office: Arc::clone(&office),
            issuers: Arc::clone(&issuers),
        };
        roles.fill_office().await?;
        let desk = Arc::new(Desk::new(enrol::Parts {
            identity: Arc::clone(&identity),
            members: Arc::clone(&members),
            admission: Arc::clone(&admission),
            links: links.clone(),
            office: Arc::clone(&office),
            issuers: Arc::clone(&issuers),
            roots: Arc::clone(&standing) as Arc<dyn enrol::RootChain>,
            counters: Arc::clone(&counters),
        }));
        let renewal = Arc::new(Renewal {
            identity: Arc::clone(&identity),
            members: Arc::clone(&members),
            links: links.clone(),
            dialing: Arc::clone(&dialing),
            office: Arc::clone(&office),
            issuers,
            clock: Arc::clone(&clock),
            file: dir.membership(),
            renewed: tokio::sync::watch::Sender::new(0),
        });
        let running = Running::new(identity.node(), trust.clone(), Arc::clone(&standing));
        let running = Arc::new(running) as Arc<dyn trusting::Driver>;
        let neighbours = Neighbours::new(
            Arc::clone(&members),
            links.clone(),
            Arc::clone(&running),
            Arc::clone(&clock),
        );
        let proposals = Proposals::open(
            dir.proposals(),
            Arc::clone(&identity.crypto),
            standing.now().root(),
        )?;
        let trusting = Trusting::new(
            running,
            Arc::new(neighbours),
            proposals,
            Arc::clone(&identity.crypto),
            Arc::clone(&clock),
        );
        let node = Arc::new(Self {
            office,
            desk,
            renewal,
            identity,
            members,
            store,
            enforcer,
            upstreams,
            links,
            fabric,
            acceptor,
            relay,
            approvals,
            gateway,
            agents,
            admission,
            reached,
            records,
            trust,
            trusting,
            dialing,
            counters,
            clock,
            readiness: readiness.clone(),
            gateway_address,
            page,
            started,
            store_path: dir.store(),
            retention: Retention::of(config.decisions()),
            seen,
            standing,
            policing,
            posture,
            lane,
            _lock: lock,
        });
        effected.attend(&node);
        tasks.service("trust", distributing);
        tasks.service("roles", roles.follow(tasks.stopping()));
        serve::spawn(&node, listeners, tasks, &in_flight.closing())?;
        let deadline = Duration::from_secs(config.limits().drain_s.into());
        tasks.service("drain", in_flight.drain(deadline));
        Ok(node)
    }

    /// Its links with other nodes.
    #[must_use]
    pub const fn links(&self) -> &Links {
        &self.links
    }

    /// Every MCP server it can name, its own included.
    #[must_use]
    pub const fn fabric(&self) -> &Arc<MeshFabric> {
        &self.fabric
    }

    /// What serves calls of other nodes.
    #[must_use]
    pub const fn acceptor(&self) -> &Arc<Acceptor> {
        &self.acceptor
    }

    /// What carries calls between other nodes.
    #[must_use]
    pub const fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// The calls it holds until somebody approves them.
    #[must_use]
    pub const fn held_calls(&self) -> &Arc<Approvals> {
        &self.approvals
    }

    /// What decides on every message.
    #[must_use]
    pub const fn enforcer(&self) -> &Arc<Enforcer> {
        &self.enforcer
    }

    /// Its store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Forgets the decision records that the configuration no longer keeps, and returns how many.
    /// A node that runs does so every minute.
    ///
    /// # Errors
    /// [`store::StoreError`].
    pub async fn prune_decisions(&self) -> Result<u64, store::StoreError> {
        // By verified time too: a clock that jumps ahead for a moment must not cost the evidence.
        let verified = self.enforcer.greatest_time().plus(MAX_CLOCK_AHEAD_S);
        let verified = UnixMillis(verified.0.saturating_mul(1000));
        let now = self.clock.now().min(verified);
        self.retention.apply(&self.store, now).await
    }

    /// Measures this host's posture again. A node that runs does so every minute.
    pub async fn measure_posture(&self) {
        self.posture.measure().await;
    }

    /// The TCP address its gateway really got.
    #[must_use]
    pub const fn gateway_address(&self) -> SocketAddr {
        self.gateway_address
    }

    /// Takes the node down after its tasks have ended.
    pub async fn close(&self) {
        self.upstreams.shutdown().await;
        self.enforcer.sum_up(true).await;
        let greatest = self.enforcer.greatest_time();
        let greatest = Write::GreatestTime(UnixMillis(greatest.0.saturating_mul(1000)));
        if let Err(error) = self.store.durable(vec![greatest]).await {
            tracing::error!(%error, "the greatest time was not persisted");
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store was not closed in order");
        }
    }
}

fn open_store(dir: &StateDir, config: &Config, identity: &Identity) -> Result<Store, AppError> {
    let mut options = store::Options::new(read_link(Arc::clone(&identity.crypto)));
    options.cache_bytes = config.store().cache_bytes();
    Ok(Store::open(&dir.store(), &options)?)
}

/// A node whose state came from a backup takes no calls until it has heard of the present from a
/// peer; the only node of its mesh has nobody to hear it from. Whether it is such a node.
fn hold_restored(
    dir: &StateDir,
    standing: &Standing,
    members: &Members,
    config: &Config,
    options: &Options,
) -> Result<bool, AppError> {
    let pending = Restored::pending(dir).map_err(|e| AppError::Stored {
        what: "mark of a restore",
        detail: e.to_string(),
    })?;
    if pending.is_none() {
        return Ok(false);
    }
    if members.all().len() > 1 || !seeds(dir, config, options)?.is_empty() {
        tracing::warn!("restored from a backup: no call passes before a peer has been heard");
        standing.hold();
    } else {
        tracing::warn!("restored from a backup, and no other node is known: nothing to wait for");
        Restored::done(dir).map_err(|e| AppError::Stored {
            what: "mark of a restore",
            detail: e.to_string(),
        })?;
    }
    Ok(true)
}

fn restore_members(
    members: &Members,
    store: &Store,
    identity: &Identity,
    now: UnixMillis,
) -> Result<(), AppError> {
    let now = now.seconds();
    let snapshot = store.snapshot()?;
    match members.learn_membership(identity.membership().bytes(), now) {
        Ok(_) | Err(DirectoryError::Trust(TrustError::Expired(_))) => {}
        Err(e) => {
            return Err(AppError::Stored {
                what: "own membership",
                detail: e.to_string(),
            });
        }
    }
    members.names_kept(snapshot.revoked_names()?);
    // One that no longer holds, because its issuer is gone, takes nobody's place any more.
    for (_, bytes) in snapshot.replaced()? {
        drop(members.restore_replaced(&bytes));
    }
    // Expired ones are no error: their nodes come back with new ones.
    snapshot.each_node_record(|_, bytes| drop(members.learn_record(bytes, now)))?;
    Ok(())
}

fn restore_replay(store: &Store, started: UnixMillis) -> Result<ReplayWindow, AppError> {
    let snapshot = store.snapshot()?;
    let floors: HashMap<_, _> = snapshot.replay_floors()?.into_iter().collect();
    let greatest = snapshot.greatest_time()?.unwrap_or_default();
    Ok(ReplayWindow::new(
        started.seconds(),
        greatest.seconds(),
        floors,
    ))
}

fn restore_agents(store: &Store, identity: &Identity) -> Result<Arc<TokenTable>, AppError> {
    let table = TokenTable::new(Arc::clone(&identity.crypto));
    let entries = store
        .snapshot()?
        .agents()?
        .into_iter()
        .map(|(agent, kept)| {
            // A row that names no human as one can be named must not lose its restrictions.
            let human = kept.human.map(|human| human.parse()).transpose();
            Ok(AgentEntry {
                agent,
                digest: kept.token_hash,
                created: kept.created,
                human: human.map_err(|e: HumanError| AppError::Stored {
                    what: "agents",
                    detail: e.to_string(),
                })?,
            })
        })
        .collect::<Result<Vec<_>, AppError>>()?;
    table.restore(entries).map_err(|e| AppError::Stored {
        what: "agents",
        detail: e.to_string(),
    })?;
    Ok(Arc::new(table))
}

fn restore_servers(upstreams: &Upstreams, store: &Store) -> Result<(), AppError> {
    for (name, json) in store.snapshot()?.servers()? {
        let unusable = |detail: String| AppError::Stored {
            what: "server",
            detail,
        };
        let spec: ServerSpec =
            serde_json::from_slice(&json).map_err(|e| unusable(format!("`{name}`: {e}")))?;
        upstreams
            .add(name.clone(), spec)
            .map_err(|e| unusable(format!("`{name}`: {e}")))?;
    }
    Ok(())
}

fn gateway_limits(config: &Config) -> crate::gateway::Limits {
    let sessions = usize::try_from(config.limits().client_sessions).unwrap_or(usize::MAX);
    let defaults = crate::gateway::Limits::default();
    let per_agent = defaults.sessions_per_agent.min(sessions);
    crate::gateway::Limits {
        sessions,
        sessions_per_agent: per_agent,
        ..defaults
    }
}

async fn bind_listeners(
    dir: &StateDir,
    config: &Config,
    options: &Options,
    lane: &Lane,
) -> Result<Listeners, AppError> {
    let address = options.gateway.unwrap_or(config.gateway().listen);
    let bound = TcpListener::bind(address).await;
    let gateway = bound
        .and_then(|listener| lane.adopt_tcp(listener))
        .map_err(|source| AppError::Listen {
            what: "the gateway",
            address: address.to_string(),
            source,
        })?;
    let control = crate::control::bind(&dir.control_socket()).await?;
    let mcp = dir.mcp_socket();
    let lines = crate::control::bind(&mcp).await?;
    let lines = lane
        .adopt_unix(lines)
        .map_err(|source| crate::control::BindError::Io { path: mcp, source })?;
    Ok(Listeners {
        gateway,
        control,
        mcp: lines,
        page: None,
    })
}

fn seeds(dir: &StateDir, config: &Config, options: &Options) -> Result<Vec<Seed>, AppError> {
    let mut seeds: Vec<Seed> = Vec::new();
    for peer in setup::admission(dir)?.map(|a| a.peers).unwrap_or_default() {
        let node = Some(peer.node);
        seeds.extend(
            peer.addresses
                .into_iter()
                .map(|address| Seed { node, address }),
        );
    }
    seeds.extend(config.peers().fixed.iter().map(|peer| Seed {
        node: Some(peer.id),
        address: peer.address.to_string(),
    }));
    seeds.extend(options.dial.iter().map(|address| Seed {
        node: None,
        address: address.clone(),
    }));
    Ok(seeds)
}
