//! A disk that stops: at every operation in turn, then reopened as each crash could leave it.

use std::io;
use std::sync::Mutex;

use redb::StorageBackend;

use super::*;

/// What is on the disk, and what it has still to sync.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// As of the last sync.
    pub(crate) synced: Vec<u8>,
    /// As the process sees it.
    pub(crate) current: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    /// Changes until it stops for good.
    pub(crate) left: usize,
    pub(crate) stopped: bool,
}

impl Disk {
    pub(crate) fn holding(image: Vec<u8>, left: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            synced: image.clone(),
            current: image,
            left,
            ..Self::default()
        }))
    }

    /// Counts one change; false when the disk has stopped.
    fn change(&mut self) -> bool {
        self.stopped |= self.left == 0;
        self.left = self.left.saturating_sub(1);
        !self.stopped
    }

    /// What a power cut may leave: each pending write there, not there, or in part.
    pub(crate) fn torn(&self, seed: u64) -> Vec<u8> {
        let mut image = self.synced.clone();
        image.resize(self.current.len(), 0);
        let mut state = seed;
        for (offset, data) in &self.pending {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let kept = match state >> 62 {
                0 => 0,
                // Sectors are written whole.
                1 => (data.len() / 2).next_multiple_of(512).min(data.len()),
                _ => data.len(),
            };
            let end = (offset + kept).min(image.len());
            let start = (*offset).min(end);
            image[start..end].copy_from_slice(&data[..end - start]);
        }
        image
    }
}

/// What the disk answers once it has stopped.
#[derive(Debug, Clone)]
pub(crate) struct Stopping {
    pub(crate) disk: Arc<Mutex<Disk>>,
    pub(crate) answer: io::ErrorKind,
}

impl Stopping {
    fn refuse(&self) -> io::Error {
        io::Error::from(self.answer)
    }
}

impl StorageBackend for Stopping {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = disk.current.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        if !disk.change() {
            return Err(self.refuse());
        }
        disk.current.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        if !disk.change() {
            return Err(self.refuse());
        }
        disk.synced = disk.current.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap();
        if !disk.change() {
            return Err(self.refuse());
        }
        let start = usize::try_from(offset).unwrap();
        disk.current[start..start + data.len()].copy_from_slice(data);
        disk.pending.push((start, data.to_vec()));
        Ok(())
    }
}

/// What the workload was promised before the disk stopped.
#[derive(Debug, Default)]
struct Promised {
    opened: bool,
    decisions: u64,
    floors: Vec<u8>,
    finished: bool,
}

/// Six groups of changes; ends at the first that is refused.
async fn workload(backend: Stopping) -> Promised {
    let mut promised = Promised::default();
    let Ok(store) = Store::open_backend(backend, &options()) else {
        return promised;
    };
    promised.opened = true;
    for round in 0..6_u8 {
        let floor = Write::ReplayFloor {
            issuer: node(round),
            until: UnixSeconds(1000),
        };
        let large = Write::PutMembership(node(2), vec![7; 6000 * usize::from(round)]);
        let writes = vec![decision("x"), floor, decision("y"), large];
        match store.durable(writes).await {
            Ok(_) => {
                promised.decisions += 2;
                promised.floors.push(round);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Failed(_)), "{error}");
                let after = store.durable(vec![decision("z")]).await;
                assert!(matches!(after, Err(StoreError::Failed(_))), "fails closed");
                assert!(store.progress().fault.is_some());
                store.failed().await;
                let _ = store.close().await;
                return promised;
            }
        }
    }
    promised.finished = store.close().await.is_ok();
    promised
}

async fn verify(image: Vec<u8>, promised: &Promised, what: &str) {
    let backend = Stopping {
        disk: Disk::holding(image, usize::MAX),
        answer: io::ErrorKind::Other,
    };
    let store = match Store::open_backend(backend, &options()) {
        Ok(store) => store,
        // The disk stopped while the file was made, which happens under another name.
        Err(_) if !promised.opened => return,
        Err(error) => panic!("{what}: {error}"),
    };
    let snapshot = store.snapshot().unwrap();
    let records = snapshot.decisions(..).unwrap();
    assert!(records.len() as u64 >= promised.decisions, "{what}");
    assert_eq!(records.len() % 2, 0, "{what}: a request is whole");
    let floors = snapshot.replay_floors().unwrap();
    for issuer in &promised.floors {
        let floor = (node(*issuer), UnixSeconds(1000));
        assert!(floors.contains(&floor), "{what}: {issuer}");
    }
    drop(snapshot);
    store.durable(vec![decision("on")]).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn wherever_the_disk_stops_what_was_promised_is_there() {
    let mut stop = 0;
    loop {
        let disk = Disk::holding(Vec::new(), stop);
        let backend = Stopping {
            disk: Arc::clone(&disk),
            answer: io::ErrorKind::Other,
        };
        let promised = workload(backend).await;
        let left = disk.lock().unwrap().clone();
        verify(
            left.current.clone(),
            &promised,
            &format!("stop {stop}, all"),
        )
        .await;
        verify(
            left.synced.clone(),
            &promised,
            &format!("stop {stop}, synced"),
        )
        .await;
        for seed in 1..=3 {
            let image = left.torn(
                (stop as u64)
                    .wrapping_add(seed)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15),
            );
            verify(image, &promised, &format!("stop {stop}, torn {seed}")).await;
        }
        if promised.finished && !left.stopped {
            break;
        }
        stop += 1;
        assert!(stop < 10_000, "the workload never ends");
    }
    assert!(stop > 50, "the workload is real: {stop}");
}

#[tokio::test]
async fn a_full_disk_is_named_with_what_to_do() {
    let disk = Disk::holding(Vec::new(), usize::MAX);
    let backend = Stopping {
        disk: Arc::clone(&disk),
        answer: io::ErrorKind::StorageFull,
    };
    let store = Store::open_backend(backend, &options()).unwrap();
    store.durable(vec![decision("a")]).await.unwrap();
    disk.lock().unwrap().left = 1;
    let error = store.durable(vec![decision("b")]).await.unwrap_err();
    let full = StoreError::Failed(Arc::new(StorageFault::Full));
    assert_eq!(error, full);
    assert!(error.hint().unwrap().contains("free space"));
    assert_eq!(error.reason(), "store_failed");
    assert_eq!(store.lazy(decision("c")).await, Err(full.clone()));
    assert_eq!(store.flush().await, Err(full));
}
