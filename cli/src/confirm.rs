//! The question before something that cannot be taken back by the one who did it.

use crate::exit::{Exit, Failed};
use crate::passphrase::Terminal;

/// The option that answers beforehand.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Confirmation {
    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

impl Confirmation {
    /// Goes on if it was said beforehand or is said now, at the terminal.
    pub(crate) fn ask(self, question: &str) -> Result<(), Failed> {
        if self.yes {
            return Ok(());
        }
        let terminal = Terminal::open().ok_or_else(|| {
            Failed::input("nobody is there to confirm this")
                .with_reason("not_confirmed")
                .with_hint("read what was shown, then run it again with `--yes`")
        })?;
        if terminal.confirm(question)? {
            Ok(())
        } else {
            Err(
                Failed::new(Exit::Failure, "not confirmed; nothing was done")
                    .with_reason("not_confirmed"),
            )
        }
    }
}
