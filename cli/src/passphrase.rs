//! Where the passphrase of an admin key comes from: a file, the environment, or the terminal.
//!
//! Never the command line, which every user of the host can read. The terminal is asked directly
//! (`/dev/tty`), so that stdin and stdout stay free; its echo is off while a passphrase is typed
//! and on again however that ended. What was read is wiped.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::commands::run::seam::{self, Passphrase};
use crate::exit::{Exit, Failed};

/// The environment variable that holds a passphrase, for scripts.
pub(crate) const PASSPHRASE: &str = "HEDGEROW_PASSPHRASE";

/// The environment variable that holds the passphrase a key is sealed anew with.
pub(crate) const NEW_PASSPHRASE: &str = "HEDGEROW_NEW_PASSPHRASE";

/// Most bytes of a passphrase file or a typed line, the line break included.
const MAX_BYTES: usize = seam::MAX_PASSPHRASE_BYTES + 2;

/// Times a passphrase may be mistyped at the terminal.
const ATTEMPTS: usize = 3;

/// The control character ctrl-c types.
const INTERRUPT: u8 = 3;

/// The option every command has that opens an admin key.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PassphraseOption {
    /// Read the admin key's passphrase from this file; else HEDGEROW_PASSPHRASE, else the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl PassphraseOption {
    /// What was given beforehand: the file, else the environment.
    pub(crate) fn given(&self) -> Result<Option<Passphrase>, Failed> {
        given(self.passphrase_file.as_deref(), PASSPHRASE)
    }

    /// A passphrase that opens a key, asked for where none was given. `open` is tried again with
    /// another typed passphrase while it says that this one is wrong.
    pub(crate) fn open<T>(
        &self,
        open: impl FnMut(&Passphrase) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        open_with(self.given()?, "passphrase of the admin key: ", open)
    }

    /// A passphrase for a new key: given, or typed twice.
    pub(crate) fn fresh(&self) -> Result<Passphrase, Failed> {
        fresh(self.given()?)
    }
}

/// Opens something sealed with the passphrase that was given, else with one asked for by `prompt`:
/// `open` is tried again with another while it says that this one is wrong.
pub(crate) fn open_with<T>(
    given: Option<Passphrase>,
    prompt: &str,
    mut open: impl FnMut(&Passphrase) -> Result<T, Failed>,
) -> Result<T, Failed> {
    if let Some(passphrase) = given {
        return open(&passphrase);
    }
    let terminal = Terminal::open().ok_or_else(no_passphrase)?;
    for _ in 1..ATTEMPTS {
        match open(&accepted(terminal.ask(prompt)?)?) {
            Err(failed) if failed.reason.as_deref() == Some(seam::WRONG_PASSPHRASE) => {
                terminal.say("that is not it");
            }
            outcome => return outcome,
        }
    }
    open(&accepted(terminal.ask(prompt)?)?)
}

/// A passphrase to seal something new with: the one given, else typed twice.
pub(crate) fn fresh(given: Option<Passphrase>) -> Result<Passphrase, Failed> {
    match given {
        Some(passphrase) => fit(passphrase),
        None => typed_twice(),
    }
}

/// The passphrase in `file`, else in the environment variable `variable`.
pub(crate) fn given(file: Option<&Path>, variable: &str) -> Result<Option<Passphrase>, Failed> {
    if let Some(path) = file {
        return accepted(from_file(path)?).map(Some);
    }
    match std::env::var_os(variable).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => match value.into_string() {
            Ok(text) => accepted(Zeroizing::new(text)).map(Some),
            Err(_) => Err(Failed::input(format!("`{variable}` is not UTF-8 text"))),
        },
    }
}

/// The passphrase a key is sealed anew with: the file, else [`NEW_PASSPHRASE`], else typed twice.
pub(crate) fn replacement(file: Option<&Path>) -> Result<Passphrase, Failed> {
    fresh(given(file, NEW_PASSPHRASE)?)
}

fn typed_twice() -> Result<Passphrase, Failed> {
    let terminal = Terminal::open().ok_or_else(no_passphrase)?;
    let first = fit(accepted(terminal.ask("new passphrase: ")?)?)?;
    let second = terminal.ask("the same again: ")?;
    if first.expose() == second.as_str() {
        Ok(first)
    } else {
        Err(Failed::input("the two passphrases differ").with_hint("try again"))
    }
}

fn accepted(text: Zeroizing<String>) -> Result<Passphrase, Failed> {
    Passphrase::new(text).map_err(|error| Failed::input(error.to_string()))
}

fn fit(passphrase: Passphrase) -> Result<Passphrase, Failed> {
    passphrase
        .fit_for_new()
        .map_err(|error| Failed::input(error.to_string()).with_hint("take four or more words"))
}

fn no_passphrase() -> Failed {
    Failed::input("a passphrase is needed, and there is no terminal to ask for it")
        .with_reason("passphrase_missing")
        .with_hint(format!("set `{PASSPHRASE}` or give `--passphrase-file`"))
}

/// The first line of a file that no other user can read.
fn from_file(path: &Path) -> Result<Zeroizing<String>, Failed> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failed {
        exit: Exit::InvalidInput,
        ..Failed::io(&format!("cannot read `{shown}`"), &error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        let message = format!("`{shown}` can be read by other users");
        return Err(Failed::input(message)
            .with_reason("passphrase_file_exposed")
            .with_hint(format!("`chmod 600 {shown}`, and change the passphrase")));
    }
    // Capacity up front: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    let bound = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    file.take(bound + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(Failed::input(format!(
            "`{shown}` is larger than any passphrase"
        )));
    }
    let text = core::str::from_utf8(&bytes)
        .map_err(|_| Failed::input(format!("`{shown}` is not UTF-8 text")))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(Zeroizing::new(line.to_owned()))
}

/// The controlling terminal.
pub(crate) struct Terminal {
    device: File,
}

impl Terminal {
    /// The terminal of this process, if it has one.
    pub(crate) fn open() -> Option<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        tcgetattr(&device).is_ok().then_some(Self { device })
    }

    /// Asks for a line without showing it.
    fn ask(&self, prompt: &str) -> Result<Zeroizing<String>, Failed> {
        let broken =
            |error: std::io::Error| Failed::new(Exit::Failure, format!("the terminal: {error}"));
        let silence = Silence::begin(&self.device).map_err(broken)?;
        (&self.device)
            .write_all(prompt.as_bytes())
            .map_err(broken)?;
        let line = self.line();
        drop(silence);
        self.say("");
        let line = line.map_err(broken)?;
        if line.last() == Some(&INTERRUPT) {
            return Err(Failed::new(Exit::Failure, "given up at the terminal"));
        }
        core::str::from_utf8(&line)
            .map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| Failed::input("what was typed is not UTF-8 text"))
    }

    /// Asks a question that only `yes` answers.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, Failed> {
        let broken =
            |error: std::io::Error| Failed::new(Exit::Failure, format!("the terminal: {error}"));
        let question = format!("{} [yes/no] ", crate::inert::inert(question));
        (&self.device)
            .write_all(question.as_bytes())
            .map_err(broken)?;
        let line = self.line().map_err(broken)?;
        Ok(line.trim_ascii() == b"yes")
    }

    fn say(&self, line: &str) {
        // A terminal that is gone has nobody to tell.
        let _ = (&self.device).write_all(format!("{line}\n").as_bytes());
    }

    /// One line, byte by byte, without its end; ends at ctrl-c too.
    fn line(&self) -> std::io::Result<Zeroizing<Vec<u8>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        let mut byte = [0];
        while line.len() < MAX_BYTES && (&self.device).read(&mut byte)? == 1 {
            match byte {
                [b'\n'] => break,
                [INTERRUPT] => {
                    line.push(INTERRUPT);
                    break;
                }
                [other] => line.push(other),
            }
        }
        Ok(line)
    }
}

/// A terminal without echo, until dropped. Ctrl-c ends the line instead of the process, which
/// would leave the terminal mute.
struct Silence<'a> {
    device: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn begin(device: &'a File) -> std::io::Result<Self> {
        let before = tcgetattr(device)?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(device, OptionalActions::Flush, &silent)?;
        Ok(Self { device, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // There is nobody left to tell if the terminal is gone.
        let _ = tcsetattr(self.device, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(bytes: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phrase");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_gives_its_line_without_the_break() {
        for bytes in [
            &b"four words are enough"[..],
            b"four words are enough\n",
            b"four words are enough\r\n",
        ] {
            let (_dir, path) = file(bytes, 0o600);
            assert_eq!(from_file(&path).unwrap().as_str(), "four words are enough");
        }
        let (_dir, path) = file(b"two\nlines\n", 0o600);
        let error = given(Some(&path), "").unwrap_err();
        assert!(error.message.contains("control character"), "{error:?}");
    }

    #[test]
    fn a_file_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o666] {
            let (_dir, path) = file(b"four words are enough", mode);
            let error = from_file(&path).unwrap_err();
            assert_eq!(error.reason.as_deref(), Some("passphrase_file_exposed"));
            assert_eq!(error.exit, Exit::InvalidInput);
        }
    }

    #[test]
    fn what_is_no_passphrase_file_is_refused() {
        let (_dir, path) = file(&vec![b'x'; MAX_BYTES + 1], 0o600);
        assert!(from_file(&path).is_err());
        let (_dir, path) = file(b"\xff\xfe", 0o600);
        assert!(from_file(&path).is_err());
        assert!(from_file(Path::new("/nonexistent/phrase")).is_err());
    }
}
