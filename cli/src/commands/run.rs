//! `hedgerow run`: the node of an existing state directory, in the foreground. And [`seam`], the
//! one place where the binary touches the daemon's crate.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Context;
use crate::exit::Failed;
use crate::state::Standing;

/// Run the node of an existing state directory in the foreground.
///
/// For service managers: it needs a mesh founded or joined before with `hedgerow up`, logs to
/// stderr, and stops on SIGTERM or ctrl-c once calls in flight are done.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow run
  HEDGEROW_LOG=debug hedgerow --state-dir /var/lib/hedgerow run")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(super) overrides: Overrides,
}

/// What the command line changes of the configuration, for this run only.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Overrides {
    /// UDP address to listen on for other nodes; port 0 takes any
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// TCP address of the gateway for MCP clients of this host; port 0 takes any
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) gateway: Option<SocketAddr>,
    /// A node to keep a link to (repeatable)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) dial: Vec<String>,
    /// Stop when stdin ends: whoever started this node then cannot leave it behind
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

impl Run {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        if state.standing() == Standing::Outsider {
            return Err(
                Failed::input(format!("`{}` holds no node", state.path().display()))
                    .with_hint("found a mesh or join one with `hedgerow up`"),
            );
        }
        super::up::serve(
            context,
            &state,
            &self.overrides,
            super::up::Origin::Existing,
            None,
        )
    }
}

/// The demo's MCP server, on stdin and stdout.
#[derive(Debug, clap::Args)]
pub(crate) struct SampleServer {
    /// Keep the product table in this file, so that it outlives a session
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

impl SampleServer {
    pub(crate) fn run(self) -> Result<(), Failed> {
        seam::sample_server(self.table.as_deref())
    }
}

/// The daemon, as the command line sees it. Every use of crate `node` stands here.
pub(crate) mod seam {
    use std::io::ErrorKind;
    use std::path::Path;

    use protocol::name::Name;

    use super::Overrides;
    use crate::exit::{Exit, Failed};

    use hedgerow_crypto::{Primitives, SigningKeys};
    use node::app::AppError;
    use node::backup::{BackupError, Made, Report, StoreFrom};
    use node::enrol::{JoinError, RotateError, Rotated};
    use node::keys::{KeyFileError, admin};
    use node::setup::SetupError;
    use protocol::control::Check;
    use protocol::cose::CoseError;
    use protocol::trust::TrustError;
    use protocol::trust::bundle::BundleBody;

    pub(crate) use node::enrol::{Joined, Progress};
    pub(crate) use node::keys::passphrase::{MAX_PASSPHRASE_BYTES, Passphrase};
    pub(crate) use node::keys::sealed::Form;
    pub(crate) use node::setup::{Founding, NodeRole, PublicIdentity as Identity};
    pub(crate) use protocol::trust::Ticket;

    /// The reason of a passphrase that does not open a key.
    pub(crate) const WRONG_PASSPHRASE: &str = "wrong_passphrase";

    /// The identity of the state directory, its directory and keys made where there are none.
    pub(crate) fn identity(state: &Path, name: Option<Name>) -> Result<Identity, Failed> {
        node::setup::identity(state, name).map_err(set_up)
    }

    /// A passphrase nobody chose, from the operating system's randomness.
    pub(crate) fn generated_passphrase() -> Result<Passphrase, Failed> {
        Passphrase::generate(&Primitives)
            .map_err(|error| Failed::new(Exit::Failure, error.to_string()))
    }

    /// The form of the admin key in the state directory, if there is one.
    pub(crate) fn admin_form(state: &Path) -> Result<Option<Form>, Failed> {
        admin::form(state).map_err(set_up)
    }

    /// Makes an admin key in the state directory.
    pub(crate) fn make_admin(state: &Path, passphrase: &Passphrase) -> Result<SigningKeys, Failed> {
        admin::make(state, passphrase).map_err(set_up)
    }

    /// Opens the admin key of the state directory.
    pub(crate) fn open_admin(state: &Path, passphrase: &Passphrase) -> Result<SigningKeys, Failed> {
        admin::open(state, passphrase).map_err(set_up)
    }

    /// Seals the admin key anew.
    pub(crate) fn reseal_admin(
        state: &Path,
        old: Option<&Passphrase>,
        new: &Passphrase,
    ) -> Result<SigningKeys, Failed> {
        admin::reseal(state, old, new).map_err(set_up)
    }

    /// The public file of the admin key, where it has been written.
    pub(crate) fn admin_card(state: &Path) -> Result<Option<Vec<u8>>, Failed> {
        admin::card(state).map_err(set_up)
    }

    /// The public file of this host's key for a role, the key made where there is none.
    pub(crate) fn role_card(state: &Path, role: NodeRole) -> Result<Vec<u8>, Failed> {
        node::setup::role_card(state, role).map_err(set_up)
    }

    /// Founds a mesh in the state directory: keys, root, the first membership, the first bundle if
    /// it has one. The admin key is sealed under `admin`.
    pub(crate) fn found(
        state: &Path,
        founding: &Founding,
        admin: &Passphrase,
        policies: Option<&BundleBody>,
    ) -> Result<(), Failed> {
        node::setup::found_under(state, founding, admin, policies)
            .map(drop)
            .map_err(set_up)
    }

    /// Makes the state directory's host a member: checks that the admission is for its keys and
    /// stores root, membership and the peers to dial.
    pub(crate) fn join(state: &Path, admission: &[u8]) -> Result<(), Failed> {
        node::setup::join(state, admission)
            .map(drop)
            .map_err(set_up)
    }

    /// Reads a ticket.
    pub(crate) fn ticket(text: &str) -> Result<Ticket, Failed> {
        Ticket::parse(&Primitives, text).map_err(|error| {
            Failed::input(error.to_string())
                .with_reason(error.reason())
                .with_hint("copy the whole line that `hedgerow invite` printed")
        })
    }

    /// Refuses a ticket of another mesh than the state directory's.
    pub(crate) fn same_mesh(state: &Path, ticket: &Ticket) -> Result<(), Failed> {
        let mesh = node::setup::mesh(state).map_err(set_up)?;
        if mesh == ticket.mesh {
            return Ok(());
        }
        let message = format!(
            "this host is a member of mesh {}, the ticket is of mesh {}",
            mesh.short(),
            ticket.mesh.short()
        );
        Err(Failed::new(Exit::Denied, message)
            .with_reason("foreign_mesh")
            .with_hint("join another mesh with another `--state-dir`"))
    }

    /// Refuses a host whose node knows that it is revoked: no ticket lets its keys in again.
    pub(crate) async fn not_revoked(state: &Path) -> Result<(), Failed> {
        let Ok(Some(why)) = Box::pin(node::app::revoked(state)).await else {
            // One that runs says so itself: `hedgerow doctor`.
            return Ok(());
        };
        let message = format!("this host's node is revoked: {why}; no ticket lets its keys in");
        Err(Failed::new(Exit::Denied, message)
            .with_reason("node_revoked")
            .with_hint("join as another node: `hedgerow --state-dir OTHER join TICKET`"))
    }

    /// Joins with a ticket; `tell` hears how it goes.
    pub(crate) async fn enrol(
        state: &Path,
        ticket: &Ticket,
        name: Name,
        tell: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Joined, Failed> {
        let joined = Box::pin(node::enrol::join(state, ticket, Some(name), tell)).await;
        joined.map_err(|error| {
            let exit = match &error {
                JoinError::Setup(error) => exit_of(error),
                JoinError::Refused(_) | JoinError::Clock(_) => Exit::Denied,
                _ => Exit::Failure,
            };
            let failed = Failed::new(exit, error.to_string());
            let failed = match error.reason() {
                Some(reason) => failed.with_reason(reason),
                None => failed,
            };
            hinted(failed, error.hint())
        })
    }

    /// Rotates the keys of a node that is stopped.
    pub(crate) async fn rotate(state: &Path) -> Result<Rotated, Failed> {
        let rotated = Box::pin(node::enrol::rotate(state)).await;
        rotated.map_err(|error| {
            let exit = match &error {
                RotateError::Setup(error) => exit_of(error),
                RotateError::Refused(_) => Exit::Denied,
                _ => Exit::Failure,
            };
            hinted(Failed::new(exit, error.to_string()), error.hint())
        })
    }

    /// Runs the node until `stop` or until a part of it fails; drains before it returns.
    pub(crate) async fn run(
        state: &Path,
        overrides: &Overrides,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failed> {
        let outcome = node::app::run(&options(state, overrides), stop).await;
        outcome.map_err(not_run)
    }

    /// Refuses what can be known to keep a node from running before anything is made for it.
    pub(crate) fn check(state: &Path, overrides: &Overrides) -> Result<(), Failed> {
        node::app::check(&options(state, overrides)).map_err(not_run)
    }

    fn options(state: &Path, overrides: &Overrides) -> node::app::Options {
        node::app::Options {
            state: state.to_owned(),
            listen: overrides.listen,
            gateway: overrides.gateway,
            dial: overrides.dial.clone(),
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "used as a function in map_err"
    )]
    fn not_run(error: AppError) -> Failed {
        let exit = match &error {
            AppError::Config(_) | AppError::Telemetry(_) => Exit::InvalidInput,
            AppError::Listen { source, .. } if source.kind() == ErrorKind::AddrNotAvailable => {
                Exit::InvalidInput
            }
            AppError::Setup(error) => exit_of(error),
            AppError::Membership(_) => Exit::Denied,
            _ => Exit::Failure,
        };
        let hint = match &error {
            AppError::Config(node::config::ConfigError::GatewayNotLoopback { .. }) => Some(
                "MCP clients connect on this host only: give `--gateway 127.0.0.1:PORT`".to_owned(),
            ),
            other => other.hint(),
        };
        hinted(Failed::new(exit, error.to_string()), hint)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "used as a function in map_err"
    )]
    fn set_up(error: SetupError) -> Failed {
        let hint = error.hint();
        let failed = hinted(Failed::new(exit_of(&error), error.to_string()), hint);
        match error {
            SetupError::Key(KeyFileError::WrongPassphrase { .. }) => {
                failed.with_reason(WRONG_PASSPHRASE)
            }
            SetupError::Key(KeyFileError::InTheClear { .. }) => {
                failed.with_reason("admin_key_not_encrypted")
            }
            SetupError::RestoreUnfinished(_) => failed.with_reason("restore_unfinished"),
            _ => failed,
        }
    }

    /// What is no document is invalid input; a document that does not hold is a denial.
    fn exit_of(error: &SetupError) -> Exit {
        match error {
            SetupError::Trust(TrustError::Codec(_) | TrustError::Cose(CoseError::Codec(_))) => {
                Exit::InvalidInput
            }
            SetupError::Trust(_)
            | SetupError::Identity(_)
            | SetupError::Key(
                KeyFileError::WrongPassphrase { .. } | KeyFileError::InTheClear { .. },
            ) => Exit::Denied,
            _ => Exit::Failure,
        }
    }

    fn hinted(failed: Failed, hint: Option<String>) -> Failed {
        match hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }

    /// The reason of a refusal for want of a passphrase.
    pub(crate) const PASSPHRASE_MISSING: &str = "passphrase_missing";

    /// Backs the state directory up, from the copy of that name where a node runs on it.
    pub(crate) fn backup(
        state: &Path,
        copy: Option<&str>,
        passphrase: Option<&Passphrase>,
        file: &Path,
    ) -> Result<Made, Failed> {
        let from = copy.map_or(StoreFrom::Stopped, StoreFrom::Copy);
        node::backup::make(state, from, passphrase, file).map_err(backed_up)
    }

    /// Restores a backup into the state directory.
    pub(crate) async fn restore(
        file: &Path,
        state: &Path,
        passphrase: Option<&Passphrase>,
        replace: bool,
    ) -> Result<Report, Failed> {
        node::backup::restore(file, state, passphrase, replace)
            .await
            .map_err(backed_up)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "used as a function in map_err"
    )]
    fn backed_up(error: BackupError) -> Failed {
        let exit = match &error {
            BackupError::NotABackup
            | BackupError::UnknownVersion
            | BackupError::Cost(_)
            | BackupError::NeedsPassphrase
            | BackupError::TooLarge { .. }
            | BackupError::Missing(_)
            | BackupError::NotOpened { .. }
            | BackupError::NotMade { .. }
            | BackupError::Occupied(_) => Exit::InvalidInput,
            BackupError::WrongPassphrase
            | BackupError::Damaged(_)
            | BackupError::Misnamed { .. }
            | BackupError::OtherNode { .. }
            | BackupError::OtherMesh { .. } => Exit::Denied,
            _ => Exit::Failure,
        };
        let hint = error.hint();
        hinted(
            Failed::new(exit, error.to_string()).with_reason(error.reason()),
            hint,
        )
    }

    /// What the state directory says of itself; see `node::doctor`.
    pub(crate) fn examine(state: &Path, running: bool) -> Vec<Check> {
        node::doctor::local(state, running, &|name| std::env::var_os(name))
    }

    /// The example configuration, every key with its default.
    pub(crate) fn example_config() -> &'static str {
        node::config::Config::example()
    }

    /// Serves the sample MCP server on stdin and stdout until stdin ends; the product table is
    /// kept in `table` where given, because every client session gets a process of its own.
    pub(crate) fn sample_server(table: Option<&Path>) -> Result<(), Failed> {
        let mut table = match table {
            Some(path) => {
                node::sample::Table::open(path).map_err(|error| Failed::input(error.to_string()))?
            }
            None => node::sample::Table::in_memory(),
        };
        node::sample::serve(
            std::io::stdin().lock(),
            std::io::stdout().lock(),
            &mut table,
        )
        .map_err(|error| Failed::new(Exit::Failure, error.to_string()))
    }
}
