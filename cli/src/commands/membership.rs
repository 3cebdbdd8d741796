//! `hedgerow membership`: admitting other hosts with static files.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use protocol::control::{
    Admission, FileBytes, InspectRequest, IssueMembership, MembershipRequestInfo, route,
};
use protocol::id::{MeshId, NodeId};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::name::Name;
use protocol::time::UnixSeconds;

use super::{Context, read_file, write_new};
use crate::exit::Failed;
use crate::output::{instant, or_dash};

/// Admit other hosts with files carried by hand.
///
/// For hosts that reach no issuer; else `hedgerow invite` and `hedgerow join` do it. The new host
/// makes a request (`hedgerow id --request`), the founding host issues a membership for it, and
/// the new host starts with the admission file (`hedgerow up --admission`). Neither file holds a
/// secret; compare the node id with what `hedgerow id` shows on the new host, so that nobody
/// exchanged the request.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct MembershipCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Issue(Issue),
    /// Show what a request says, its signatures checked
    Inspect {
        /// The request file
        request: PathBuf,
    },
}

/// Issue a membership for a request and write the admission file.
///
/// Needs the founding node to be running here: it holds the issuer's key.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hedgerow membership issue b.request --name b --group tool-hosts --out b.admission")]
struct Issue {
    /// The request file of the new host
    request: PathBuf,
    /// The name the node gets [default: the one it asks for]
    #[arg(long)]
    name: Option<Name>,
    /// A group to put it in (repeatable)
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<Name>,
    /// The site it stands at
    #[arg(long)]
    site: Option<Name>,
    /// How many days the membership lasts
    #[arg(long, default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(protocol::control::MAX_MEMBERSHIP_DAYS)))]
    days: u32,
    /// The admission file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What is printed of an admission.
#[derive(Debug, serde::Serialize)]
struct Issued {
    node: NodeId,
    name: Name,
    mesh: MeshId,
    expires: UnixSeconds,
    file: PathBuf,
}

impl MembershipCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        match self.action {
            Action::Issue(issue) => issue.run(context).await,
            Action::Inspect { request } => {
                let info = inspect(context, &read_request(&request)?).await?;
                context.output.data(&info, |text| {
                    text.line(info.node.to_string());
                    text.field("asks for", or_dash(info.name.as_ref()));
                    text.field("made", instant(info.created.0));
                })
            }
        }
    }
}

impl Issue {
    async fn run(self, context: &Context) -> Result<(), Failed> {
        let request = read_request(&self.request)?;
        let name = match self.name {
            Some(name) => name,
            None => inspect(context, &request).await?.name.ok_or_else(|| {
                Failed::input("the request asks for no name").with_hint("give one with `--name`")
            })?,
        };
        if self.out.symlink_metadata().is_ok() {
            let message = format!("`{}` exists already", self.out.display());
            return Err(Failed::input(message).with_hint("choose another name for `--out`"));
        }
        let issue = IssueMembership {
            request,
            name,
            groups: self.groups,
            site: self.site,
            days: self.days,
        };
        let admission: Admission = context.client()?.submit(route::MEMBERSHIPS, &issue).await?;
        write_new(&self.out, &admission.file.0)?;
        let issued = Issued {
            node: admission.node,
            name: admission.name,
            mesh: admission.mesh,
            expires: admission.expires,
            file: self.out,
        };
        context.output.data(&issued, |text| {
            text.line(format!("admitted {} as `{}`", issued.node, issued.name));
            text.field("until", instant(issued.expires.0));
            text.line("compare the id with `hedgerow id` on that host, then there:");
            text.line(format!(
                "  hedgerow up --admission {}",
                issued.file.display()
            ));
        })
    }
}

async fn inspect(context: &Context, request: &FileBytes) -> Result<MembershipRequestInfo, Failed> {
    let inspect = InspectRequest {
        request: request.clone(),
    };
    context
        .client()?
        .submit(route::INSPECT_REQUEST, &inspect)
        .await
}

fn read_request(path: &Path) -> Result<FileBytes, Failed> {
    read_file(path, MAX_DOCUMENT_BYTES).map(FileBytes)
}
