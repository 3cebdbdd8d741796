//! Policy documents in files, as a bundle carries them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use protocol::name::PolicyName;
use protocol::policy::compile::CompiledPolicy;
use protocol::policy::document::{Document, MAX_POLICY_BYTES};
use protocol::policy::{CEDAR_MEDIA_TYPE, JSON_MEDIA_TYPE, PolicyError};
use protocol::trust::bundle::Policy as Carried;

use crate::exit::{Exit, Failed, Problem};

/// The end of the name of a file of raw Cedar.
const CEDAR: &str = "cedar";

/// Most bytes read beyond a document's bound, to say how large the file is.
const MAX_COUNTED: u64 = 1024 * 1024 * 1024;

/// A document and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) path: PathBuf,
    pub(super) carried: Carried,
    pub(super) compiled: CompiledPolicy,
}

/// Reads and compiles every file. What is wrong with any is said, all of it; then nothing is
/// returned.
pub(super) fn load(paths: &[PathBuf]) -> Result<Vec<Loaded>, Failed> {
    let mut loaded = Vec::with_capacity(paths.len());
    let mut errors = Vec::new();
    for path in paths {
        match one(path)? {
            Ok(document) => loaded.push(document),
            Err(found) => errors.extend(found.into_iter().map(|error| (path.clone(), error))),
        }
    }
    if !errors.is_empty() {
        return Err(refused(&errors));
    }
    twice(&loaded)?;
    Ok(loaded)
}

fn one(path: &Path) -> Result<Result<Loaded, Vec<PolicyError>>, Failed> {
    let (bytes, size) = if path == Path::new("-") {
        let read = bounded(std::io::stdin().lock());
        read.map_err(|error| Failed::io("cannot read stdin", &error))?
    } else {
        let read = std::fs::File::open(path).and_then(bounded);
        read.map_err(|error| {
            let failed = Failed::io(&format!("cannot read `{}`", path.display()), &error);
            Failed {
                exit: Exit::InvalidInput,
                ..failed
            }
        })?
    };
    let shown = path.display().to_string();
    if size > MAX_POLICY_BYTES {
        return Ok(Err(vec![PolicyError::too_large(&shown, size)]));
    }
    let (name, media_type) = if path.extension().is_some_and(|end| end == CEDAR) {
        (cedar_name(path)?, CEDAR_MEDIA_TYPE)
    } else {
        match Document::parse(&shown, &bytes) {
            Ok(document) => (document.name, JSON_MEDIA_TYPE),
            Err(errors) => return Ok(Err(errors)),
        }
    };
    let carried = Carried {
        name,
        media_type: media_type.to_owned(),
        bytes,
    };
    Ok(CompiledPolicy::compile(&carried).map(|compiled| Loaded {
        path: path.to_owned(),
        carried,
        compiled,
    }))
}

/// Reads at most what a document may have, and counts what is there: all of it, unless that is more
/// than [`MAX_COUNTED`].
fn bounded(mut from: impl std::io::Read) -> std::io::Result<(Vec<u8>, usize)> {
    let bound = u64::try_from(MAX_POLICY_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    from.by_ref().take(bound).read_to_end(&mut bytes)?;
    let more = std::io::copy(&mut from.take(MAX_COUNTED), &mut std::io::sink())?;
    let more = usize::try_from(more).unwrap_or(usize::MAX);
    let size = bytes.len().saturating_add(more);
    Ok((bytes, size))
}

/// Cedar has no place for the name of a document: it is that of its file.
fn cedar_name(path: &Path) -> Result<PolicyName, Failed> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse()
        .map_err(|error: protocol::name::PolicyNameError| {
            Failed::input(error.to_string())
                .with_reason("policy_bad_text")
                .with_hint("a Cedar document is named by its file: rename it")
        })
}

fn twice(loaded: &[Loaded]) -> Result<(), Failed> {
    for (at, document) in loaded.iter().enumerate() {
        let same = |other: &&Loaded| other.carried.name == document.carried.name;
        if let Some(other) = loaded.iter().skip(at + 1).find(same) {
            let message = format!(
                "`{}` and `{}` both hold policy `{}`",
                document.path.display(),
                other.path.display(),
                document.carried.name
            );
            return Err(Failed::input(message)
                .with_reason("policy_duplicate_name")
                .with_hint("give each document its own `policy_name`"));
        }
    }
    Ok(())
}

/// Everything that is wrong, to be told on its own and summed up.
pub(super) fn refused(errors: &[(PathBuf, PolicyError)]) -> Failed {
    let problem = |(path, error): &(PathBuf, PolicyError)| Problem {
        file: path.display().to_string(),
        path: error.path.clone(),
        reason: error.reason().to_owned(),
        message: error.to_string(),
        mend: error.hint(),
    };
    let reason = errors.first().map_or("", |(_, error)| error.reason());
    let message = match errors.len() {
        1 => "one thing is wrong with what was given".to_owned(),
        n => format!("{n} things are wrong with what was given"),
    };
    Failed::input(message)
        .with_reason(reason)
        .with_problems(errors.iter().map(problem).collect())
}
