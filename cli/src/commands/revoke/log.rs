//! Appending to an admin's revocation log.
//!
//! Two heads of one length with different entries are a *fork*: every node then freezes that log
//! for ever. An admin would do that to itself by signing while its node does not yet know what it
//! signed before: on another host, after a restore, in a second terminal. So what is signed is
//! first written beside the key, and compared with what the node knows before the next signature;
//! what the node does not know yet is handed to it again. One lock per key keeps two commands on
//! one host apart. Two hosts that hold the same admin key are beyond this: every admin has its own.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::control::{
    AdminInfo, FileBytes, Publication, Publish, PublishedDocument, Status, Trust, route,
};
use protocol::crypto::Signer as _;
use protocol::id::{Digest, EntryId, MeshId, SignerId};
use protocol::trust::revocation::{entry_id, next_link};
use protocol::trust::{Act, Entry, LogHead};

use crate::client::Client;
use crate::commands::Context;
use crate::commands::admin::now;
use crate::commands::run::seam;
use crate::exit::{Exit, Failed, say};
use crate::passphrase::PassphraseOption;

/// Largest journal read: a head with its signatures and one entry, in hexadecimal.
const MAX_JOURNAL_BYTES: u64 = 64 * 1024;

/// The last head this host signed, kept beside the key.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    mesh: MeshId,
    admin: SignerId,
    length: u64,
    link: Digest,
    publish: Publish,
}

/// Appends one entry to the log of this host's admin, signs the head, and publishes both.
pub(crate) async fn append(
    context: &Context,
    trust: &Trust,
    passphrase: &PassphraseOption,
    act: Act,
    reason: String,
) -> Result<EntryId, Failed> {
    let state = context.state()?;
    let client = context.client()?;
    // Refused before the passphrase is asked for.
    entry(0, act.clone(), reason.clone())?;
    refuse_unsynced(&client).await?;
    let keys = passphrase.open(|phrase| seam::open_admin(state.path(), phrase))?;
    let admin = keys.public().id(&Primitives);
    let path = journal_path(state.path(), &trust.mesh);
    let _lock = lock(&path)?;
    // Read anew under the lock: another command may have been at it.
    let trust: Trust = client.read(route::TRUST).await?;
    let journal = read(&path)?;
    let known = settle(&client, &trust, admin, journal.as_ref()).await?;
    let entry = entry(known.entries, act, reason)?;
    let (next, id) = signed(&keys, &trust, admin, &known, &entry)?;
    write(&path, &next)?;
    let _: Publication = client.submit(route::PUBLISH, &next.publish).await?;
    Ok(id)
}

/// A node restored from a backup may not know what this admin signed since, nor may the journal,
/// which stood in the same backup.
async fn refuse_unsynced(client: &Client) -> Result<(), Failed> {
    let status: Status = client.read(route::STATUS).await?;
    match status.trust.and_then(|trust| trust.waiting) {
        None => Ok(()),
        Some(why) => Err(Failed::new(Exit::Denied, why)
            .with_reason("restored_not_synced")
            .with_hint("let the node reach a peer first (`hedgerow peers`): signing now could fork the log, which freezes it for ever")),
    }
}

fn entry(index: u64, act: Act, reason: String) -> Result<Entry, Failed> {
    let entry = Entry {
        index,
        at: now(),
        act,
        reason,
    };
    entry.validate().map_err(|error| {
        Failed::input(error.to_string())
            .with_reason(error.reason())
            .with_hint("a reason has at most 256 bytes and one line; a log at most 131072 entries")
    })?;
    Ok(entry)
}

fn signed(
    keys: &SigningKeys,
    trust: &Trust,
    admin: SignerId,
    known: &AdminInfo,
    entry: &Entry,
) -> Result<(Journal, EntryId), Failed> {
    let bytes = entry.encode();
    let head = LogHead {
        mesh: trust.mesh,
        admin,
        length: known.entries.saturating_add(1),
        link: next_link(&Primitives, &known.link, &bytes),
        issued: entry.at,
    };
    let id = entry_id(&Primitives, &trust.mesh, &admin, &bytes);
    let signed = head
        .sign(&Primitives, keys)
        .map_err(|error| Failed::new(Exit::Failure, error.to_string()))?;
    let documents = vec![
        PublishedDocument::LogHead(FileBytes(signed)),
        PublishedDocument::LogEntries {
            admin,
            from: known.entries,
            entries: vec![FileBytes(bytes)],
        },
    ];
    let journal = Journal {
        mesh: trust.mesh,
        admin,
        length: head.length,
        link: head.link,
        publish: Publish { documents },
    };
    Ok((journal, id))
}

/// What the node knows of this admin's log, once that is all this host has signed.
async fn settle(
    client: &Client,
    trust: &Trust,
    admin: SignerId,
    journal: Option<&Journal>,
) -> Result<AdminInfo, Failed> {
    let known = admin_info(trust, admin)?;
    let Some(journal) = journal.filter(|j| j.mesh == trust.mesh && j.admin == admin) else {
        return Ok(known);
    };
    let known = if journal.length == known.entries.saturating_add(1) {
        say("note: the last revocation had not reached the node; handing it in again");
        let _: Publication = client.submit(route::PUBLISH, &journal.publish).await?;
        let trust: Trust = client.read(route::TRUST).await?;
        admin_info(&trust, admin)?
    } else {
        known
    };
    if journal.length > known.entries {
        let message = format!(
            "this host has signed {} revocations, the node knows {}",
            journal.length, known.entries
        );
        return Err(Failed::new(Exit::Failure, message)
            .with_reason("log_behind")
            .with_hint("let the node reach its peers first (`hedgerow peers`): signing now would fork the log, which freezes it for ever"));
    }
    if journal.length == known.entries && journal.link != known.link {
        return Err(Failed::new(
            Exit::Denied,
            "the log of this admin holds what this host did not sign",
        )
        .with_reason("log_signed_elsewhere")
        .with_hint(
            "somebody else has this key: have the other admins remove it (`hedgerow admin remove`)",
        ));
    }
    Ok(known)
}

fn admin_info(trust: &Trust, admin: SignerId) -> Result<AdminInfo, Failed> {
    let known = trust.admins.iter().find(|info| info.id == admin);
    let not_one = || {
        Failed::new(
            Exit::Denied,
            format!("this host's key {admin} is no admin of the mesh"),
        )
        .with_reason("not_an_admin")
        .with_hint("see `hedgerow admin list`")
    };
    let known = known.ok_or_else(not_one)?;
    if known.retired_at.is_some() {
        return Err(not_one());
    }
    if known.forked {
        return Err(Failed::new(Exit::Denied, "the log of this admin is frozen: it was forked")
            .with_reason("log_forked")
            .with_hint("have this key replaced: `hedgerow admin init` with another state directory, then `admin add` and `admin remove`"));
    }
    Ok(known.clone())
}

fn journal_path(state: &Path, mesh: &MeshId) -> PathBuf {
    state
        .join("keys")
        .join(format!("admin.log-{}", mesh.short()))
}

/// Held while a head is made and handed in.
fn lock(journal: &Path) -> Result<File, Failed> {
    let path = journal.with_file_name("admin.lock");
    let failed =
        |error: std::io::Error| Failed::io(&format!("cannot lock `{}`", path.display()), &error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn read(path: &Path) -> Result<Option<Journal>, Failed> {
    let unreadable =
        |error: std::io::Error| Failed::io(&format!("cannot read `{}`", path.display()), &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    file.take(MAX_JOURNAL_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!("`{}` is damaged: {error}", path.display()),
        )
        .with_reason("log_journal_damaged")
        .with_hint("restore it; without it nobody can tell what this key has signed last")
    })
}

/// Replaces the journal in one step, on disk when this returns.
fn write(path: &Path, journal: &Journal) -> Result<(), Failed> {
    let failed =
        |error: std::io::Error| Failed::io(&format!("cannot write `{}`", path.display()), &error);
    let text = serde_json::to_vec(journal)
        .map_err(|error| Failed::new(Exit::Failure, error.to_string()))?;
    // Under the lock nobody else writes this name.
    let part = path.with_extension("part");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&part)
        .map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)?;
    match path.parent() {
        Some(parent) => File::open(parent)
            .and_then(|directory| directory.sync_all())
            .map_err(failed),
        None => Ok(()),
    }
}
