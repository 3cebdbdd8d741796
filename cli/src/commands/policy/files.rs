//! Policy documents in files, as a bundle carries them.

use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use protocol::name::PolicyName;
use protocol::policy::compile::CompiledPolicy;
use protocol::policy::document::{Document, MAX_POLICY_BYTES};
use protocol::policy::{CEDAR_MEDIA_TYPE, JSON_MEDIA_TYPE, PolicyError};
use protocol::trust::bundle::Policy as Carried;

use crate::exit::{Exit, Failed, Problem};

/// The end of the name of a file of raw Cedar.
const CEDAR: &str = "cedar";

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
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(summed(errors));
    }
    twice(&loaded)?;
    Ok(loaded)
}

fn one(path: &Path) -> Result<Result<Loaded, Vec<Problem>>, Failed> {
    let (bytes, size) = if path == Path::new("-") {
        let read = bounded(std::io::stdin().lock());
        let bytes = read.map_err(|error| Failed::io("cannot read stdin", &error))?;
        (bytes, None)
    } else {
        read(path).map_err(|error| unreadable(path, &error))?
    };
    let shown = path.display().to_string();
    let told = |errors: Vec<PolicyError>| errors.iter().map(|e| problem(path, e)).collect();
    if bytes.len() > MAX_POLICY_BYTES {
        return Ok(Err(vec![too_large(path, bytes.len(), size)]));
    }
    let (name, media_type) = if path.extension().is_some_and(|end| end == CEDAR) {
        (cedar_name(path)?, CEDAR_MEDIA_TYPE)
    } else {
        match Document::parse(&shown, &bytes) {
            Ok(document) => (document.name, JSON_MEDIA_TYPE),
            Err(errors) => return Ok(Err(told(errors))),
        }
    };
    let carried = Carried {
        name,
        media_type: media_type.to_owned(),
        bytes,
    };
    let compiled = CompiledPolicy::compile(&carried);
    Ok(compiled.map_err(told).map(|compiled| Loaded {
        path: path.to_owned(),
        carried,
        compiled,
    }))
}

/// What a file holds, and of a regular one its size.
fn read(path: &Path) -> std::io::Result<(Vec<u8>, Option<usize>)> {
    let file = std::fs::File::open(path)?;
    let meta = file.metadata()?;
    let size = usize::try_from(meta.len()).unwrap_or(usize::MAX);
    Ok((bounded(file)?, meta.is_file().then_some(size)))
}

/// Reads at most what a document may have and one byte, which tells that there is more.
fn bounded(from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let bound = u64::try_from(MAX_POLICY_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    from.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the size is not known, it is only said that there is more than a document may have.
fn too_large(path: &Path, read: usize, size: Option<usize>) -> Problem {
    let shown = path.display().to_string();
    let error = PolicyError::too_large(&shown, size.unwrap_or(read).max(read));
    let told = problem(path, &error);
    if size.is_some() {
        return told;
    }
    Problem {
        message: format!("policy `{shown}`: more than the {MAX_POLICY_BYTES} bytes allowed"),
        ..told
    }
}

/// A file or directory that cannot be read, and what can be done.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failed {
    let shown = path.display();
    let failed = Failed::io(&format!("cannot read `{shown}`"), error);
    let hint = match error.kind() {
        ErrorKind::NotFound => "give the path of a document that exists".to_owned(),
        ErrorKind::PermissionDenied => "let this user read it".to_owned(),
        ErrorKind::IsADirectory => format!("give the documents in it: {shown}/*.json"),
        _ => "give a file or directory that can be read".to_owned(),
    };
    Failed {
        exit: Exit::InvalidInput,
        ..failed
    }
    .with_hint(hint)
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
    let told = errors.iter().map(|(path, error)| problem(path, error));
    summed(told.collect())
}

fn problem(path: &Path, error: &PolicyError) -> Problem {
    Problem {
        file: path.display().to_string(),
        path: error.path.clone(),
        reason: error.reason().to_owned(),
        message: error.to_string(),
        mend: error.hint(),
    }
}

fn summed(problems: Vec<Problem>) -> Failed {
    let reason = problems.first().map_or("", |problem| &problem.reason);
    let message = match problems.len() {
        1 => "one thing is wrong with what was given".to_owned(),
        n => format!("{n} things are wrong with what was given"),
    };
    Failed::input(message)
        .with_reason(reason)
        .with_problems(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_tells_that_it_is_too_much() {
        struct Endless(usize);
        impl std::io::Read for Endless {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.0 += into.len();
                Ok(into.len())
            }
        }
        let mut endless = Endless(0);
        let bytes = bounded(&mut endless).unwrap();
        assert_eq!(
            (bytes.len(), endless.0),
            (MAX_POLICY_BYTES + 1, MAX_POLICY_BYTES + 1)
        );
        let told = too_large(Path::new("-"), bytes.len(), None);
        assert!(
            told.message.contains("more than the 262144 bytes"),
            "{}",
            told.message
        );
        assert_eq!(told.reason, "policy_too_large");
        let told = too_large(Path::new("a"), bytes.len(), Some(1_500_000));
        assert!(
            told.message.contains("has 1500000 bytes"),
            "{}",
            told.message
        );
    }
}
