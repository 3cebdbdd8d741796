use tokio::sync::oneshot;

use super::*;

fn thread() -> String {
    std::thread::current().name().unwrap_or("").to_owned()
}

/// On which thread what `spawn` is given runs.
async fn runs_on(
    spawn: impl FnOnce(&TaskTracker, Pin<Box<dyn Future<Output = ()> + Send>>),
) -> String {
    let (tell, told) = oneshot::channel();
    let task = async move { drop(tell.send(thread())) };
    let tasks = TaskTracker::new();
    spawn(&tasks, Box::pin(task));
    let on = told.await.unwrap();
    tasks.close();
    tasks.wait().await;
    on
}

#[tokio::test]
async fn a_call_runs_on_the_lane_unless_that_is_busy() {
    let (idle, busy) = (Lane::start().unwrap(), Lane::always_busy().unwrap());
    assert_eq!(runs_on(|t, f| idle.spawn_call(t, f)).await, "calls");
    assert_eq!(runs_on(|t, f| busy.spawn_call(t, f)).await, thread());
    // What calls pass through stays where it is.
    assert_eq!(runs_on(|t, f| busy.spawn(t, f)).await, "calls");
    let none = Lane::none();
    assert_eq!(runs_on(|t, f| none.spawn_call(t, f)).await, thread());
    assert_eq!(runs_on(|t, f| none.spawn(t, f)).await, thread());
}

#[tokio::test]
async fn what_is_no_call_runs_beside_the_lane() {
    let here = thread();
    let (lane, tasks) = (Lane::start().unwrap(), TaskTracker::new());
    let (of_lane, of_task) = (lane.clone(), tasks.clone());
    let (tell, told) = oneshot::channel();
    let on_lane = async move {
        let beside = async move { drop(tell.send(thread())) };
        of_lane.beside(&of_task, beside).await;
    };
    lane.spawn(&tasks, on_lane);
    assert_eq!(told.await.unwrap(), here);
}

#[tokio::test]
async fn connections_are_the_lanes_whoever_dials() {
    let lane = Lane::start().unwrap();
    let (tell, told) = oneshot::channel();
    let driver = Box::pin(async move { drop(tell.send(thread())) });
    quinn::Runtime::spawn(&lane, driver);
    assert_eq!(told.await.unwrap(), "calls");
}

/// Dropping a runtime where tasks run panics unless it is told not to wait.
#[tokio::test]
async fn the_last_clone_may_be_dropped_by_a_task() {
    let lane = Lane::start().unwrap();
    let (last, tasks) = (lane.clone(), TaskTracker::new());
    lane.spawn(&tasks, async move { drop(last) });
    drop(lane);
    tasks.close();
    tasks.wait().await;
}

#[test]
fn the_lane_is_busy_by_what_it_worked_in_a_window() {
    let begun = Instant::now();
    let mut load = Load::from(begun);
    let after = |ms| begun + Duration::from_millis(ms);
    let worked = |ms| move || Duration::from_millis(ms);
    let unasked = || unreachable!("within a window it is not looked at");
    assert!(!load.at(after(49), unasked));
    assert!(!load.at(after(50), worked(34)), "68 %");
    assert!(load.at(after(100), worked(69)), "70 %");
    assert!(load.at(after(149), unasked), "until the next window");
    assert!(!load.at(after(200), worked(100)), "31 %");
    // A burst after a pause is noticed one window after its first call.
    assert!(!load.at(after(9_000), worked(101)));
    assert!(load.at(after(9_050), worked(151)));
    // A clock that went back, or a count that did, is no reason to panic.
    assert!(load.at(begun, unasked));
    assert!(!load.at(after(9_200), worked(0)));
}
