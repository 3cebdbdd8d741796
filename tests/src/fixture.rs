//! The scripted MCP server as something to attach: the binary `mcp_fixture` of this crate, which
//! cargo builds with the tests. What each tool does stands there.

use std::path::{Path, PathBuf};

/// A binary of this workspace, beside the running test's.
///
/// `hedgerow` is a member's binary that cargo builds for `cargo test --workspace`; for
/// `cargo test -p tests` alone it may be missing.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        built.exists(),
        "`{}` is missing: run `cargo build --workspace` or `cargo test --workspace` first",
        built.display()
    );
    built
}

/// The command line of the fixture.
#[must_use]
pub fn command(arguments: &[&str]) -> Vec<String> {
    let program = binary("mcp_fixture").to_str().unwrap().to_owned();
    let arguments = arguments.iter().map(|a| (*a).to_owned());
    core::iter::once(program).chain(arguments).collect()
}

/// The command line of the shop, a server with something in every list, which notes in `log` the
/// tools that are called.
#[must_use]
pub fn shop(log: &Path) -> Vec<String> {
    let program = binary("mcp_shop").to_str().unwrap().to_owned();
    let log = log.to_str().unwrap().to_owned();
    vec![program, "--log".to_owned(), log]
}
