//! Unexpected ends, order of stopping, deadlines (none at all, or one no test could wait for).

use tokio::sync::{mpsc, oneshot};

use super::*;

/// Longer than any test runs.
const DRAIN: Duration = Duration::from_secs(24 * 3600);

/// A service that returns when the node stops.
fn well_behaved(tasks: &Tasks) {
    let stopping = tasks.stopping();
    tasks.service("good", async move { stopping.cancelled().await });
}

async fn run(supervisor: Supervisor) -> Stopped {
    let (_signals, by_hand) = Signals::by_hand();
    supervisor.run(by_hand, DRAIN).await
}

#[tokio::test]
async fn a_service_that_returns_stops_the_node_and_is_named() {
    let supervisor = Supervisor::new();
    well_behaved(&supervisor.tasks());
    supervisor.tasks().service("quitter", async {});
    let stopped = run(supervisor).await;
    assert_eq!(stopped.reason, Reason::Ended { task: "quitter" });
    assert!(!stopped.reason.is_orderly());
    assert!(stopped.aborted.is_empty() && stopped.stuck.is_empty());
}

#[tokio::test]
async fn a_panic_stops_the_node_and_says_what() {
    for service in [true, false] {
        let supervisor = Supervisor::new();
        well_behaved(&supervisor.tasks());
        let bad = async { panic!("two\nlines") };
        if service {
            supervisor.tasks().service("bad", bad);
        } else {
            supervisor.tasks().job("bad", bad);
        }
        let stopped = run(supervisor).await;
        let what = "two lines".to_owned();
        assert_eq!(stopped.reason, Reason::Panicked { task: "bad", what });
    }
}

#[tokio::test]
async fn a_job_may_end() {
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    let (done, ended) = oneshot::channel();
    tasks.job("job", async move { done.send(()).unwrap() });
    ended.await.unwrap();
    tasks.stop("the test is over");
    let stopped = run(supervisor).await;
    assert_eq!(stopped.reason, Reason::Asked("the test is over".to_owned()));
    assert!(tasks.running().is_empty());
}

#[tokio::test]
async fn the_first_reason_counts() {
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    tasks.stop("first");
    tasks.stop("second");
    supervisor.tasks().job("bad", async { panic!("late") });
    let stopped = run(supervisor).await;
    assert_eq!(stopped.reason, Reason::Asked("first".to_owned()));
}

#[tokio::test]
async fn jobs_finish_before_the_deadline() {
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    well_behaved(&tasks);
    let (order, mut seen) = mpsc::channel(4);
    let stopping = tasks.stopping();
    tasks.job("call", async move {
        stopping.cancelled().await;
        tokio::task::yield_now().await;
        order.send("finished").await.unwrap();
    });
    let (signals, by_hand) = Signals::by_hand();
    signals.send("SIGTERM").await.unwrap();
    let stopped = supervisor.run(by_hand, DRAIN).await;
    assert_eq!(stopped.reason, Reason::Signal("SIGTERM"));
    assert!(stopped.aborted.is_empty());
    assert_eq!(seen.recv().await, Some("finished"));
}

#[tokio::test]
async fn what_outlasts_the_deadline_is_aborted_and_named() {
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    well_behaved(&tasks);
    for _ in 0..2 {
        tasks.job("slow", core::future::pending());
    }
    tasks.stop("enough");
    let (_signals, by_hand) = Signals::by_hand();
    let stopped = supervisor.run(by_hand, Duration::from_millis(1)).await;
    assert_eq!(stopped.aborted.get("slow"), Some(&2));
    assert!(stopped.stuck.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_does_not_even_abort_is_named() {
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let (started, running) = oneshot::channel();
    tasks.job("stuck", async move {
        started.send(()).unwrap();
        let _ = blocked.recv();
    });
    running.await.unwrap();
    let (signals, by_hand) = Signals::by_hand();
    signals.send("SIGINT").await.unwrap();
    signals.send("SIGINT").await.unwrap();
    let stopped = supervisor.run(by_hand, DRAIN).await;
    assert_eq!(stopped.stuck, BTreeMap::from([("stuck", 1)]));
    drop(release);
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let supervisor = Supervisor::new();
    supervisor.tasks().job("slow", core::future::pending());
    let (signals, by_hand) = Signals::by_hand();
    signals.send("SIGINT").await.unwrap();
    signals.send("SIGINT").await.unwrap();
    // Would it wait for the deadline, this would not return.
    let stopped = supervisor.run(by_hand, DRAIN).await;
    assert_eq!(stopped.reason, Reason::Signal("SIGINT"));
    assert_eq!(stopped.aborted, BTreeMap::from([("slow", 1)]));
}

#[tokio::test]
async fn signals_of_the_process_arrive_by_name() {
    let mut signals = Signals::of_process().unwrap();
    let own = rustix::process::getpid();
    for (signal, name) in [
        (rustix::process::Signal::TERM, "SIGTERM"),
        (rustix::process::Signal::INT, "SIGINT"),
    ] {
        rustix::process::kill_process(own, signal).unwrap();
        assert_eq!(signals.next().await, name);
    }
}

#[tokio::test]
async fn readiness_needs_every_condition_and_ends_with_the_node() {
    let supervisor = Supervisor::new();
    let readiness = supervisor.readiness();
    assert!(readiness.is_ready());
    let store = readiness.condition("store");
    let gateway = readiness.condition("gateway");
    assert_eq!(readiness.pending(), ["gateway", "store"]);
    store.met();
    assert!(readiness.ready().now_or_never().is_none());
    gateway.met();
    readiness.ready().await;
    assert!(readiness.is_ready());
    supervisor.tasks().stop("now");
    run(supervisor).await;
    assert!(!readiness.is_ready());
}

#[test]
fn a_condition_that_is_dropped_is_not_met() {
    let readiness = Supervisor::new().readiness();
    drop(readiness.condition("failed"));
    assert!(!readiness.is_ready());
    assert_eq!(readiness.pending(), ["failed"]);
}

#[tokio::test]
async fn a_part_that_failed_is_no_orderly_stop() {
    let supervisor = Supervisor::new();
    let tasks = supervisor.tasks();
    tasks.fail("the store failed: no space", "free space");
    tasks.stop("too late");
    let (_none, signals) = Signals::by_hand();
    let stopped = supervisor.run(signals, Duration::from_secs(1)).await;
    assert!(!stopped.reason.is_orderly());
    assert_eq!(stopped.reason.to_string(), "the store failed: no space");
}
