//! Bundles that were in force: the newest are kept, within bounds.

use super::*;
use crate::store::{MAX_PAST_BUNDLES, MAX_PAST_BYTES};

async fn keep(store: &Store, version: u64, bytes: Vec<u8>) {
    let outcomes = store.durable(vec![Write::PastBundle(version, bytes)]).await;
    assert_eq!(outcomes.unwrap(), [Outcome::Stored]);
}

fn versions(store: &Store) -> Vec<u64> {
    let kept = store.snapshot().unwrap().past_bundles().unwrap();
    kept.into_iter().map(|(version, _)| version).collect()
}

#[tokio::test]
async fn the_oldest_go_and_the_rest_outlives_a_restart() {
    let place = place();
    let store = open(&place.path);
    // Before anything was in force there is no table.
    assert_eq!(versions(&store), [0; 0]);
    assert_eq!(store.snapshot().unwrap().past_bundle(1).unwrap(), None);
    let most = MAX_PAST_BUNDLES as u64;
    for version in 1..=most + 3 {
        keep(&store, version, version.to_be_bytes().to_vec()).await;
    }
    // The same again is one.
    keep(&store, 5, b"five".to_vec()).await;
    assert_eq!(versions(&store), (4..=most + 3).collect::<Vec<_>>());
    store.close().await.unwrap();
    let store = open(&place.path);
    assert_eq!(versions(&store), (4..=most + 3).collect::<Vec<_>>());
    let five = store.snapshot().unwrap().past_bundle(5).unwrap();
    assert_eq!(five.as_deref(), Some(&b"five"[..]));
    // Versions that begin again: the one in force stays.
    keep(&store, 1, b"one".to_vec()).await;
    assert_eq!(versions(&store).len(), MAX_PAST_BUNDLES + 1);
    assert_eq!(versions(&store)[0], 1);
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let place = place();
    let store = open(&place.path);
    let part = MAX_PAST_BYTES / 8;
    for version in 1..=10 {
        keep(&store, version, vec![0; part]).await;
    }
    assert_eq!(versions(&store), (3..=10).collect::<Vec<_>>());
}
