//! `hedgerow id`: this host's identity. It needs no node and never opens the store.

use std::path::PathBuf;

use protocol::id::NodeId;
use protocol::name::Name;

use super::run::seam;
use super::{Context, write_new};
use crate::exit::Failed;

/// Show this host's node id, making its keys if there are none.
///
/// With --request, also write a membership request: public keys and a proof that this host has
/// the secret halves. It holds no secret. Until there are tickets, a host joins a mesh with it:
/// take the file to the founding host, and the admission file made there back here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow id
  b$ hedgerow id --request b.request
  a$ hedgerow membership issue b.request --name b --out b.admission
  b$ hedgerow up --admission b.admission")]
pub(crate) struct Id {
    /// Write a membership request to this new file
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// The name to ask for in the request
    #[arg(long, requires = "request")]
    name: Option<Name>,
}

/// What is printed.
#[derive(Debug, serde::Serialize)]
struct Identity {
    id: NodeId,
    request: Option<PathBuf>,
}

impl Id {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let identity = seam::identity(context.state()?.path(), self.name)?;
        if let Some(path) = &self.request {
            write_new(path, &identity.request)?;
        }
        let shown = Identity {
            id: identity.node,
            request: self.request,
        };
        context.output.data(&shown, |text| {
            text.line(shown.id.to_string());
            if let Some(path) = &shown.request {
                let path = path.display();
                text.line(format!("wrote {path}; on the founding host:"));
                text.line(format!(
                    "  hedgerow membership issue {path} --name NAME --out NAME.admission"
                ));
            }
        })
    }
}
