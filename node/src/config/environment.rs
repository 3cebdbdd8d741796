//! Every environment variable the node reads, in one place.
//!
//! The environment overrides the file; arguments of the command line override both. A variable
//! that is set and empty counts as not set.

/// The state directory; see [`crate::state_dir::StateDir::default_path`].
pub const STATE_DIR: &str = "HEDGEROW_STATE_DIR";

/// `node.listen`: the UDP address of the mesh port.
pub const LISTEN: &str = "HEDGEROW_LISTEN";

/// `node.advertise`: `host:port` addresses others reach this node at, separated by commas.
pub const ADVERTISE: &str = "HEDGEROW_ADVERTISE";

/// `gateway.listen`: the loopback TCP address of the MCP gateway.
pub const GATEWAY_LISTEN: &str = "HEDGEROW_GATEWAY_LISTEN";

/// `page.listen`: the loopback TCP address of the status page.
pub const PAGE_LISTEN: &str = "HEDGEROW_PAGE_LISTEN";

/// `peers.static`: `ID@host:port` of nodes to connect to, separated by commas.
pub const PEERS: &str = "HEDGEROW_PEERS";

/// `log.filter`: a `tracing` filter such as `info,node::call=debug`.
pub const LOG: &str = "HEDGEROW_LOG";

/// `log.format`: `human` or `json`.
pub const LOG_FORMAT: &str = "HEDGEROW_LOG_FORMAT";

/// When set to anything, the log has no colours (the convention of no-color.org).
pub const NO_COLOR: &str = "NO_COLOR";
