//! What is wrong with this node, why, and how to mend it.
//!
//! Two halves. [`judge`] is a pure function of what a running node says of itself; the control
//! API serves it. [`local`](fn@local) looks at the state directory from outside, with or without a running
//! node. Neither shows a secret or needs the network, and nothing is changed but by the repair that
//! opening a store after a crash makes.
//!
//! A check has one stable name; each stands in the report whether it is well or not, so that a
//! missing one can be told from a good one.

mod local;
mod reached;
mod running;
#[cfg(test)]
mod tests;

pub use local::local;
pub use running::{Bootstrap, Facts, judge, refused_as_revoked};

/// A membership that ends sooner than this is worth a warning where nothing renews it: a week.
pub const EXPIRES_SOON_S: u64 = 7 * 24 * 3600;

/// Less free space than this is worth a warning: a week of decision records of a busy node.
pub const LOW_DISK_BYTES: u64 = 1024 * 1024 * 1024;

/// Less free space than this is a failure: the store cannot grow by one commit of any size.
pub const NO_DISK_BYTES: u64 = 32 * 1024 * 1024;

/// Seconds as people say them.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
