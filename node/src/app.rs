//! The composition root: builds every part of the node once, in the order of trust, and takes it
//! down in the reverse order.
//!
//! Up: state directory and lock → keys, root, membership → store → directory and replay window →
//! enforcement → upstreams → links → overlay → gateway → control API → ready. Down: stop
//! accepting everywhere, let calls in flight end until the drain deadline, end upstreams, persist
//! the greatest time accepted, close the store.

mod addresses;
mod approving;
mod bundles;
mod composition;
mod decisions;
mod dialer;
mod effects;
mod enrolling;
mod issuing;
mod ledger;
mod node;
mod operations;
mod page;
mod policing;
mod postures;
mod probe;
mod roles;
mod serve;
mod severing;
pub mod trusting;
mod views;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use composition::Composition;
#[cfg(test)]
pub(crate) use ledger::StoreLedger;
pub use ledger::read_link;
pub use node::Node;

use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::lane::Lane;
use crate::sd_notify::{self, Notifier};
use crate::setup::{self, SetupError};
use crate::state_dir::{CONFIG_FILE, StateDir, StateDirError};
use crate::supervisor::{self, Signals, Supervisor};
use crate::telemetry::{self, TelemetryError};

/// How long sessions and connections have to end once no call is in flight; longer than the
/// gateway waits for its own.
const CLOSING: Duration = Duration::from_secs(10);

/// How a node is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The state directory.
    pub state: PathBuf,
    /// UDP address to listen on instead of the configured one.
    pub listen: Option<SocketAddr>,
    /// Gateway address instead of the configured one.
    pub gateway: Option<SocketAddr>,
    /// Further `host:port` of nodes to keep a link to.
    pub dial: Vec<String>,
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The state directory.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// Keys, root or membership.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The store.
    #[error(transparent)]
    Open(#[from] crate::store::OpenError),
    /// The store, once open.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// No thread for calls.
    #[error("cannot start the thread that calls run on: {0}")]
    Threads(std::io::Error),
    /// The mesh port.
    #[error(transparent)]
    Bind(#[from] crate::transport::BindError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] crate::control::BindError),
    /// Another listener.
    #[error("cannot listen on `{address}` for {what}: {source}")]
    Listen {
        /// What for.
        what: &'static str,
        /// Where.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// This node's membership is not valid now.
    #[error("this node's membership is not valid: {0}")]
    Membership(protocol::trust::TrustError),
    /// The trust documents kept here cannot be used.
    #[error(transparent)]
    Trust(#[from] crate::overlay::trust::RestoreError),
    /// The proposals kept here cannot be used.
    #[error(transparent)]
    Proposals(#[from] trusting::KeepError),
    /// A stored entry cannot be used.
    #[error("the stored {what} cannot be used: {detail}")]
    Stored {
        /// Which.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// Gossip could not be set up.
    #[error("gossip: {0}")]
    Gossip(String),
    /// A part failed while running.
    #[error("the node stopped: {0}")]
    Stopped(supervisor::Reason),
}

impl AppError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::StateDir(e) => e.hint(),
            Self::Setup(e) => e.hint(),
            Self::Config(e) => e.hint(),
            Self::Telemetry(e) => e.hint().map(str::to_owned),
            Self::Open(e) => e.hint(),
            Self::Store(e) => e.hint().map(str::to_owned),
            Self::Listen { source, what, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some(format!(
                    "another process has it; stop that one or set another address for {what}"
                ))
            }
            Self::Listen { source, what, .. }
                if source.kind() == std::io::ErrorKind::AddrNotAvailable =>
            {
                Some(format!(
                    "no interface of this host has it (`ip address` lists them); set another address for {what}"
                ))
            }
            Self::Bind(crate::transport::BindError::InUse { .. }) => Some(
                "another process may have the port; stop that one or choose another with --listen"
                    .to_owned(),
            ),
            Self::Threads(_) => Some(
                "the limit of open files may be reached: see `ulimit -n`, or LimitNOFILE of the service"
                    .to_owned(),
            ),
            Self::Membership(_) => {
                Some(
                    "check the clock, or have the founder issue a new membership; one that is not \
                     valid yet was issued while a clock was ahead: wait until then, or go back to a \
                     backup of before (`hedgerow restore`)"
                        .to_owned(),
                )
            }
            Self::Stopped(supervisor::Reason::Failed { hint, .. }) => Some((*hint).to_owned()),
            _ => None,
        }
    }
}

/// Checks what can be known to be wrong before anything is made: the configuration, and that the
/// addresses to listen on are of this host. One that is in use may be free by then. Nothing stays
/// bound, and the state directory need not exist.
///
/// # Errors
/// [`AppError`].
pub fn check(options: &Options) -> Result<(), AppError> {
    let variable = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    let config = Config::load(&options.state.join(CONFIG_FILE), &variable)?;
    check_gateway(options)?;
    let listen = options.listen.unwrap_or(config.node().listen);
    own_address("other nodes", listen, std::net::UdpSocket::bind(listen))?;
    let gateway = options.gateway.unwrap_or(config.gateway().listen);
    own_address("the gateway", gateway, std::net::TcpListener::bind(gateway))
}

fn own_address<T>(
    what: &'static str,
    address: SocketAddr,
    bound: std::io::Result<T>,
) -> Result<(), AppError> {
    match bound {
        Err(source) if source.kind() != std::io::ErrorKind::AddrInUse => Err(AppError::Listen {
            what,
            address: address.to_string(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The command line obeys what the configuration must.
fn check_gateway(options: &Options) -> Result<(), ConfigError> {
    match options.gateway {
        Some(found) if !found.ip().is_loopback() => Err(ConfigError::GatewayNotLoopback { found }),
        _ => Ok(()),
    }
}

/// Why the node at `state`, which does not run, is revoked, as far as it has heard; `None` if it has
/// heard of nothing.
///
/// # Errors
/// [`AppError`]: it runs, or its state cannot be read.
pub async fn revoked(state: &std::path::Path) -> Result<Option<String>, AppError> {
    let dir = StateDir::open(state)?;
    let _lock = dir.lock()?;
    let identity = setup::load(&dir)?;
    let crypto = Arc::clone(&identity.crypto);
    let options = crate::store::Options::new(read_link(Arc::clone(&crypto)));
    let store = crate::store::Store::open(&dir.store(), &options)?;
    let trust = crate::overlay::trust::restore(&dir, &store, &*crypto);
    // Whoever starts the node next finds it closed.
    store.close().await?;
    let trust = trust?;
    let cause = trust.revoked().node(&identity.node());
    Ok(cause.map(|cause| cause.reason.to_string()))
}

/// Runs the node until `stop` resolves, a signal comes, or a part of it fails.
///
/// # Errors
/// [`AppError`]: what kept it from starting, or what failed.
pub async fn run(
    options: &Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AppError> {
    let dir = StateDir::open(&options.state)?;
    let variable = |name: &str| -> Option<OsString> { std::env::var_os(name) };
    let config = Config::load(&dir.config(), &variable)?;
    check_gateway(options)?;
    match telemetry::init(config.log(), &variable) {
        // A node inside another process logs as that process does.
        Ok(()) | Err(TelemetryError::AlreadySet) => {}
        Err(error) => return Err(error.into()),
    }
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    let drain = Duration::from_secs(config.limits().drain_s.into()) + CLOSING;
    let clock = Arc::new(SystemClock);
    let readiness = supervisor.readiness();
    let composition = Composition {
        lane: Lane::start().map_err(AppError::Threads)?,
        ..Composition::by(clock)
    };
    let node = Node::compose(&dir, &config, options, composition, &tasks, &readiness).await?;
    if let Some(notifier) = Notifier::from_environment(&variable) {
        let described = Arc::clone(&node);
        let telling = sd_notify::follow(
            notifier,
            supervisor.readiness(),
            move || described.summary(),
            tasks.stopping(),
        );
        tasks.service("service manager", telling);
    }
    let stopper = tasks.clone();
    let stopping = tasks.stopping();
    tasks.service("stop", async move {
        tokio::select! {
            biased;
            () = stopping.cancelled() => {}
            () = stop => stopper.stop("asked to stop"),
        }
    });
    // Whoever runs the node handles signals and says so through `stop`; a node that also listened
    // for them would take the first for a second and cut its drain short.
    let (_none, signals) = Signals::by_hand();
    let stopped = supervisor.run(signals, drain).await;
    node.close().await;
    for (task, count) in &stopped.aborted {
        tracing::warn!(task, count, "aborted at the end of the drain");
    }
    if stopped.reason.is_orderly() {
        Ok(())
    } else {
        Err(AppError::Stopped(stopped.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::AppError;

    /// A runtime that starts its thread fails for want of descriptors alone.
    #[test]
    fn no_runtime_for_calls_is_said_with_the_limit_to_raise() {
        let error = AppError::Threads(std::io::Error::from_raw_os_error(24));
        assert!(error.to_string().contains("Too many open files"), "{error}");
        assert!(error.hint().unwrap().contains("ulimit -n"));
    }
}
