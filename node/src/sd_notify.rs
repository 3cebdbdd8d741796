//! Telling the service manager how the node is: `READY=1`, `STATUS=…`, `STOPPING=1`, as
//! sd_notify(3) describes: datagrams to the Unix socket that `NOTIFY_SOCKET` names. Where it keeps
//! a watchdog (sd_watchdog_enabled(3)), `WATCHDOG=1` says that the runtime still runs tasks.
//!
//! Without the variable nothing happens. A service manager that does not read is nobody's failure:
//! what cannot be sent is dropped. No status holds a newline, so none can smuggle in a variable.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::supervisor::Readiness;

/// The variable that names the socket.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The variable that says within how many microseconds the watchdog wants to hear of the node.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";

/// The variable that says of which process; without it, of this one.
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Shortest pause between two signs of life, whatever the watchdog asks for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// How often the status line is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Most characters of a status line.
const MAX_STATUS_CHARS: usize = 200;

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Within which the watchdog wants to hear of the node.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The one the environment names, if it names one that can be used. `variable` reads the
    /// environment.
    #[must_use]
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let named = variable(NOTIFY_SOCKET)?;
        let address = match named.as_bytes() {
            // A leading `@` stands for the zero byte of an abstract address.
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(&named),
            _ => return None,
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Self {
            socket,
            address: address.ok()?,
            watchdog: watchdog(variable),
        })
    }

    /// The node serves.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// What the node does now, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// The node ends; `why` is one line.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// The node lives.
    fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        // Nobody listens, or the queue is full: the node does not depend on it.
        let _ = self.socket.send_to_addr(text.as_bytes(), &self.address);
    }
}

/// What the environment says of a watchdog over this process.
fn watchdog(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
    if variable(WATCHDOG_PID).is_some() && number(WATCHDOG_PID) != Some(std::process::id().into()) {
        return None;
    }
    let within = number(WATCHDOG_USEC).filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(within))
}

fn one_line(text: &str) -> String {
    let inert = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(inert).take(MAX_STATUS_CHARS).collect()
}

/// Keeps the service manager informed until `stop`; `describe` makes the status line.
pub async fn follow(
    notifier: Notifier,
    readiness: Readiness,
    describe: impl Fn() -> String,
    stop: CancellationToken,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = readiness.ready() => tell(&notifier, describe, &stop, STATUS_EVERY).await,
    }
    notifier.stopping("calls in flight end");
}

/// Says that the node is ready, then every change of its status, looked at `every` so often, or
/// twice within what the watchdog allows.
async fn tell(
    notifier: &Notifier,
    describe: impl Fn() -> String,
    stop: &CancellationToken,
    every: Duration,
) {
    let mut told = describe();
    notifier.ready(&told);
    let pause = notifier
        .watchdog
        .map_or(every, |within| every.min((within / 2).max(SHORTEST_PAUSE)));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if notifier.watchdog.is_some() {
            notifier.alive();
        }
        let now = describe();
        if now != told {
            notifier.status(&now);
            told = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::Supervisor;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn listening() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let variable = |name: &str| (name == NOTIFY_SOCKET).then(|| path.clone().into());
        let notifier = Notifier::from_environment(&variable).unwrap();
        (dir, manager, notifier)
    }

    fn next(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let read = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn readiness_and_the_end_are_told() {
        let (_dir, manager, notifier) = listening();
        let supervisor = Supervisor::new();
        let condition = supervisor.readiness().condition("serving");
        let stop = CancellationToken::new();
        let describe = || "0 links\nREADY=0".to_owned();
        let following = follow(notifier, supervisor.readiness(), describe, stop.clone());
        let following = tokio::spawn(following);
        condition.met();
        // One line each: what a status says cannot become a variable of its own.
        assert_eq!(next(&manager), "READY=1\nSTATUS=0 links READY=0");
        stop.cancel();
        following.await.unwrap();
        assert!(next(&manager).starts_with("STOPPING=1\n"));
    }

    #[tokio::test]
    async fn a_node_stopped_before_it_was_ready_never_says_so() {
        let (_dir, manager, notifier) = listening();
        let supervisor = Supervisor::new();
        let _never = supervisor.readiness().condition("serving");
        let stop = CancellationToken::new();
        stop.cancel();
        follow(notifier, supervisor.readiness(), String::new, stop).await;
        assert!(next(&manager).starts_with("STOPPING=1\n"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn changes_are_told_and_nothing_is_told_twice() {
        let (_dir, manager, notifier) = listening();
        let stop = CancellationToken::new();
        let links = Arc::new(AtomicU32::new(0));
        let (count, until) = (Arc::clone(&links), stop.clone());
        let telling = tokio::spawn(async move {
            let describe = || format!("{} links", count.load(Ordering::SeqCst));
            tell(&notifier, describe, &until, Duration::from_millis(1)).await;
        });
        assert_eq!(next(&manager), "READY=1\nSTATUS=0 links");
        links.store(2, Ordering::SeqCst);
        assert_eq!(next(&manager), "STATUS=2 links");
        links.store(3, Ordering::SeqCst);
        assert_eq!(next(&manager), "STATUS=3 links");
        stop.cancel();
        telling.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_watchdog_hears_that_the_node_lives() {
        let (_dir, manager, mut notifier) = listening();
        notifier.watchdog = Some(Duration::from_millis(1));
        let stop = CancellationToken::new();
        let until = stop.clone();
        let telling = tokio::spawn(async move {
            tell(&notifier, String::new, &until, STATUS_EVERY).await;
        });
        assert_eq!(next(&manager), "READY=1\nSTATUS=");
        assert_eq!(next(&manager), "WATCHDOG=1");
        stop.cancel();
        telling.await.unwrap();
    }

    #[test]
    fn only_a_watchdog_over_this_process_counts() {
        let own = std::process::id().to_string();
        let set = |usec: &'static str, pid: Option<String>| {
            watchdog(&move |name| match name {
                WATCHDOG_USEC => Some(usec.into()),
                WATCHDOG_PID => pid.clone().map(Into::into),
                _ => None,
            })
        };
        assert_eq!(set("60000000", Some(own)), Some(Duration::from_secs(60)));
        assert_eq!(set("60000000", None), Some(Duration::from_secs(60)));
        for (usec, pid) in [("60000000", "0"), ("60000000", "x"), ("0", ""), ("-1", "")] {
            assert_eq!(set(usec, Some(pid.to_owned())), None, "{usec} {pid}");
        }
        assert_eq!(set("0", None), None);
        assert_eq!(watchdog(&|_| None), None);
    }

    #[test]
    fn abstract_sockets_work_and_nothing_else_does() {
        let name = format!("hedgerow-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let named = |text: String| move |_: &str| Some(OsString::from(&text));
        let notifier = Notifier::from_environment(&named(format!("@{name}"))).unwrap();
        notifier.status("up");
        assert_eq!(next(&manager), "STATUS=up");
        drop(manager);
        notifier.status("nobody reads this");
        assert!(Notifier::from_environment(&named("relative".to_owned())).is_none());
        assert!(Notifier::from_environment(&|_| None).is_none());
    }
}
