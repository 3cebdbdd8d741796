//! Sets of policies to look at: those in force, and those in files and directories.

use std::path::{Path, PathBuf};

use protocol::control::{BundleFile, FileBytes, route};
use protocol::policy::CompiledBundle;
use protocol::trust::bundle::{BundleBody, Policy as Carried};

use super::files;
use crate::client::Client;
use crate::exit::{Exit, Failed};

/// Most documents of one directory.
const MAX_DOCUMENTS: usize = protocol::limits::MAX_POLICIES;

/// What is in force.
pub(super) struct Running {
    /// The version; 0 while there is no bundle.
    pub(super) version: u64,
    /// The body.
    pub(super) body: BundleBody,
}

impl Running {
    /// Ready to decide.
    pub(super) fn compiled(&self) -> Result<CompiledBundle, Failed> {
        compile(self.version, &self.body)
    }
}

/// Asks the node what is in force.
pub(super) async fn running(client: &Client) -> Result<Running, Failed> {
    let bundle: BundleFile = client.read(route::BUNDLE).await?;
    Ok(Running {
        version: bundle.version,
        body: body(&bundle)?,
    })
}

/// The body of a bundle as the node tells it.
pub(super) fn body(bundle: &BundleFile) -> Result<BundleBody, Failed> {
    match &bundle.body {
        None => Ok(BundleBody::default()),
        Some(FileBytes(bytes)) => BundleBody::decode(bytes).map_err(|error| {
            let version = bundle.version;
            Failed::new(Exit::Failure, format!("bundle {version}: {error}"))
        }),
    }
}

/// A bundle ready to decide, or everything that is wrong with it.
pub(super) fn compile(version: u64, body: &BundleBody) -> Result<CompiledBundle, Failed> {
    CompiledBundle::compile(version, body).map_err(|errors| {
        let bundle = || PathBuf::from(format!("bundle {version}"));
        let errors: Vec<_> = errors.into_iter().map(|error| (bundle(), error)).collect();
        files::refused(&errors)
    })
}

/// A body with documents put in, each in place of the one of its name.
pub(super) fn with(body: &BundleBody, documents: impl IntoIterator<Item = Carried>) -> BundleBody {
    let mut body = body.clone();
    for document in documents {
        put(&mut body, document);
    }
    body
}

/// Puts a document in, in place of one of the same name.
pub(super) fn put(body: &mut BundleBody, document: Carried) {
    let policies = &mut body.policies;
    match policies.binary_search_by(|p| p.name.cmp(&document.name)) {
        Ok(at) => {
            if let Some(place) = policies.get_mut(at) {
                *place = document;
            }
        }
        Err(at) => policies.insert(at, document),
    }
}

/// The files that are meant: a directory means its documents, in the order of their names.
pub(super) fn documents(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failed> {
    let mut out = Vec::new();
    for path in paths {
        if path.is_dir() {
            out.extend(within(path)?);
        } else {
            out.push(path.clone());
        }
    }
    Ok(out)
}

fn within(directory: &Path) -> Result<Vec<PathBuf>, Failed> {
    let failed = |error: std::io::Error| files::unreadable(directory, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let document = |end: &std::ffi::OsStr| end == "json" || end == "cedar";
        if path.extension().is_some_and(document) {
            found.push(path);
        }
        if found.len() > MAX_DOCUMENTS {
            let message = format!(
                "`{}` holds more than {MAX_DOCUMENTS} documents",
                directory.display()
            );
            return Err(Failed::input(message).with_reason("policy_too_many"));
        }
    }
    if found.is_empty() {
        let message = format!("there is no policy in `{}`", directory.display());
        return Err(Failed::input(message)
            .with_reason("no_policies")
            .with_hint("documents end in `.json` or `.cedar`"));
    }
    found.sort();
    Ok(found)
}
