//! The life of an approval on a disk that stops at every operation in turn: held, answered, used.
//!
//! A call that is held is used at most once, an answer that was acknowledged is not lost, what
//! cannot be written is refused by name, and nothing passes without its record.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use protocol::approval::Choice;
use protocol::control::ApprovalState;
use protocol::envelope::replay::ReplayWindow;
use protocol::envelope::{Direction, VerifiedEnvelope};
use protocol::id::{ApprovalId, Digest, SessionId};
use protocol::mcp::{Derivation, Hints};
use protocol::name::Name;
use protocol::policy::{
    ApprovalPart, ApprovalTerms, Decision, Denial, Facts, Policy, Severs, Verdict,
};
use protocol::record::{DecisionRecord, Point};
use protocol::time::UnixMillis;
use zeroize::Zeroizing;

use super::*;
use crate::app::{StoreLedger, read_link};
use crate::clock::{Clock, SystemClock};
use crate::enforcement::{
    APPROVAL_REQUIRED, Draft, Enforcer, Hold, Incoming, Inventory, Message, Origin, Passed, Path,
    Subject,
};
use crate::identity::Identity;
use crate::keys::passphrase::Passphrase;
use crate::members::Members;
use crate::page::Tail;
use crate::setup::{self, Founding};
use crate::standing::Standing;
use crate::state_dir::StateDir;
use crate::store::tests::backend::{Disk, Stopping};
use crate::store::{Options, Store};
use crate::telemetry::Counters;

/// What a disk that takes no more is refused as.
const REFUSED: &str = "store_unavailable";

/// A call that policy wants approved. It is no tool's, so it needs no timestamp.
const CALL: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#;

#[derive(Clone, Copy)]
struct Fixed(UnixMillis);

impl Clock for Fixed {
    fn now(&self) -> UnixMillis {
        self.0
    }
}

/// Holds every call until the operator of its server's node approves it.
struct AskFirst;

impl Severs for AskFirst {}

impl Policy for AskFirst {
    fn bundle_version(&self) -> u64 {
        1
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Decision {
        if facts.approved {
            return Decision::allow();
        }
        let parts = vec![ApprovalPart {
            policy: "ask".to_owned(),
            by: None,
        }];
        let why = Denial {
            reason: "resource_not_allowed".to_owned(),
            message: "somebody must look at it".to_owned(),
            policy: Some("ask".to_owned()),
            hint: None,
        };
        Decision {
            approval: Some(ApprovalTerms {
                parts,
                within_s: 60,
            }),
            ..Decision::of(Verdict::Hold(why))
        }
    }
}

struct NoTools;

impl Inventory for NoTools {
    fn tool_digest(&self, _: &Name, _: &str) -> Option<Digest> {
        None
    }

    fn tool_hints(&self, _: &Name, _: &str) -> Hints {
        Hints::NONE
    }
}

/// A host, whatever its disk.
struct Host {
    identity: Arc<Identity>,
    members: Arc<Members>,
    standing: Arc<Standing>,
    clock: Fixed,
    _home: tempfile::TempDir,
}

/// What runs on one disk until it is killed.
struct Running {
    store: Store,
    enforcer: Arc<Enforcer>,
    approvals: Arc<Approvals>,
}

impl Host {
    fn found() -> Self {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let name = |text: &str| text.parse::<Name>().unwrap();
        let founding = Founding {
            mesh: name("test"),
            node: name("host"),
            groups: Vec::new(),
            site: None,
        };
        let phrase = Zeroizing::new("four words are enough".to_owned());
        let phrase = Passphrase::new(phrase).unwrap();
        setup::found(&state, &founding, &phrase).unwrap();
        let identity = setup::load(&StateDir::open(&state).unwrap()).unwrap();
        let clock = Fixed(SystemClock.now());
        let members = Members::new(Arc::clone(&identity.crypto), identity.root());
        let own = identity.membership().bytes().to_vec();
        members
            .learn_membership(&own, clock.now().seconds())
            .unwrap();
        Self {
            standing: Arc::new(Standing::genesis(&identity).unwrap()),
            identity: Arc::new(identity),
            members: Arc::new(members),
            clock,
            _home: home,
        }
    }

    /// Starts on a disk; `None` if the disk does not take even that.
    fn start(&self, disk: &Arc<Mutex<Disk>>) -> Option<Running> {
        let backend = Stopping {
            disk: Arc::clone(disk),
            answer: ErrorKind::StorageFull,
        };
        let crypto = &self.identity.crypto;
        let options = Options::new(read_link(Arc::clone(crypto)));
        let store = Store::open_backend(backend, &options).ok()?;
        let ledger = StoreLedger::new(store.clone(), Arc::clone(crypto), Arc::new(Tail::default()));
        let now = self.clock.now().seconds();
        let enforcer = Arc::new(Enforcer::new(crate::enforcement::Parts {
            identity: Arc::clone(&self.identity),
            members: Arc::clone(&self.members),
            standing: Arc::clone(&self.standing),
            replay: ReplayWindow::new(now.minus(60), now.minus(60), HashMap::new()),
            ledger: Arc::new(ledger),
            inventory: Arc::new(NoTools),
            clock: Arc::new(self.clock),
            counters: Arc::new(Counters::new()),
            policy: Arc::new(AskFirst),
            intents: Arc::new(Derivation),
            cool_down_ms: 30_000,
        }));
        let approvals = Approvals::restore(Parts {
            identity: Arc::clone(&self.identity),
            members: Arc::clone(&self.members),
            standing: Arc::clone(&self.standing),
            enforcer: Arc::clone(&enforcer),
            store: store.clone(),
            clock: Arc::new(self.clock),
        });
        Some(Running {
            store,
            enforcer,
            approvals: Arc::new(approvals.unwrap()),
        })
    }

    /// The call as `enforce` hands it over, signed and verified.
    async fn held(&self, running: &Running) -> (VerifiedEnvelope, Hold) {
        let me = self.identity.node();
        let (agent, server) = ("agent".parse().unwrap(), "files".parse().unwrap());
        let path = Path::direct(me, me);
        let message = Message::read(CALL).unwrap();
        let draft = Draft {
            agent: &agent,
            human: None,
            path: &path,
            copies: None,
            direction: Direction::ToServer,
            request_id: running.enforcer.new_request_id().unwrap(),
            session: SessionId::from_bytes([1; 16]),
            parent: None,
            sequence: 0,
            stream_hash: None,
            server: &server,
            within: None,
            answers: None,
            tool_digest: None,
            address: None,
            refuses: false,
            message: &message,
        };
        let enforcer = &running.enforcer;
        let passed = enforcer.enforce(Point::Ingress, Subject::Outgoing(draft));
        let Passed::Sealed(sealed, _) = passed.await.unwrap() else {
            panic!("a call of this node's is signed");
        };
        let origin = Origin {
            peer: me,
            address: None,
        };
        let incoming = Incoming {
            bytes: &sealed.bytes,
            records: &[],
            origin: &origin,
            direction: Direction::ToServer,
            path: None,
            stream: None,
            within: None,
            awaited: &|_| None,
        };
        let passed = enforcer.enforce(Point::Egress, Subject::Incoming(incoming));
        let Passed::Held(held) = passed.await.unwrap() else {
            panic!("policy wants it approved");
        };
        (*held.envelope, held.hold)
    }
}

/// How far the life of an approval came before the disk stopped, as its parties were told.
#[derive(Debug, Default)]
struct Told {
    /// The caller that it waits.
    held: Option<ApprovalId>,
    /// The operator that the answer counts.
    answered: bool,
    /// The server that it is called.
    acted: bool,
}

/// Takes an approval through its life as `call::incoming::held` does, until the disk refuses.
async fn live(running: &Running, (envelope, hold): &(VerifiedEnvelope, Hold)) -> Told {
    let mut told = Told::default();
    let approvals = &running.approvals;
    let mut waiting = match approvals.hold(Asked { envelope, hold }).await {
        Ok(Taken::Waits(waiting)) => waiting,
        Ok(Taken::Granted(_)) => panic!("nobody approved it"),
        Err(stopped) => {
            assert_eq!(stopped.reason(), REFUSED);
            let hint = stopped.verdict.denial().and_then(|d| d.hint.as_deref());
            assert!(hint.is_some_and(|h| h.contains("hedgerow doctor")));
            return told;
        }
    };
    told.held = Some(waiting.id);
    let own = running.enforcer.identity().node();
    let arguments = approvals.table()[&waiting.id].kept.arguments;
    let signed = approvals.sign(waiting.id, own, arguments, Choice::Approve, (None, None));
    if let Err(error) = approvals.answer(&signed.unwrap()).await {
        assert_eq!(error.reason(), REFUSED);
        assert!(error.hint().is_some_and(|h| h.contains("hedgerow doctor")));
        let heard = waiting.answered().now_or_never();
        assert_ne!(
            heard,
            Some(Answered::Approved),
            "an answer that was refused"
        );
        return told;
    }
    told.answered = true;
    assert_eq!(waiting.answered().await, Answered::Approved);
    let granted = match approvals.use_up(&waiting.id).await {
        Ok(granted) => granted,
        Err(stopped) => {
            assert_eq!(stopped.reason(), REFUSED);
            return told;
        }
    };
    told.acted = goes_on(running, (envelope, hold), &granted).await;
    told
}

/// Whether a call whose approval is used goes on; else the disk is why.
async fn goes_on(
    running: &Running,
    (envelope, hold): (&VerifiedEnvelope, &Hold),
    granted: &Granted,
) -> bool {
    let covers = |part: &ApprovalPart| running.approvals.covers(granted, part);
    let note = granted.note.clone();
    match running.enforcer.resume(envelope, hold, note, &covers).await {
        Ok(_) => true,
        Err(stopped) => {
            assert_eq!(stopped.reason(), REFUSED);
            false
        }
    }
}

/// The verdicts and reasons recorded of one approval.
fn recorded(store: &Store, id: ApprovalId) -> Vec<(String, String)> {
    let records = store.snapshot().unwrap().decisions(..).unwrap();
    let records = records
        .iter()
        .map(|kept| DecisionRecord::decode(&kept.bytes).unwrap());
    let of_it = records.filter(|r| r.approval.as_ref().is_some_and(|a| a.id == id));
    of_it
        .map(|r| (r.verdict, r.reason.unwrap_or_default()))
        .collect()
}

/// What a crash left is started again: nothing told is lost, and the call passes at most once.
async fn verify(
    host: &Host,
    image: Vec<u8>,
    told: &Told,
    call: &(VerifiedEnvelope, Hold),
    at: &str,
) {
    let disk = Disk::holding(image, usize::MAX);
    let running = host.start(&disk).expect("what was open opens again");
    let approvals = &running.approvals;
    let state = async |id| {
        let all = approvals.list(true).await.unwrap();
        all.into_iter().find(|a| a.id == id).map(|a| a.state)
    };
    if let Some(id) = told.held {
        let state = state(id).await;
        let recorded = recorded(&running.store, id);
        let has =
            |verdict: &str, reason: &str| recorded.iter().any(|(v, r)| v == verdict && r == reason);
        assert!(state.is_some(), "{at}: what waits is listed");
        assert!(has("hold", APPROVAL_REQUIRED), "{at}: {recorded:?}");
        if told.answered {
            let open = [ApprovalState::Approved, ApprovalState::Used];
            assert!(open.contains(&state.unwrap()), "{at}: the answer is lost");
            assert!(has("allow", "approval_given"), "{at}: {recorded:?}");
        }
        if told.acted {
            assert_eq!(state, Some(ApprovalState::Used), "{at}");
            assert!(has("allow", ""), "{at}: it passed unrecorded: {recorded:?}");
        }
    }
    // Its caller makes the same call again.
    let (envelope, hold) = call;
    let before = match told.held {
        Some(id) => state(id).await,
        None => None,
    };
    let again = approvals.hold(Asked { envelope, hold }).await.unwrap();
    if let Taken::Granted(granted) = again {
        assert!(!told.acted, "{at}: one approval let two pass");
        assert!(goes_on(&running, (envelope, hold), &granted).await, "{at}");
    } else {
        let approved = Some(ApprovalState::Approved);
        assert_ne!(before, approved, "{at}: an approval lets nothing pass");
    }
    let third = approvals.hold(Asked { envelope, hold }).await.unwrap();
    let waits = matches!(third, Taken::Waits(_));
    assert!(waits, "{at}: one approval let two pass");
    drop(third);
    running.store.close().await.unwrap();
}

#[tokio::test]
async fn wherever_the_disk_stops_a_held_call_passes_at_most_once() {
    let host = Host::found();
    // A node that has run before: what it made then is not made while it holds.
    let disk = Disk::holding(Vec::new(), usize::MAX);
    let running = host.start(&disk).unwrap();
    let call = host.held(&running).await;
    running.store.close().await.unwrap();
    let began = disk.lock().unwrap().current.clone();
    let (mut stop, mut lives) = (0, [0; 4]);
    loop {
        let disk = Disk::holding(began.clone(), stop);
        let Some(running) = host.start(&disk) else {
            stop += 1;
            continue;
        };
        let told = live(&running, &call).await;
        // As of this moment: what the writer still has is not acknowledged.
        let left = disk.lock().unwrap().clone();
        let reached = [told.held.is_some(), told.answered, told.acted];
        lives[reached.iter().filter(|r| **r).count()] += 1;
        let images = [
            ("killed", left.current.clone()),
            ("power lost", left.synced.clone()),
            ("torn", left.torn(stop as u64 + 1)),
        ];
        drop(running.store.close().await);
        for (how, image) in images {
            let at = format!("stop {stop}, {how}, {told:?}");
            verify(&host, image, &told, &call, &at).await;
        }
        if told.acted && !left.stopped {
            break;
        }
        stop += 1;
        assert!(stop < 10_000, "the life of an approval never ends");
    }
    // It stopped in every part of that life.
    assert!(lives.iter().all(|count| *count > 0), "{lives:?}");
}
