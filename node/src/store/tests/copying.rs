use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_between_writes_is_whole_and_what_was_acknowledged_is_in_it() {
    let place = place();
    let store = open(&place.path);
    let writing = store.clone();
    let (acknowledged, mut told) = watch::channel(0_u64);
    let stop = tokio_util::sync::CancellationToken::new();
    let until = stop.clone();
    let writer = tokio::spawn(async move {
        let mut count = 0;
        while !until.is_cancelled() {
            writing.durable(vec![decision("x")]).await.unwrap();
            count += 1;
            acknowledged.send_replace(count);
        }
    });
    for round in 0..5_u64 {
        told.wait_for(|count| *count > 10 * round).await.unwrap();
        let before = *told.borrow();
        let to = place.path.with_file_name(format!("copy-{round}"));
        let (copied, from, target) = (store.clone(), place.path.clone(), to.clone());
        let copy = tokio::task::spawn_blocking(move || copied.copy(&from, &target));
        assert!(copy.await.unwrap().unwrap() > 0);
        let copy = open(&to);
        let last = copy.snapshot().unwrap().last_decision().unwrap().unwrap();
        assert!(last.sequence + 1 >= before, "acknowledged and not copied");
        copy.close().await.unwrap();
    }
    stop.cancel();
    writer.await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_copy_replaces_nothing_and_a_closed_store_has_none() {
    let place = place();
    let store = open(&place.path);
    let to = place.path.with_file_name("taken");
    std::fs::write(&to, b"mine").unwrap();
    let taken = store.copy(&place.path, &to);
    assert!(matches!(taken, Err(StoreError::Read(_))), "{taken:?}");
    assert_eq!(std::fs::read(&to).unwrap(), b"mine");
    store.close().await.unwrap();
    let fresh = place.path.with_file_name("fresh");
    let closed = store.copy(&place.path, &fresh);
    assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
    assert!(!fresh.exists());
}
