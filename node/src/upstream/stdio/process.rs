//! The child process and the four tasks around it: one writes, one reads, one keeps standard
//! error, and one watches for the end and sees it through.

use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use protocol::limits::MAX_MESSAGE_BYTES;
use protocol::mcp::{View, one_line};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::lines::{Line, Lines};
use crate::upstream::error::Failure;
use crate::upstream::limits::{DRAIN_GRACE, MAX_SKIPPED_LINE_BYTES, STDERR_LINE_BYTES};
use crate::upstream::router::{Delivered, Stream};
use crate::upstream::spec::{INHERITED, ServerSpec};

/// Bytes read from a pipe at once; a pipe holds 64 KiB.
const READ_BYTES: usize = 64 * 1024;

/// What the watcher wants to know of the reader.
#[derive(Default)]
struct ReaderState {
    /// It met a line without end.
    endless: AtomicBool,
    /// It is delivering a message, which may take as long as its reader does.
    delivering: AtomicBool,
}

/// Starts the process. `replies` is how the reader answers what the session refuses; weak, so
/// that it does not keep standard input open.
pub(super) fn start(
    shared: &Shared,
    queue: mpsc::Receiver<Bytes>,
    replies: mpsc::WeakSender<Bytes>,
) -> Result<(), Failure> {
    let failed = |detail: String| Failure::Start { detail };
    let ServerSpec::Command { argv, env, cwd } = &shared.server.spec else {
        return Err(failed("it is attached by URL".into()));
    };
    let Some((program, arguments)) = argv.split_first() else {
        return Err(failed("no command".into()));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for (name, value) in env {
        command.env(name, value.expose());
    }
    if let Some(directory) = cwd {
        command.current_dir(directory);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .ok_or_else(|| failed("it has no process id".into()))?;
    let pidfd = watched(group).map_err(|error| failed(format!("it cannot be watched: {error}")))?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed("it has no pipes".into()));
    };
    let state = Arc::new(ReaderState::default());
    let drained = CancellationToken::new();
    let tracker = &shared.server.tracker;
    tracker.spawn(write(stdin, queue, shared.down.clone()));
    tracker.spawn(read(
        stdout,
        shared.clone(),
        replies,
        Arc::clone(&state),
        drained.clone(),
    ));
    tracker.spawn(keep_stderr(stderr, shared.clone()));
    let process = Process {
        child,
        group,
        pidfd,
    };
    tracker.spawn(watch(process, shared.clone(), state, drained));
    Ok(())
}

/// Becomes readable when the process ends.
#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may lie about their descriptor; `OwnedFd` does not"
)]
pub(in crate::upstream) fn watched(process: Pid) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd_open(process, PidfdFlags::NONBLOCK)?)
}

/// Writes messages until the link goes down, then closes standard input.
async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>, down: CancellationToken) {
    loop {
        let message = tokio::select! {
            biased;
            () = down.cancelled() => return,
            message = queue.recv() => match message {
                Some(message) => message,
                None => return,
            },
        };
        let written = tokio::select! {
            biased;
            () = down.cancelled() => return,
            written = write_line(&mut stdin, &message) => written,
        };
        // A broken pipe: the process is ending, and whoever watches it says so.
        if written.is_err() {
            return;
        }
    }
}

/// One message as one line. White space is the only thing that may change: a line end between
/// two tokens of a message would end the line.
async fn write_line(stdin: &mut ChildStdin, message: &Bytes) -> std::io::Result<()> {
    let mut line = if message.iter().any(|b| matches!(b, b'\n' | b'\r')) {
        match View::parse(message) {
            Ok(view) => one_line(&view).into_owned(),
            Err(_) => return Ok(()),
        }
    } else {
        message.to_vec()
    };
    // One write, so that the server wakes once.
    line.push(b'\n');
    stdin.write_all(&line).await?;
    stdin.flush().await
}

async fn read(
    stdout: ChildStdout,
    shared: Shared,
    replies: mpsc::WeakSender<Bytes>,
    state: Arc<ReaderState>,
    drained: CancellationToken,
) {
    let _drained = drained.drop_guard();
    let reader = BufReader::with_capacity(READ_BYTES, stdout);
    let mut lines = Lines::new(reader, MAX_MESSAGE_BYTES, MAX_SKIPPED_LINE_BYTES);
    loop {
        let line = tokio::select! {
            biased;
            () = shared.gone.cancelled() => return,
            line = lines.next() => line,
        };
        match line {
            Line::Whole(line) => {
                state.delivering.store(true, Ordering::Release);
                pass_on(&shared, &replies, line).await;
                state.delivering.store(false, Ordering::Release);
            }
            Line::TooLong => {
                shared.server.counters.count_skipped();
                // Which call it would have answered cannot be known; none may wait for it.
                shared.router.fail_link(shared.number, &Failure::TooLarge);
            }
            Line::Endless => {
                state.endless.store(true, Ordering::Release);
                return;
            }
            Line::End => return,
        }
    }
}

async fn pass_on(shared: &Shared, replies: &mpsc::WeakSender<Bytes>, mut line: Vec<u8>) {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    match shared.router.deliver(Stream::Shared, line.into()).await {
        Delivered::Done => {}
        Delivered::Invalid => {
            shared.server.counters.count_skipped();
            tracing::debug!(server = %shared.server.name, "skipped a line that is no message");
        }
        Delivered::Reply(reply) => {
            if let Some(input) = replies.upgrade() {
                // A server that floods with requests and reads nothing waits for nobody.
                let _ = input.try_send(reply);
            }
        }
    }
}

async fn keep_stderr(stderr: ChildStderr, shared: Shared) {
    let reader = BufReader::with_capacity(4096, stderr);
    let mut lines = Lines::new(reader, STDERR_LINE_BYTES.saturating_mul(16), usize::MAX);
    loop {
        let line = tokio::select! {
            biased;
            () = shared.gone.cancelled() => return,
            line = lines.next() => line,
        };
        match line {
            Line::Whole(line) => shared.server.keep_stderr(&line),
            Line::TooLong => shared.server.keep_stderr(b"(a longer line)"),
            Line::Endless | Line::End => return,
        }
    }
}

struct Process {
    child: Child,
    /// The child's id is its group's too.
    group: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Waits for the end without reaping, so that the id stays taken. Cancel safe.
    async fn ended(&self) {
        // An error would mean that the runtime is shutting down; `kill_on_drop` remains.
        let _ = self.pidfd.readable().await;
    }

    /// Before the child is reaped, its group is certainly its own.
    fn signal(&self, signal: Signal) {
        // The only error is that nobody is left to receive it.
        let _ = kill_process_group(self.group, signal);
    }
}

/// Waits for the process to end, or ends it; then tells the session.
async fn watch(
    mut process: Process,
    shared: Shared,
    state: Arc<ReaderState>,
    drained: CancellationToken,
) {
    let limits = Arc::clone(&shared.server.limits);
    let ended_itself = tokio::select! {
        biased;
        () = shared.stop.cancelled() => false,
        () = process.ended() => true,
        // Standard output closed: nothing will ever be answered.
        () = drained.cancelled() => false,
    };
    // The writer closes standard input when the link is down.
    shared.down.cancel();
    if ended_itself {
        // Whoever it started would hold its pipe open.
        process.signal(Signal::KILL);
        // What it wrote before its end still counts.
        while timeout(DRAIN_GRACE, drained.cancelled()).await.is_err() {
            if !state.delivering.load(Ordering::Acquire) {
                break;
            }
        }
    } else {
        let grace = if state.endless.load(Ordering::Acquire) {
            core::time::Duration::ZERO
        } else {
            limits.exit_grace
        };
        if timeout(grace, process.ended()).await.is_err() {
            process.signal(Signal::TERM);
            if timeout(limits.terminate_grace, process.ended())
                .await
                .is_err()
            {
                process.signal(Signal::KILL);
            }
        }
    }
    // Whatever else it started.
    process.signal(Signal::KILL);
    let status = process.child.wait().await;
    let failure = if state.endless.load(Ordering::Acquire) {
        Failure::EndlessLine
    } else {
        Failure::Exited {
            detail: describe(status),
        }
    };
    if shared.stop.is_cancelled() {
        shared.router.fail_link(shared.number, &failure);
    } else {
        tracing::info!(server = %shared.server.name, reason = failure.reason(), %failure, "upstream ended");
        shared.router.link_died(shared.number, &failure);
    }
    shared.gone.cancel();
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "unknown status".into(),
        },
        Err(error) => format!("unknown status ({error})"),
    }
}
