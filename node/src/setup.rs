//! Before a node runs: its keys, founding a mesh, joining one with an admission file.
//!
//! The admin key a founding makes is sealed under a passphrase before anything is signed with it;
//! the passphrase is the caller's, and nothing here keeps it.
//!
//! Works on files only, never on the store or the network. Everything is written once, durably,
//! with mode 0600; nothing that exists is overwritten.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::{Crypto, CryptoError, Signer as _, Suite};
use protocol::id::{MeshId, NodeId};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::bundle::BundleBody;
use protocol::trust::membership::sorted_names;
use protocol::trust::{
    Admission, Issuer, Membership, MembershipRequest, Proposal, ProposalError, Role, RoleHost,
    Root, SignerCard, TrustError, VerifiedRoot,
};

use crate::clock::{Clock as _, SystemClock};
use crate::crash;
use crate::identity::{Identity, IdentityError};
use crate::keys::passphrase::Passphrase;
use crate::keys::{self, KeyFileError, KeyKind, Seeds};
use crate::roots::{self, RootsError};
use crate::state_dir::{StateDir, StateDirError};

/// Longest membership the founder's issuer may issue: a year, for those carried by hand.
pub const FOUNDER_LIFE_S: u64 = 366 * 24 * 3600;

/// Memberships the founder's issuer may issue in an hour.
const FOUNDER_ISSUER_RATE: u64 = 1000;

/// Freshness lease of a new mesh, in seconds: a day.
const LEASE_S: u64 = 24 * 3600;

/// For how much longer read-only tools run without fresh timestamps: a week.
const READ_GRACE_S: u64 = 7 * 24 * 3600;

/// Why a state directory could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The directory cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// A key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A primitive failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The TLS identity cannot be made or cannot sign.
    #[error("the TLS identity: {0}")]
    Tls(String),
    /// The directory already belongs to a mesh.
    #[error("`{}` already holds a node of a mesh", .0.display())]
    Taken(PathBuf),
    /// A restore was interrupted there.
    #[error("a restore into `{}` was interrupted", .0.display())]
    RestoreUnfinished(PathBuf),
    /// A document does not hold.
    #[error("the admission does not hold: {0}")]
    Trust(#[from] TrustError),
    /// The documents and keys do not belong together.
    #[error("the admission does not fit this host: {0}")]
    Identity(#[from] IdentityError),
    /// The first bundle cannot be made.
    #[error("the first policies: {0}")]
    Policies(#[from] ProposalError),
    /// The roots after the genesis cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A file could not be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SetupError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::StateDir(e) => e.hint(),
            Self::Key(e) => e.hint(),
            Self::Taken(_) => Some("use another --state-dir for another node".to_owned()),
            Self::RestoreUnfinished(_) => Some(
                "run `hedgerow restore` again with the same backup: it finishes what was begun; what was there before is in `before-restore-…`"
                    .to_owned(),
            ),
            Self::Identity(_) => Some(
                "the admission must be issued for the request this host made with `hedgerow id --request`"
                    .to_owned(),
            ),
            Self::Trust(_) => Some("ask the founder to issue it again".to_owned()),
            _ => None,
        }
    }
}

/// A host's public identity.
#[derive(Debug, Clone)]
pub struct PublicIdentity {
    /// Its node id.
    pub node: NodeId,
    /// A membership request, signed by the set it asks to enrol.
    pub request: Vec<u8>,
}

/// What the first node of a mesh starts with.
#[derive(Debug, Clone)]
pub struct Founding {
    /// The mesh's name.
    pub mesh: Name,
    /// The node's name.
    pub node: Name,
    /// Its groups.
    pub groups: Vec<Name>,
    /// Its site.
    pub site: Option<Name>,
}

/// A role a running node has, so that its key is in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRole {
    /// Admits nodes.
    Issuer,
    /// States what is newest.
    Timestamper,
}

/// The key sets of this host.
pub(crate) struct Keys {
    pub(crate) tls: Arc<TlsIdentity>,
    pub(crate) signing: SigningKeys,
}

/// The keys with which the host at `state` may join a mesh, made where there are none.
///
/// # Errors
/// [`SetupError`].
pub(crate) fn keys_to_join_with(state: &Path) -> Result<Keys, SetupError> {
    let dir = StateDir::create(state)?;
    refuse_taken(&dir)?;
    own_keys(&dir, &Primitives)
}

/// Puts a renewed membership in the place of the one before: at every moment one of the two is
/// there, whole.
///
/// # Errors
/// [`SetupError`].
pub(crate) fn keep_membership(file: &Path, bytes: &[u8]) -> Result<(), SetupError> {
    let fresh = file.with_extension("cose.new");
    replace(&fresh, bytes)?;
    let renamed = std::fs::rename(&fresh, file).and_then(|()| match file.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    });
    renamed.map_err(|source| SetupError::Write {
        path: file.to_owned(),
        source,
    })
}

/// The identity of the host at `state`; directory and keys are made where there are none.
///
/// # Errors
/// [`SetupError`].
pub fn identity(state: &Path, name: Option<Name>) -> Result<PublicIdentity, SetupError> {
    let dir = StateDir::create(state)?;
    let crypto = Primitives;
    let keys = own_keys(&dir, &crypto)?;
    let message = MembershipRequest::proof_message(&crypto, keys.signing.public());
    let proof = keys
        .tls
        .sign(message.as_bytes())
        .map_err(|e| SetupError::Tls(e.to_string()))?;
    let request = MembershipRequest {
        tls_key: keys.tls.public_key().to_vec(),
        signing: keys.signing.public().clone(),
        name,
        created: SystemClock.now().seconds(),
        tls_proof: proof,
        mesh: None,
        ticket: None,
        challenge: None,
        mac: None,
        replaces: None,
    };
    Ok(PublicIdentity {
        node: keys.tls.node_id(&crypto),
        request: request.sign(&crypto, &keys.signing)?,
    })
}

/// Founds a mesh at `state`: keys for every role, the genesis root, and this host's membership.
/// The admin key is sealed under `admin`; one that is there already must open with it.
///
/// # Errors
/// [`SetupError`].
pub fn found(state: &Path, founding: &Founding, admin: &Passphrase) -> Result<MeshId, SetupError> {
    found_under(state, founding, admin, None)
}

/// As [`found`], with a first bundle, signed by the new admin, that the node puts in force when it
/// first runs. Without one members may call everything until there is one.
///
/// # Errors
/// [`SetupError`].
pub fn found_under(
    state: &Path,
    founding: &Founding,
    admin: &Passphrase,
    policies: Option<&BundleBody>,
) -> Result<MeshId, SetupError> {
    let dir = StateDir::create(state)?;
    refuse_taken(&dir)?;
    let crypto = Primitives;
    let keys = own_keys(&dir, &crypto)?;
    let admin = match keys::admin::make(state, admin) {
        Err(SetupError::Key(KeyFileError::Exists { .. })) => keys::admin::open(state, admin)?,
        made => made?,
    };
    let issuer = signing_set(&dir, KeyKind::Issuer, &crypto)?;
    let timestamper = signing_set(&dir, KeyKind::Timestamper, &crypto)?;
    let now = SystemClock.now().seconds();
    let mut nonce = [0; 16];
    crypto.fill_random(&mut nonce)?;
    let node = keys.tls.node_id(&crypto);
    let host = |signer: &SigningKeys| RoleHost {
        signer: signer.public().id(&crypto),
        node,
    };
    let mut root = Root {
        version: 1,
        epoch: 1,
        mesh: None,
        name: founding.mesh.clone(),
        suite: Suite::Hybrid.byte(),
        created: now,
        admins: vec![admin.public().clone()],
        threshold: 1,
        issuers: vec![Issuer {
            keys: issuer.public().clone(),
            groups: None,
            sites: None,
            max_life_s: FOUNDER_LIFE_S,
            max_per_hour: FOUNDER_ISSUER_RATE,
        }],
        timestampers: vec![timestamper.public().clone()],
        lease_s: LEASE_S,
        read_grace_s: READ_GRACE_S,
        nonce: nonce.to_vec(),
        previous: None,
        retired: None,
        hosts: None,
    };
    root.name_hosts(vec![host(&issuer), host(&timestamper)]);
    let root = root.sign(&crypto, &[&admin])?;
    let mesh = VerifiedRoot::genesis(&crypto, &root)?.mesh();
    let membership = Membership {
        mesh,
        tls_key: keys.tls.public_key().to_vec(),
        signing: keys.signing.public().clone(),
        name: founding.node.clone(),
        groups: sorted_names(founding.groups.clone()),
        site: founding.site.clone(),
        not_before: now,
        // Short: the founder's own issuer renews it, like everybody's.
        not_after: now.plus(crate::enrol::MEMBERSHIP_LIFE_S),
        issuer_sequence: 1,
        replaces: None,
    };
    let membership = membership.sign(&crypto, &issuer)?;
    keep_first_bundle(&dir, &crypto, &root, now, policies, &admin)?;
    // The membership last: a directory without it is not a node yet, and `up` starts over.
    replace(&dir.root(), &root)?;
    write_new(&dir.membership(), &membership)?;
    Ok(mesh)
}

/// Signs the first bundle, if there is to be one, for the node to put in force. What an attempt left
/// that did not finish is of another root, and goes.
fn keep_first_bundle(
    dir: &StateDir,
    crypto: &dyn Crypto,
    root: &[u8],
    now: UnixSeconds,
    policies: Option<&BundleBody>,
    admin: &SigningKeys,
) -> Result<(), SetupError> {
    let path = dir.founding_bundle();
    let Some(body) = policies else {
        return match std::fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| SetupError::Write { path, source }),
        };
    };
    let bundle = Proposal::bundle(crypto, root, now, 1, body)?;
    let bundle = bundle.signed_by(crypto, admin)?;
    replace(&path, &bundle.file())
}

/// Makes the host at `state` a member: checks that the admission is for its keys, and stores it.
///
/// # Errors
/// [`SetupError`].
pub fn join(state: &Path, admission: &[u8]) -> Result<MeshId, SetupError> {
    let dir = StateDir::create(state)?;
    refuse_taken(&dir)?;
    let parsed = Admission::decode(admission)?;
    let keys = own_keys(&dir, &Primitives)?;
    let later: Vec<Vec<u8>> = parsed
        .roots
        .iter()
        .flatten()
        .map(|root| root.to_vec())
        .collect();
    let identity = Identity::new(
        keys.tls,
        keys.signing,
        &parsed.root,
        &later,
        &parsed.membership,
    )?;
    let now = SystemClock.now().seconds();
    identity.membership().valid_at(now)?;
    replace(&dir.root(), &parsed.root)?;
    roots::write(&dir, later.iter().map(Vec::as_slice))?;
    replace(&admission_path(&dir), admission)?;
    write_new(&dir.membership(), &parsed.membership)?;
    Ok(identity.mesh())
}

/// Loads the identity of a node that was set up.
///
/// # Errors
/// [`SetupError`].
pub fn load(dir: &StateDir) -> Result<Identity, SetupError> {
    if dir.restore_under_way().exists() {
        return Err(SetupError::RestoreUnfinished(dir.path().to_owned()));
    }
    dir.is_private()?;
    finish_rotation(dir)?;
    let keys = load_keys(dir, &Primitives)?;
    let root = read(&dir.root())?;
    let membership = read(&dir.membership())?;
    let roots = roots::read(dir)?;
    Ok(Identity::new(
        keys.tls,
        keys.signing,
        &root,
        &roots,
        &membership,
    )?)
}

/// Where the keys and the membership of a rotation under way are.
pub(crate) fn rotation_path(dir: &StateDir) -> PathBuf {
    dir.path().join("rotation")
}

/// The keys that a rotation is to put in the place of the present ones; the same ones after an
/// attempt that did not finish.
///
/// # Errors
/// [`SetupError`].
pub(crate) fn next_keys(dir: &StateDir) -> Result<Keys, SetupError> {
    own_keys(&StateDir::create(&rotation_path(dir))?, &Primitives)
}

/// Puts rotated keys and their membership in force. From the first line on it will be finished,
/// by [`load`] if not here.
///
/// # Errors
/// [`SetupError`].
pub(crate) fn commit_rotation(dir: &StateDir, membership: &[u8]) -> Result<(), SetupError> {
    let next = StateDir::open(&rotation_path(dir))?;
    crash::point();
    // Never half of it: at the next start it would take the place of the one in force.
    keep_membership(&next.membership(), membership)?;
    crash::point();
    finish_rotation(dir)
}

/// Finishes a rotation whose membership was granted, if there is one.
fn finish_rotation(dir: &StateDir) -> Result<(), SetupError> {
    let next = rotation_path(dir);
    if !next.join("membership.cose").exists() {
        return Ok(());
    }
    let next = StateDir::open(&next)?;
    // The membership last: while it is there, this is done again.
    let moves = [
        (next.key(KeyKind::Tls), dir.key(KeyKind::Tls)),
        (next.key(KeyKind::Signing), dir.key(KeyKind::Signing)),
        (next.membership(), dir.membership()),
    ];
    for (from, to) in moves {
        let failed = |source| SetupError::Write {
            path: to.clone(),
            source,
        };
        crash::point();
        match std::fs::rename(&from, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(failed)?,
        }
        crash::point();
        for file in [&from, &to] {
            if let Some(parent) = file.parent() {
                let synced = File::open(parent).and_then(|parent| parent.sync_all());
                synced.map_err(failed)?;
            }
        }
    }
    crash::point();
    // Only empty directories are left; one that stays harms nobody.
    drop(std::fs::remove_dir_all(rotation_path(dir)));
    Ok(())
}

/// The mesh of the node at `state`.
///
/// # Errors
/// [`SetupError`].
pub fn mesh(state: &Path) -> Result<MeshId, SetupError> {
    let dir = StateDir::open(state)?;
    Ok(VerifiedRoot::genesis(&Primitives, &read(&dir.root())?)?.mesh())
}

/// The peers an admission named, if this host joined with one.
///
/// # Errors
/// [`SetupError`] if the file is there and unusable.
pub fn admission(dir: &StateDir) -> Result<Option<Admission>, SetupError> {
    match std::fs::read(admission_path(dir)) {
        Ok(bytes) => Ok(Some(Admission::decode(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SetupError::Read {
            path: admission_path(dir),
            source,
        }),
    }
}

/// The issuer's signing set, if this host is an issuer.
///
/// # Errors
/// [`SetupError`] if the key file is there and unusable.
pub fn issuer(dir: &StateDir) -> Result<Option<SigningKeys>, SetupError> {
    role(dir, KeyKind::Issuer)
}

/// The timestamper's signing set, if this host is a timestamper.
///
/// # Errors
/// [`SetupError`] if the key file is there and unusable.
pub fn timestamper(dir: &StateDir) -> Result<Option<SigningKeys>, SetupError> {
    role(dir, KeyKind::Timestamper)
}

fn role(dir: &StateDir, kind: KeyKind) -> Result<Option<SigningKeys>, SetupError> {
    let path = dir.key(kind);
    if !path.exists() {
        return Ok(None);
    }
    let seeds = keys::load(&path, kind, &Primitives)?;
    Ok(Some(SigningKeys::from_seeds(
        seeds.first(),
        seeds.second(),
    )?))
}

/// Makes this host's key for a role of the node, issuer or timestamper, if there is none, and its
/// public file, for the admins to name it in the next root.
///
/// # Errors
/// [`SetupError`].
pub fn role_card(state: &Path, role: NodeRole) -> Result<Vec<u8>, SetupError> {
    let dir = StateDir::create(state)?;
    let (kind, role) = match role {
        NodeRole::Issuer => (KeyKind::Issuer, Role::Issuer),
        NodeRole::Timestamper => (KeyKind::Timestamper, Role::Timestamper),
    };
    let node = own_keys(&dir, &Primitives)?.tls.node_id(&Primitives);
    let keys = signing_set(&dir, kind, &Primitives)?;
    let now = SystemClock.now().seconds();
    Ok(SignerCard::sign(&Primitives, role, &keys, now, Some(node))?)
}

fn admission_path(dir: &StateDir) -> PathBuf {
    dir.path().join("admission.cbor")
}

fn refuse_taken(dir: &StateDir) -> Result<(), SetupError> {
    if dir.membership().exists() {
        return Err(SetupError::Taken(dir.path().to_owned()));
    }
    // Keys that were unpacked or moved aside are those of a node: nothing is founded over it.
    if dir.restore_under_way().exists() || crate::backup::is_half_restored(dir.path()) {
        return Err(SetupError::RestoreUnfinished(dir.path().to_owned()));
    }
    Ok(())
}

/// The host's own keys, made where there are none.
fn own_keys(dir: &StateDir, crypto: &dyn Crypto) -> Result<Keys, SetupError> {
    for kind in [KeyKind::Tls, KeyKind::Signing] {
        make(dir, kind, crypto)?;
    }
    load_keys(dir, crypto)
}

fn load_keys(dir: &StateDir, crypto: &dyn Crypto) -> Result<Keys, SetupError> {
    let tls = keys::load(&dir.key(KeyKind::Tls), KeyKind::Tls, crypto)?;
    let signing = keys::load(&dir.key(KeyKind::Signing), KeyKind::Signing, crypto)?;
    Ok(Keys {
        tls: Arc::new(
            TlsIdentity::from_seeds(tls.first(), tls.second())
                .map_err(|e| SetupError::Tls(e.to_string()))?,
        ),
        signing: SigningKeys::from_seeds(signing.first(), signing.second())?,
    })
}

fn signing_set(
    dir: &StateDir,
    kind: KeyKind,
    crypto: &dyn Crypto,
) -> Result<SigningKeys, SetupError> {
    make(dir, kind, crypto)?;
    let seeds = keys::load(&dir.key(kind), kind, crypto)?;
    Ok(SigningKeys::from_seeds(seeds.first(), seeds.second())?)
}

fn make(dir: &StateDir, kind: KeyKind, crypto: &dyn Crypto) -> Result<(), SetupError> {
    let path = dir.key(kind);
    if path.exists() {
        return Ok(());
    }
    let seeds = Seeds::generate(kind, crypto)?;
    match keys::create(&path, kind, &seeds, crypto) {
        Err(KeyFileError::Exists { .. }) | Ok(()) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    let unreadable = |source| SetupError::Read {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_DOCUMENT_BYTES as u64 {
        return Err(unreadable(io::Error::other(
            "the file is larger than any such document",
        )));
    }
    std::fs::read(path).map_err(unreadable)
}

/// Writes a file that may be there from an attempt that did not finish.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SetupError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(SetupError::Write {
                path: path.to_owned(),
                source,
            });
        }
        _ => {}
    }
    write_new(path, bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SetupError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| SetupError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
