//! The sample MCP server that ships in the binary: a product table with four tools.
//!
//! It exists so that a first user, the demo and the tests have a server whose tools really read,
//! change and delete something, with nothing to install. It speaks MCP over stdio, one message per
//! line, in every version from 2024-11-05 to 2025-11-25; standard output carries messages only. It
//! is a server like any other: nothing in the node treats it specially.
//!
//! It has no resources, prompts or notifications, and one client at a time.

mod server;
mod table;
mod tools;

use std::io::{BufRead, Read, Write};

use protocol::limits::MAX_MESSAGE_BYTES;

pub use table::{Product, Table, TableError};

/// Why the sample server stopped before its input ended.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Standard input or output failed.
    #[error("the sample server's stdio failed: {0}")]
    Stdio(#[from] std::io::Error),
    /// A line is longer than a message may be; where the next one begins is unknown.
    #[error("a line is longer than {MAX_MESSAGE_BYTES} bytes")]
    LineTooLong,
}

/// Serves one client until its input ends: reads a JSON-RPC message per line from `input`, writes
/// an answer per request to `output`, and changes `table`.
///
/// # Errors
/// [`SampleError`]; bad messages are answered, not errors.
pub fn serve(
    mut input: impl BufRead,
    mut output: impl Write,
    table: &mut Table,
) -> Result<(), SampleError> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = MAX_MESSAGE_BYTES as u64 + 1;
        let read = input.by_ref().take(most).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() > MAX_MESSAGE_BYTES {
            return Err(SampleError::LineTooLong);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(mut answer) = server::answer(&line, table) {
            answer.push(b'\n');
            output.write_all(&answer)?;
            output.flush()?;
        }
    }
}

#[cfg(test)]
mod tests;
