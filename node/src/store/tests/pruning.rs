//! Forgetting the oldest decision records: what is kept is one chain from the prune point on.

use super::opening::{refusal, tamper, with_decisions};
use super::*;

/// Bytes one record of [`with_decisions`] takes: its hash, and itself.
const EACH: u64 = 32 + 8 + 32 + 1;

fn prune(keep_bytes: u64, before: u64) -> Write {
    Write::PruneDecisions(Prune {
        keep_bytes,
        expired: Box::new(move |bytes| read_link(bytes).is_some_and(|l| l.sequence < before)),
    })
}

async fn pruned(store: &Store, keep_bytes: u64, before: u64) -> usize {
    let outcome = store.durable(vec![prune(keep_bytes, before)]).await;
    match outcome.unwrap()[..] {
        [Outcome::Pruned(count)] => count,
        ref other => panic!("{other:?}"),
    }
}

/// The sequences kept, after checking that they are one chain from the prune point on.
fn kept(store: &Store) -> Vec<u64> {
    let snapshot = store.snapshot().unwrap();
    let point = snapshot.prune_point().unwrap();
    let mut next = point.map_or(0, |p| p.sequence + 1);
    let mut previous = point.map_or(Digest::from_bytes([0; 32]), |p| p.hash);
    let mut sequences = Vec::new();
    loop {
        let page = snapshot.decisions(next..).unwrap();
        if page.is_empty() {
            return sequences;
        }
        for record in page {
            let link = read_link(&record.bytes).unwrap();
            assert_eq!((link.sequence, link.previous), (next, previous));
            assert_eq!(link.hash, record.hash);
            (next, previous) = (next + 1, link.hash);
            sequences.push(link.sequence);
        }
    }
}

#[tokio::test]
async fn the_oldest_go_and_the_chain_holds_also_after_reopening() {
    let place = with_decisions(10).await;
    let store = open(&place.path);
    assert_eq!(pruned(&store, u64::MAX, 0).await, 0, "nothing is too old");
    assert_eq!(store.snapshot().unwrap().prune_point().unwrap(), None);
    assert_eq!(pruned(&store, u64::MAX, 3).await, 3, "by age");
    assert_eq!(kept(&store), (3..10).collect::<Vec<_>>());
    assert_eq!(pruned(&store, 5 * EACH, 0).await, 2, "by size");
    store.close().await.unwrap();

    let store = open(&place.path);
    assert_eq!(kept(&store), (5..10).collect::<Vec<_>>());
    let outcome = store.durable(vec![decision("x")]).await.unwrap();
    assert!(matches!(
        outcome[..],
        [Outcome::Decided { sequence: 10, .. }]
    ));
    // The size was counted over the restart.
    assert_eq!(pruned(&store, 5 * EACH, 0).await, 1);
    assert_eq!(kept(&store), (6..11).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_newest_stays_whatever_is_asked() {
    let place = with_decisions(3).await;
    let store = open(&place.path);
    assert_eq!(pruned(&store, 0, u64::MAX).await, 2);
    assert_eq!(pruned(&store, 0, u64::MAX).await, 0);
    assert_eq!(kept(&store), [2]);
    store.close().await.unwrap();
    assert_eq!(kept(&open(&place.path)), [2]);
}

#[tokio::test]
async fn one_write_forgets_a_bounded_number() {
    let place = with_decisions(PRUNE_AT_ONCE + 10).await;
    let store = open(&place.path);
    assert_eq!(pruned(&store, 0, 0).await, PRUNE_AT_ONCE);
    assert_eq!(pruned(&store, 0, 0).await, 9);
    assert_eq!(kept(&store).len(), 1);
}

/// Together with others in one request, in their order.
#[tokio::test]
async fn records_of_the_same_request_count() {
    let place = with_decisions(2).await;
    let store = open(&place.path);
    let writes = vec![decision("x"), prune(EACH, 0), decision("x")];
    let outcomes = store.durable(writes).await.unwrap();
    assert!(matches!(outcomes[1], Outcome::Pruned(2)), "{outcomes:?}");
    assert_eq!(kept(&store), [2, 3]);
    store.close().await.unwrap();
    let store = open(&place.path);
    assert_eq!(pruned(&store, 2 * EACH, 0).await, 0, "counted right");
}

/// Forgetting more than the node did, or the prune point itself, is found.
#[tokio::test]
async fn a_moved_prune_point_is_a_broken_chain() {
    type Change = fn(&redb::WriteTransaction);
    let changes: [(Change, u64); 5] = [
        (|t| assert!(t.delete_table(tables::PRUNED).unwrap()), 4),
        (
            |t| {
                let mut point = t.open_table(tables::PRUNED).unwrap();
                point.insert(3, &[7; 32]).unwrap();
            },
            4,
        ),
        (
            |t| {
                let mut point = t.open_table(tables::PRUNED).unwrap();
                point.insert(5, &[7; 32]).unwrap();
            },
            4,
        ),
        (
            |t| {
                let mut records = t.open_table(tables::DECISIONS).unwrap();
                drop(records.remove(4).unwrap());
            },
            5,
        ),
        (
            |t| {
                let mut records = t.open_table(tables::DECISIONS).unwrap();
                records.retain(|_, _| false).unwrap();
            },
            4,
        ),
    ];
    for (n, (change, at)) in changes.into_iter().enumerate() {
        let place = with_decisions(10).await;
        let store = open(&place.path);
        assert_eq!(pruned(&store, u64::MAX, 4).await, 4);
        store.close().await.unwrap();
        tamper(&place.path, change);
        let error = refusal(&place.path);
        assert!(
            matches!(error, OpenError::BrokenChain { sequence, .. } if sequence == at),
            "{n}: {error}"
        );
    }
}

/// A store of before records were ever forgotten has neither the table nor the count.
#[tokio::test]
async fn an_older_store_opens_and_is_counted() {
    let place = with_decisions(10).await;
    tamper(&place.path, |t| {
        assert!(t.delete_table(tables::PRUNED).unwrap());
        let mut numbers = t.open_table(tables::META).unwrap();
        let counted = numbers.remove(tables::meta::DECISION_BYTES).unwrap();
        assert_eq!(counted.map(|c| c.value()), Some(10 * EACH));
    });
    let store = open(&place.path);
    assert_eq!(store.snapshot().unwrap().prune_point().unwrap(), None);
    assert_eq!(pruned(&store, 7 * EACH, 0).await, 3);
    assert_eq!(kept(&store), (3..10).collect::<Vec<_>>());
}
