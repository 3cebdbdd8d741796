//! The admin key of a host, which may be no node: made, opened, sealed anew.
//!
//! Used by commands only. The daemon has no business with it, and nothing here is called by it.
//!
//! Beside the key file stands the public one (`keys/admin.card`), so that the id of the key can be
//! told without its passphrase; it is made again wherever it is missing.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::crypto::{Crypto as _, Signer as _};
use protocol::trust::{Role, SignerCard};

use super::passphrase::Passphrase;
use super::sealed::{self, Form};
use super::{KeyFileError, KeyKind, Seeds, load};
use crate::clock::{Clock as _, SystemClock};
use crate::setup::SetupError;
use crate::state_dir::StateDir;

const KIND: KeyKind = KeyKind::Admin;

/// Where the public file stands.
#[must_use]
pub fn card_path(dir: &StateDir) -> PathBuf {
    dir.key(KIND).with_extension("card")
}

/// The form of the admin key at `state`, if there is one. Makes nothing.
///
/// # Errors
/// [`SetupError`] if there is one that cannot be read.
pub fn form(state: &Path) -> Result<Option<Form>, SetupError> {
    let path = state.join("keys").join(KIND.file_name());
    match sealed::form(&path, KIND) {
        Ok(form) => Ok(Some(form)),
        Err(KeyFileError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes an admin key at `state`, whose directory is made where there is none.
///
/// # Errors
/// [`SetupError`], [`KeyFileError::Exists`] among them.
pub fn make(state: &Path, passphrase: &Passphrase) -> Result<SigningKeys, SetupError> {
    let dir = StateDir::create(state)?;
    let seeds = Seeds::generate(KIND, &Primitives)?;
    sealed::create(&dir.key(KIND), KIND, &seeds, passphrase, &Primitives)?;
    let keys = expand(&seeds)?;
    card_of(&dir, &keys)?;
    Ok(keys)
}

/// Opens the admin key at `state`.
///
/// # Errors
/// [`SetupError`]; [`KeyFileError::InTheClear`] for a key from before they were sealed.
pub fn open(state: &Path, passphrase: &Passphrase) -> Result<SigningKeys, SetupError> {
    let dir = StateDir::open(state)?;
    let seeds = sealed::open(&dir.key(KIND), KIND, passphrase, &Primitives)?;
    let keys = expand(&seeds)?;
    card_of(&dir, &keys)?;
    Ok(keys)
}

/// The public file of the admin key at `state`, read without its passphrase; `None` where the key
/// was never opened by a program that writes it.
///
/// # Errors
/// [`SetupError`] if it cannot be read.
pub fn card(state: &Path) -> Result<Option<Vec<u8>>, SetupError> {
    let dir = StateDir::open(state)?;
    let path = card_path(&dir);
    if !path.exists() {
        return Ok(None);
    }
    crate::setup::read(&path).map(Some)
}

/// Seals the key at `state` under `new`, whichever form it has; `old` opens a sealed one. The
/// clear text of an old form is overwritten in place, which not every file system and no solid
/// state disk makes certain.
///
/// # Errors
/// [`SetupError`]; after any of them the key is there as it was.
pub fn reseal(
    state: &Path,
    old: Option<&Passphrase>,
    new: &Passphrase,
) -> Result<SigningKeys, SetupError> {
    let dir = StateDir::open(state)?;
    let path = dir.key(KIND);
    let (form, seeds) = match (sealed::form(&path, KIND)?, old) {
        (Form::Sealed, Some(old)) => {
            let seeds = sealed::open(&path, KIND, old, &Primitives)?;
            (Form::Sealed, seeds)
        }
        (Form::Sealed, None) => {
            return Err(KeyFileError::Sealed { kind: KIND, path }.into());
        }
        (Form::Clear, _) => (Form::Clear, load(&path, KIND, &Primitives)?),
    };
    let keys = expand(&seeds)?;
    let mut random = [0; 8];
    Primitives.fill_random(&mut random)?;
    let next = path.with_file_name(format!(
        ".{}.{}.next",
        KIND.file_name(),
        hex::encode(random)
    ));
    sealed::create(&next, KIND, &seeds, new, &Primitives)?;
    // Read back before the old one goes: a key that does not open is a lost admin.
    let proven = sealed::open(&next, KIND, new, &Primitives).and_then(|proven| {
        if proven.first() == seeds.first() && proven.second() == seeds.second() {
            Ok(())
        } else {
            Err(KeyFileError::Sealing(KIND))
        }
    });
    let swapped = proven.and_then(|()| {
        swap(&path, &next, form).map_err(|source| KeyFileError::Write {
            kind: KIND,
            path: path.clone(),
            source,
        })
    });
    if swapped.is_err() {
        // What is left is sealed; the old file is still there under its name.
        drop(std::fs::remove_file(&next));
    }
    swapped?;
    card_of(&dir, &keys)?;
    Ok(keys)
}

fn swap(path: &Path, next: &Path, form: Form) -> io::Result<()> {
    let mut old = OpenOptions::new().write(true).open(path)?;
    let length = old.metadata()?.len();
    std::fs::rename(next, path)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    if form == Form::Clear {
        let zeros = vec![0; usize::try_from(length).unwrap_or_default()];
        old.seek(SeekFrom::Start(0))?;
        old.write_all(&zeros)?;
        old.sync_all()?;
    }
    Ok(())
}

fn expand(seeds: &Seeds) -> Result<SigningKeys, SetupError> {
    Ok(SigningKeys::from_seeds(seeds.first(), seeds.second())?)
}

/// The public file for `keys`, made anew unless the one there is of them.
fn card_of(dir: &StateDir, keys: &SigningKeys) -> Result<(), SetupError> {
    let path = card_path(dir);
    let current = crate::setup::read(&path)
        .ok()
        .and_then(|bytes| SignerCard::verify(&Primitives, &bytes).ok());
    if current.is_some_and(|card| card.keys == *keys.public()) {
        return Ok(());
    }
    let now = SystemClock.now().seconds();
    let card = SignerCard::sign(&Primitives, Role::Admin, keys, now, None)?;
    crate::setup::replace(&path, &card)
}

#[cfg(test)]
mod tests {
    use protocol::crypto::Crypto;
    use zeroize::Zeroizing;

    use super::*;

    fn phrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    fn leftovers(state: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(state.join("keys")).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_key_is_made_once_and_opens_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(form(&state).unwrap(), None);
        let made = make(&state, &phrase("first phrase here")).unwrap();
        assert_eq!(form(&state).unwrap(), Some(Form::Sealed));
        let again = make(&state, &phrase("first phrase here")).unwrap_err();
        assert!(
            matches!(again, SetupError::Key(KeyFileError::Exists { .. })),
            "{again}"
        );
        let opened = open(&state, &phrase("first phrase here")).unwrap();
        assert_eq!(opened.public(), made.public());
        let card = SignerCard::verify(&Primitives, &card(&state).unwrap().unwrap()).unwrap();
        assert_eq!((card.role, &card.keys), (Role::Admin, made.public()));
        assert!(open(&state, &phrase("another phrase")).is_err());
    }

    #[test]
    fn a_changed_passphrase_leaves_one_file_and_the_old_one_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (old, new) = (phrase("the old phrase"), phrase("the new phrase"));
        let made = make(&state, &old).unwrap();
        let none = reseal(&state, None, &new).unwrap_err();
        assert!(
            matches!(none, SetupError::Key(KeyFileError::Sealed { .. })),
            "{none}"
        );
        let wrong = reseal(&state, Some(&new), &new).unwrap_err();
        assert!(
            matches!(wrong, SetupError::Key(KeyFileError::WrongPassphrase { .. })),
            "{wrong}"
        );
        reseal(&state, Some(&old), &new).unwrap();
        assert!(open(&state, &old).is_err());
        assert_eq!(open(&state, &new).unwrap().public(), made.public());
        assert_eq!(leftovers(&state), ["admin.card", "admin.key"]);
    }

    #[test]
    fn a_key_in_the_clear_is_refused_until_it_is_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let layout = StateDir::create(&state).unwrap();
        let crypto: &dyn Crypto = &Primitives;
        let seeds = Seeds::generate(KIND, crypto).unwrap();
        super::super::create(&layout.key(KIND), KIND, &seeds, crypto).unwrap();
        assert_eq!(form(&state).unwrap(), Some(Form::Clear));
        let refused = open(&state, &phrase("the new phrase")).unwrap_err();
        assert!(
            matches!(refused, SetupError::Key(KeyFileError::InTheClear { .. })),
            "{refused}"
        );
        let sealed = reseal(&state, None, &phrase("the new phrase")).unwrap();
        assert_eq!(form(&state).unwrap(), Some(Form::Sealed));
        assert_eq!(sealed.seeds()[..32], seeds.first()[..]);
        assert_eq!(leftovers(&state), ["admin.card", "admin.key"]);
    }
}
