//! Where a node keeps its state, and what can be told of it from outside.
//!
//! The layout is the node's (`node/src/state_dir.rs`); clients know the names of the two sockets
//! and of the two files that make a node a member. Nothing here opens keys or the store.

use std::path::{Path, PathBuf};

use crate::exit::Failed;

/// The environment variable that names the state directory.
pub(crate) const STATE_DIR: &str = "HEDGEROW_STATE_DIR";

/// What is in a state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No mesh yet, perhaps keys.
    Outsider,
    /// Root and membership are there.
    Member,
}

/// A state directory by its path.
#[derive(Debug, Clone)]
pub(crate) struct State {
    path: PathBuf,
}

impl State {
    /// The directory named on the command line or by the environment, else
    /// `$XDG_STATE_HOME/hedgerow`, else `~/.local/state/hedgerow`; always absolute.
    pub(crate) fn locate(named: Option<&Path>) -> Result<Self, Failed> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = match named {
            Some(path) => path.to_owned(),
            // The XDG specification has relative values ignored.
            None => match set("XDG_STATE_HOME").map(PathBuf::from) {
                Some(base) if base.is_absolute() => base.join("hedgerow"),
                _ => match set("HOME") {
                    Some(home) => Path::new(&home).join(".local/state/hedgerow"),
                    None => {
                        return Err(Failed::input("no state directory: `HOME` is not set")
                            .with_hint(format!("name one with `--state-dir` or `{STATE_DIR}`")));
                    }
                },
            },
        };
        let path = std::path::absolute(&path)
            .map_err(|error| Failed::input(format!("`{}`: {error}", path.display())))?;
        Ok(Self { path })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The control API's socket.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The stdio edge's socket.
    pub(crate) fn mcp_socket(&self) -> PathBuf {
        self.path.join("mcp.sock")
    }

    /// Whether this node belongs to a mesh. Half of it (a crash while founding) is no standing;
    /// whoever founds or joins then decides what to do with it.
    pub(crate) fn standing(&self) -> Standing {
        let there = |name: &str| self.path.join(name).symlink_metadata().is_ok();
        if there("root.cose") && there("membership.cose") {
            Standing::Member
        } else {
            Standing::Outsider
        }
    }
}
