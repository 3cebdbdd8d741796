//! The `hedgerow` binary: arguments in, one command, output and an exit code out.
//!
//! Every command but `up` and `run` is a client: of a running node's control socket, or of files
//! alone. stdout carries what was asked for, stderr everything else.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that cannot go on should say where"
    )
)]

use std::process::ExitCode;

use clap::Parser;

mod args;
mod client;
mod commands;
mod confirm;
mod evidence;
mod exit;
mod inert;
mod output;
mod passphrase;
mod state;
mod typed;

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => {
            let format = cli.global.format;
            exit::report(commands::dispatch(cli), format)
        }
        Err(error) => exit::usage(&error),
    }
}
