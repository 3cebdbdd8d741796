//! The run: one receiver, its senders, the network between them and the observer, stepped from
//! event to event in virtual time.

use std::collections::BTreeMap;

use protocol::crypto::Crypto;
use protocol::envelope::stream::CallIdentity;
use protocol::envelope::{Direction, Header, Kind, SealedEnvelope, UnverifiedEnvelope};
use protocol::id::{EnvelopeId, MeshId, RequestId, SessionId};
use protocol::time::{UnixMillis, UnixSeconds};

use super::envelopes::{Common, Message, envelope};
use super::invariants::Invariants;
use super::network::{Captured, Network};
use super::receiver::{Act, Delivery, Outcome, Receiver};
use super::report::Report;
use super::scenario::Scenario;
use super::sender::{Answer, Sender};
use crate::fake::{FakeCrypto, FakeNode};
use crate::queue::Queue;
use crate::rng::Rng;

/// True time at the beginning: far enough from 1970 that every clock can be off.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// How long the receiver has been up when the first call begins, so that a sender whose clock is
/// behind does not seem to call from before it started.
const UP_BEFORE_MS: u64 = 10_000;

/// Milliseconds between the messages of one call.
const PACE_MS: u64 = 5;

/// How often the receiver forgets old floors.
const PRUNE_MS: u64 = 60_000;

/// A call that its sender would copy if it stays unanswered.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    sender: usize,
    request: RequestId,
    /// The first envelope of it.
    first: EnvelopeId,
    /// When that was issued.
    issued: UnixSeconds,
    /// How many copies may follow.
    left: u64,
}

/// Everything that can happen.
#[derive(Debug)]
enum Event {
    /// A sender begins a call, and plans its next one.
    Begin {
        sender: usize,
    },
    /// A sender sends its `left` remaining messages.
    Continue {
        sender: usize,
        request: RequestId,
        left: u64,
    },
    /// A sender looks whether a call was answered.
    Retry(Attempt),
    /// An envelope reaches the receiver.
    Deliver(Delivery),
    /// An answer reaches a sender.
    Answer {
        sender: usize,
        bytes: Vec<u8>,
    },
    /// The receiver sends the next of `left` answers, the last of them final.
    Reply {
        process: u64,
        sender: usize,
        request: RequestId,
        left: u64,
    },
    /// A write of the receiver comes back.
    Written {
        process: u64,
        number: u64,
    },
    /// The receiver stops, and starts again.
    Stop,
    Start,
    /// The receiver forgets old floors.
    Prune,
    /// The receiver's clock steps.
    ClockStep(i64),
}

/// One run.
struct World<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    queue: Queue<Event>,
    network: Network,
    common: Common,
    receiver: Receiver,
    clock_off: i64,
    /// Counts restarts: what an earlier process began is void.
    process: u64,
    senders: Vec<Sender>,
    /// What the receiver sent in answer, by request.
    sent: BTreeMap<RequestId, Vec<EnvelopeId>>,
    invariants: Invariants,
    report: Report,
    trace: [u8; 32],
}

/// Runs `scenario` with `seed` to its end.
pub(crate) fn run(name: &str, scenario: &Scenario, seed: u64) -> anyhow::Result<Report> {
    let mut world = World::new(name, scenario, seed)?;
    world.plan();
    while let Some(event) = world.queue.pop() {
        world.report.events += 1;
        world.step(event)?;
    }
    Ok(world.finish())
}

impl<'a> World<'a> {
    fn new(name: &str, scenario: &'a Scenario, seed: u64) -> anyhow::Result<Self> {
        let mut rng = Rng::new(seed);
        let common = Common {
            mesh: MeshId::from_bytes(rng.bytes()),
            session: SessionId::from_bytes(rng.bytes()),
            name: "simulated".parse()?,
            life_s: scenario.load.life_s,
        };
        let node = FakeNode::new(&mut rng);
        let start = UnixMillis(EPOCH_MS - UP_BEFORE_MS).seconds();
        let receiver = Receiver::new(node, common.mesh, scenario.sabotage, start);
        let off = scenario.load.clock_off_ms;
        let senders = (0..scenario.load.senders).map(|_| Sender {
            node: FakeNode::new(&mut rng),
            clock_off: i64::try_from(rng.between(0, 2 * off)).unwrap_or(0)
                - i64::try_from(off).unwrap_or(0),
            calls: BTreeMap::new(),
        });
        let senders = senders.collect();
        Ok(Self {
            scenario,
            rng,
            queue: Queue::new(),
            network: Network::new(scenario.network.clone()),
            common,
            receiver,
            clock_off: 0,
            process: 0,
            senders,
            sent: BTreeMap::new(),
            invariants: Invariants::default(),
            report: Report::new(name, seed),
            trace: [0; 32],
        })
    }

    fn plan(&mut self) {
        for sender in 0..self.senders.len() {
            let after = self.rng.between(0, self.scenario.load.every_ms);
            self.queue.after(after, Event::Begin { sender });
        }
        for step in &self.scenario.clock_steps {
            self.queue.after(step.at_ms, Event::ClockStep(step.by_ms));
        }
        self.plan_stop();
        self.plan_prune();
    }

    fn plan_prune(&mut self) {
        if self.queue.now + PRUNE_MS < self.scenario.seconds * 1000 {
            self.queue.after(PRUNE_MS, Event::Prune);
        }
    }

    fn plan_stop(&mut self) {
        let every = self.scenario.restarts.every_ms;
        let after = self.rng.between(every / 2, every.saturating_mul(3) / 2);
        if every > 0 && self.queue.now + after < self.scenario.seconds * 1000 {
            self.queue.after(after, Event::Stop);
        }
    }

    /// True time.
    fn time(&self) -> UnixMillis {
        UnixMillis(EPOCH_MS + self.queue.now)
    }

    /// The receiver's time.
    fn clock(&self) -> UnixMillis {
        UnixMillis(self.time().0.saturating_add_signed(self.clock_off))
    }

    fn step(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Begin { sender } => self.begin(sender),
            Event::Continue {
                sender,
                request,
                left,
            } => self.go_on(sender, request, left),
            Event::Retry(attempt) => self.retry(attempt),
            Event::Deliver(delivery) => self.deliver(&delivery),
            Event::Answer { sender, bytes } => self.answer(sender, &bytes),
            Event::Reply {
                process,
                sender,
                request,
                left,
            } => self.reply(process, sender, request, left),
            Event::Written { process, number } => self.written(process, number),
            Event::Stop => self.stop(),
            Event::Start => self.start(),
            Event::Prune => self.prune(),
            Event::ClockStep(by) => {
                self.clock_off += by;
                self.note(&format!("clock {by}"));
                Ok(())
            }
        }
    }

    /// Adds one line to the trace.
    fn note(&mut self, what: &str) {
        let now = self.queue.now.to_be_bytes();
        self.trace = FakeCrypto.sha256(&[&self.trace, &now, what.as_bytes()]);
    }

    fn begin(&mut self, sender: usize) -> anyhow::Result<()> {
        let request = RequestId::from_bytes(self.rng.bytes());
        self.report.calls += 1;
        self.first(sender, request)?;
        let every = self.scenario.load.every_ms;
        let after = self
            .rng
            .between(every / 2, every.saturating_mul(3) / 2)
            .max(1);
        if self.queue.now + after < self.scenario.seconds * 1000 {
            self.queue.after(after, Event::Begin { sender });
        }
        Ok(())
    }

    /// Sends the envelope that begins a call.
    fn first(&mut self, sender: usize, request: RequestId) -> anyhow::Result<()> {
        let (first, issued) = self.send_first(sender, request, None)?;
        let left = self.scenario.load.messages;
        if left > 0 {
            self.plan_continue(sender, request, left);
        }
        self.plan_retry(Attempt {
            sender,
            request,
            first,
            issued,
            left: self.scenario.load.retries,
        });
        Ok(())
    }

    /// Sends the envelope that begins a call, or a copy of the one that `copies` describes.
    fn send_first(
        &mut self,
        sender: usize,
        request: RequestId,
        copies: Option<Attempt>,
    ) -> anyhow::Result<(EnvelopeId, UnixSeconds)> {
        let message = Message {
            kind: Kind::Request,
            direction: Direction::ToServer,
            request,
            sequence: 0,
            parent: copies.map(|c| c.first),
            first_issued: copies.map(|c| c.issued),
            end: None,
        };
        let (sealed, iat) = self.sign(sender, &message)?;
        let first = sealed.id;
        if let Some(from) = self.senders.get_mut(sender) {
            from.begin(&CallIdentity {
                request_id: request,
                session: self.common.session,
                server: self.common.name.clone(),
                human: None,
                first,
            });
        }
        self.send(sender, sealed);
        Ok((first, iat))
    }

    fn plan_retry(&mut self, attempt: Attempt) {
        if let Some(after) = self.scenario.load.retry_ms
            && attempt.left > 0
        {
            self.queue.after(after, Event::Retry(attempt));
        }
    }

    fn plan_continue(&mut self, sender: usize, request: RequestId, left: u64) {
        let go_on = Event::Continue {
            sender,
            request,
            left,
        };
        self.queue.after(PACE_MS, go_on);
    }

    fn go_on(&mut self, sender: usize, request: RequestId, left: u64) -> anyhow::Result<()> {
        let call = self.senders.get(sender).and_then(|s| s.calls.get(&request));
        let Some(call) = call else {
            return Ok(()); // answered already
        };
        let message = Message::next(&call.to_server, Kind::Notification, Direction::ToServer);
        let (sealed, _) = self.sign(sender, &message)?;
        let call = self.senders.get_mut(sender);
        if let Some(call) = call.and_then(|s| s.calls.get_mut(&request)) {
            call.to_server
                .push(&FakeCrypto, sealed.id, Kind::Notification);
        }
        self.send(sender, sealed);
        if left > 1 {
            self.plan_continue(sender, request, left - 1);
        }
        Ok(())
    }

    fn retry(&mut self, attempt: Attempt) -> anyhow::Result<()> {
        let Attempt {
            sender, request, ..
        } = attempt;
        let call = self.senders.get(sender).and_then(|s| s.calls.get(&request));
        if call.is_some_and(|call| call.taken.is_empty()) {
            self.send_first(sender, request, Some(attempt))?;
            let left = attempt.left - 1;
            self.plan_retry(Attempt { left, ..attempt });
        }
        Ok(())
    }

    /// Seals a message at the sender's time, and says which second that was.
    fn sign(
        &mut self,
        sender: usize,
        message: &Message,
    ) -> anyhow::Result<(SealedEnvelope, UnixSeconds)> {
        let time = self.time();
        let from = self.senders.get(sender);
        let from = from.ok_or_else(|| anyhow::anyhow!("no sender {sender}"))?;
        let (to, iat) = (self.receiver.node.id, from.second(time));
        let sealed = envelope(&mut self.rng, &self.common, &from.node, to, iat, message)?;
        Ok((sealed, iat))
    }

    fn send(&mut self, sender: usize, sealed: SealedEnvelope) {
        let bytes = sealed.bytes;
        let now = self.queue.now;
        let after = self.network.deliveries(&mut self.rng, now, sender, true);
        for (copy, after) in after.into_iter().enumerate() {
            let delivery = Delivery {
                sender,
                honest: copy == 0,
                bytes: bytes.clone(),
            };
            self.queue.after(after, Event::Deliver(delivery));
        }
        let seen = Captured { sender, bytes };
        if let Some(after) = self.network.capture(&mut self.rng, seen.clone()) {
            self.play(seen, after);
        }
    }

    /// The adversary plays a captured envelope.
    fn play(&mut self, captured: Captured, after: u64) {
        let delivery = Delivery {
            sender: captured.sender,
            honest: false,
            bytes: captured.bytes,
        };
        self.queue.after(after, Event::Deliver(delivery));
    }

    fn deliver(&mut self, delivery: &Delivery) -> anyhow::Result<()> {
        if !self.receiver.is_up() {
            self.refuse("receiver_down");
            return Ok(());
        }
        let (at, clock) = (self.queue.now, self.clock());
        let parsed = UnverifiedEnvelope::parse(&delivery.bytes)?;
        let (id, header) = (parsed.id(&FakeCrypto), parsed.header().clone());
        let started = self.receiver.started();
        let must = self.invariants.must_accept(&header, &id, clock, started);
        let judged = delivery.honest && header.begins_call();
        let from = self.senders.get(delivery.sender);
        let from = from.ok_or_else(|| anyhow::anyhow!("no sender {}", delivery.sender))?;
        let outcome = self.receiver.receive(delivery, &from.node, clock);
        match outcome {
            Outcome::Refused(reason) => {
                if judged {
                    self.invariants.refused(at, must, reason);
                }
                self.refuse(reason);
            }
            Outcome::Behind => self.note("behind"),
            Outcome::Writing(number) => {
                self.accepted(id, &header);
                self.plan_write(number);
            }
            Outcome::Act(act, renewal) => {
                self.accepted(id, &header);
                if let Some(number) = renewal {
                    self.report.renewals += 1;
                    self.plan_write(number);
                }
                self.act(&act);
            }
        }
        Ok(())
    }

    fn refuse(&mut self, reason: &'static str) {
        *self.report.refused.entry(reason.to_owned()).or_default() += 1;
        self.note(reason);
    }

    fn accepted(&mut self, id: EnvelopeId, header: &Header) {
        self.invariants.passed(id, header);
        let remembered = self.receiver.window_len();
        self.report.peak_remembered = self.report.peak_remembered.max(remembered);
        self.invariants.memory(self.queue.now, remembered);
    }

    fn plan_write(&mut self, number: u64) {
        let process = self.process;
        let average = self.scenario.store.write_ms;
        let after = self.rng.between(average / 2, average + average / 2);
        self.queue.after(after, Event::Written { process, number });
    }

    fn written(&mut self, process: u64, number: u64) -> anyhow::Result<()> {
        if process != self.process || !self.receiver.is_up() {
            return Ok(());
        }
        let freed = if self.rng.chance(self.scenario.store.fail) {
            if self.receiver.is_awaited(number) {
                self.refuse("store_unavailable");
            } else {
                self.note("renewal failed");
            }
            let reached = self.rng.chance(500);
            self.receiver.failed(number, reached)
        } else {
            self.receiver.written(number)
        };
        if let Some(act) = freed.act {
            self.act(&act);
        }
        for delivery in &freed.behind {
            self.deliver(delivery)?;
        }
        Ok(())
    }

    fn act(&mut self, act: &Act) {
        self.report.acted += 1;
        self.note(&act.id.to_string());
        self.invariants.acted(self.queue.now, act.id, &act.header);
        if !self.receiver.act(act) || !act.header.begins_call() {
            return;
        }
        let issuer = act.header.cwt.iss;
        let sender = self.senders.iter().position(|s| s.node.id == issuer);
        let request = act.header.claims.request_id;
        self.sent.insert(request, Vec::new());
        if let Some(sender) = sender {
            let left = self.scenario.load.messages;
            self.plan_reply(sender, request, left);
        }
    }

    fn plan_reply(&mut self, sender: usize, request: RequestId, left: u64) {
        let reply = Event::Reply {
            process: self.process,
            sender,
            request,
            left,
        };
        self.queue.after(PACE_MS, reply);
    }

    fn reply(
        &mut self,
        process: u64,
        sender: usize,
        request: RequestId,
        left: u64,
    ) -> anyhow::Result<()> {
        let iat: UnixSeconds = self.clock().seconds();
        if process != self.process || !self.receiver.is_up() {
            return Ok(());
        }
        let Some(call) = self.receiver.call(&request) else {
            return Ok(());
        };
        let kind = if left == 0 {
            Kind::Response
        } else {
            Kind::Notification
        };
        let (to, message) = (
            call.issuer,
            Message::next(&call.to_client, kind, Direction::ToClient),
        );
        let from = &self.receiver.node;
        let sealed = envelope(&mut self.rng, &self.common, from, to, iat, &message)?;
        if let Some(call) = self.receiver.call(&request) {
            call.to_client.push(&FakeCrypto, sealed.id, kind);
        }
        self.sent.entry(request).or_default().push(sealed.id);
        let now = self.queue.now;
        for after in self.network.deliveries(&mut self.rng, now, sender, false) {
            let bytes = sealed.bytes.clone();
            self.queue.after(after, Event::Answer { sender, bytes });
        }
        if left > 0 {
            self.plan_reply(sender, request, left - 1);
        } else if self.scenario.load.messages == 0 {
            self.receiver.end_call(&request);
        }
        Ok(())
    }

    fn answer(&mut self, sender: usize, bytes: &[u8]) -> anyhow::Result<()> {
        let (time, mesh) = (self.time(), self.common.mesh);
        let sabotage = self.scenario.sabotage;
        let to = self.senders.get_mut(sender);
        let to = to.ok_or_else(|| anyhow::anyhow!("no sender {sender}"))?;
        match to.receive(bytes, &self.receiver.node, mesh, time, sabotage) {
            Answer::Refused(reason) => {
                let count = self.report.refused_answers.entry(reason.to_owned());
                *count.or_default() += 1;
                self.note(reason);
            }
            Answer::Taken => self.note("taken"),
            Answer::Complete(request, taken) => {
                self.report.completed += 1;
                self.note("complete");
                let sent = self.sent.remove(&request).unwrap_or_default();
                self.invariants
                    .answered(self.queue.now, request, &taken, &sent);
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let crash = self.rng.chance(self.scenario.restarts.crash);
        self.note(if crash { "crash" } else { "stop" });
        if crash {
            let rng = &mut self.rng;
            self.receiver.crash(|| rng.chance(500));
        } else {
            self.receiver.stop();
        }
        let after = self.rng.between(0, self.scenario.restarts.down_max_ms);
        self.queue.after(after, Event::Start);
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.process += 1;
        self.report.restarts += 1;
        self.receiver.start(self.clock().seconds());
        self.invariants.restarted(self.clock().seconds());
        self.note("start");
        for captured in self.network.after_restart() {
            self.play(captured, 0);
        }
        self.plan_stop();
        Ok(())
    }

    fn prune(&mut self) -> anyhow::Result<()> {
        if self.receiver.is_up() {
            self.receiver.prune(self.clock().seconds());
            self.note("prune");
        }
        self.plan_prune();
        Ok(())
    }

    fn finish(mut self) -> Report {
        let at = self.queue.now;
        let expect = &self.scenario.expect;
        if expect.all_complete && self.report.completed != self.report.calls {
            let what = format!("{} of {}", self.report.completed, self.report.calls);
            self.invariants.violate(at, "all_complete", what);
        }
        for reason in &expect.refusals {
            let counts = [&self.report.refused, &self.report.refused_answers];
            if !counts.iter().any(|c| c.contains_key(reason)) {
                let what = format!("no refusal `{reason}`: the scenario does not show it");
                self.invariants.violate(at, "expected_refusals", what);
            }
        }
        let mut report = self.report;
        report.virtual_ms = at;
        report.violated = self.invariants.violations.count;
        report.violations = self.invariants.violations.first;
        report.ok = report.violated == 0;
        report.trace = self.trace.iter().map(|b| format!("{b:02x}")).collect();
        report
    }
}
