//! One client session with one attached server, over however many links that takes.
//!
//! Invariants: the session exists as long as its [`UpstreamSession`]; at most one link at a
//! time; a request goes out at most once, unless the server certainly did not see it (the link
//! was gone before it was written, or the server said 404 for the session); a new link begins
//! with the client's own `initialize`, and with `notifications/initialized` if the client had
//! said it. What else the client had set up within the old process (subscriptions, log level)
//! is not replayed.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::id::Digest;
use protocol::mcp::{Edit, MessageKind, View};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::call::{Call, drive};
use super::defined::Listed;
use super::error::Failure;
use super::http::HttpLink;
use super::link::{Link, LinkError};
use super::messages;
use super::router::{Registered, Router, lock};
use super::server::{Counters, Server};
use super::spec::ServerSpec;
use super::stdio::ProcessLink;
use crate::session::{MESSAGE_QUEUE, McpCall, McpSession, OpenSession, SessionError};

/// A session with a server attached to this node.
pub struct UpstreamSession {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) server: Arc<Server>,
    pub(super) router: Arc<Router>,
    /// The client's `initialize`, as it came.
    initialize: Bytes,
    /// What the first answer to it fixed.
    version: Mutex<Option<String>>,
    /// The client's `notifications/initialized`, once it said it.
    initialized: Mutex<Option<Bytes>>,
    link: Mutex<Option<Link>>,
    /// Links made so far; held while one is being made.
    making: tokio::sync::Mutex<u64>,
    /// The place among the server's sessions; none for this node's own.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    pub(super) closed: CancellationToken,
    gone: CancellationToken,
    /// The tools as the server of this session lists them, once a call wanted to know.
    pub(super) listed: tokio::sync::Mutex<Listed>,
}

impl UpstreamSession {
    /// Opens a session with the client's `initialize`. `permit` is its place among the server's
    /// sessions; `counters` are told what happens in it.
    pub(super) async fn open(
        server: Arc<Server>,
        counters: Arc<Counters>,
        initialize: Bytes,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<OpenSession, Failure> {
        let caller_id = initialize_id(&initialize)?;
        server.admit_start()?;
        let own = permit.is_none();
        let (router, events) = Router::new(Arc::clone(&server.limits), counters);
        let inner = Arc::new(Inner {
            closed: server.removed.child_token(),
            server,
            router,
            initialize,
            version: Mutex::default(),
            initialized: Mutex::default(),
            link: Mutex::default(),
            making: tokio::sync::Mutex::new(1),
            permit: Mutex::new(permit),
            gone: CancellationToken::new(),
            listed: tokio::sync::Mutex::default(),
        });
        inner
            .server
            .tracker
            .spawn(Inner::clean_up(Arc::clone(&inner)));
        // From here on dropping it ends whatever was started.
        let session = Self { inner };
        let inner = &session.inner;
        let (link, answer) = match inner.connect(1).await {
            Ok(connected) => connected,
            Err(failure) => {
                if own {
                    inner.server.start_failed(&failure);
                } else {
                    inner.server.start_failed_for_client(&failure);
                }
                return Err(failure);
            }
        };
        inner.server.start_succeeded();
        inner.router.link_started();
        *lock(&inner.version) = answer.version;
        inner.keep(link)?;
        let response = View::parse(&answer.response)?
            .splice(&[Edit::Id(&caller_id)])?
            .into();
        Ok(OpenSession {
            response,
            session: Arc::new(session),
            events,
        })
    }
}

impl Drop for UpstreamSession {
    fn drop(&mut self) {
        self.inner.closed.cancel();
    }
}

/// What a server said to `initialize`.
struct Answer {
    response: Bytes,
    /// `protocolVersion` of the result; none in an error or a strange result.
    version: Option<String>,
    accepted: bool,
}

impl Inner {
    /// The link, if it can be used.
    pub(super) fn current(&self) -> Option<Link> {
        lock(&self.link)
            .clone()
            .filter(|link| !link.down().is_cancelled())
    }

    /// The link, made anew if it is gone.
    pub(super) async fn live(&self) -> Result<Link, Failure> {
        let mut count = self.making.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if self.closed.is_cancelled() {
            return Err(Failure::Closed);
        }
        let old = lock(&self.link).take();
        if let Some(old) = old {
            // Once it is gone its death is on record, so that the next line knows.
            old.close().await;
        }
        self.router.admit()?;
        self.server.admit_start()?;
        *count = count.saturating_add(1);
        let made = self.remake(*count).await;
        match made {
            Ok(link) => {
                self.server.counters.count_restart();
                self.server.start_succeeded();
                self.router.link_started();
                self.keep(link.clone())?;
                Ok(link)
            }
            Err(failure) => {
                self.server.start_failed_for_client(&failure);
                self.router.delay(&failure);
                Err(failure)
            }
        }
    }

    /// Makes `link` the session's own, unless the session ended while it was made.
    fn keep(&self, link: Link) -> Result<(), Failure> {
        let mut slot = lock(&self.link);
        // The order matters: `clean_up` cancels first and takes the link then.
        if self.closed.is_cancelled() {
            return Err(Failure::Closed);
        }
        *slot = Some(link);
        Ok(())
    }

    /// A new link, brought to where the old one was.
    async fn remake(&self, number: u64) -> Result<Link, Failure> {
        let (link, answer) = self.connect(number).await?;
        match self.catch_up(&link, &answer).await {
            Ok(()) => Ok(link),
            Err(failure) => {
                link.close().await;
                Err(failure)
            }
        }
    }

    async fn catch_up(&self, link: &Link, answer: &Answer) -> Result<(), Failure> {
        if !answer.accepted {
            return Err(Failure::BadInitialize {
                detail: "the restarted server answered with an error".into(),
            });
        }
        if answer.version != *lock(&self.version) {
            return Err(Failure::Changed {
                detail: "it speaks another protocol version".into(),
            });
        }
        let initialized = lock(&self.initialized).clone();
        if let Some(message) = initialized {
            link.send(message).await.map_err(|error| match error {
                LinkError::NotSent => Failure::Start {
                    detail: "it ended right after its start".into(),
                },
                LinkError::Failed(failure) => failure,
            })?;
            link.initialized();
        }
        Ok(())
    }

    /// Makes a link and has the server answer `initialize`.
    async fn connect(&self, number: u64) -> Result<(Link, Answer), Failure> {
        let link = match &self.server.spec {
            ServerSpec::Command { .. } => {
                Link::Process(ProcessLink::start(&self.server, &self.router, number)?)
            }
            ServerSpec::Url { .. } => {
                Link::Http(HttpLink::new(&self.server, &self.router, number)?)
            }
        };
        let own = self.router.register_own();
        self.router.bind(own.id, number);
        let message: Bytes = View::parse(&self.initialize)?
            .splice(&[Edit::Id(&own.id.to_string())])?
            .into();
        let after = self.server.limits.initialize_timeout;
        let response = tokio::select! {
            biased;
            () = self.closed.cancelled() => return Err(Failure::Closed),
            () = sleep(after) => return Err(Failure::InitializeTimeout { after }),
            response = first_answer(own, &link, &message) => response?,
        };
        let answer = read_answer(response)?;
        if let Some(version) = &answer.version {
            link.negotiated(version);
        }
        Ok((link, answer))
    }

    /// Waits for the end of the session and leaves nothing behind.
    async fn clean_up(inner: Arc<Self>) {
        inner.closed.cancelled().await;
        inner.router.close();
        let link = lock(&inner.link).take();
        if let Some(link) = link {
            link.close().await;
        }
        drop(lock(&inner.permit).take());
        inner.gone.cancel();
    }

    /// The bytes that go to the server for a message of the client that is no request, if any.
    pub(super) fn admit_answer(&self, view: &View<'_>) -> Result<(), Failure> {
        match view.kind() {
            MessageKind::Request => Err(Failure::WrongKind {
                expected: "a notification or a response",
            }),
            MessageKind::Notification => Ok(()),
            MessageKind::Response | MessageKind::ErrorResponse => {
                let raw = view.id().ok_or(Failure::UnknownServerRequest)?;
                self.router.answers(raw)
            }
        }
    }

    async fn send_now(&self, message: Bytes) -> Result<(), Failure> {
        let Some(link) = self.current() else {
            self.router.admit()?;
            return Err(self.gone());
        };
        let stall = self.server.limits.stall;
        match tokio::time::timeout(stall, link.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(LinkError::Failed(failure))) => Err(failure),
            Ok(Err(LinkError::NotSent)) => Err(self.gone()),
            Err(_) => Err(Failure::ServerStalled),
        }
    }

    /// There is no link, and only a request makes a new one.
    fn gone(&self) -> Failure {
        match &self.server.spec {
            ServerSpec::Url { .. } => Failure::SessionLost,
            ServerSpec::Command { .. } => Failure::Exited {
                detail: "it was not started again yet".into(),
            },
        }
    }

    async fn begin_request(self: &Arc<Self>, message: Bytes) -> Result<McpCall, Failure> {
        if self.closed.is_cancelled() {
            return Err(Failure::Closed);
        }
        let view = View::parse(&message)?;
        if view.kind() != MessageKind::Request {
            return Err(Failure::WrongKind {
                expected: "a request",
            });
        }
        self.router.admit()?;
        let (outbound_tx, outbound) = mpsc::channel(MESSAGE_QUEUE);
        let registered = self.router.register(&view, outbound_tx.clone())?;
        let spliced: Bytes = view.splice(&[Edit::Id(&registered.id.to_string())])?.into();
        let begun = match self.current() {
            None => None,
            Some(link) => {
                self.router.bind(registered.id, link.number());
                link.begin(&spliced).await.is_ok().then_some(link)
            }
        };
        let Registered {
            id,
            to_caller,
            inbound,
            ended,
            activity,
            claim,
        } = registered;
        let driving = Box::pin(drive(Arc::clone(self), id, spliced, begun));
        let call = Call {
            inner: Arc::clone(self),
            id,
            to_caller,
            ended,
            activity,
            outbound,
            cancelled_at: None,
            _claim: claim,
        };
        self.server.tracker.spawn(call.run(driving));
        Ok(McpCall {
            inbound,
            outbound: outbound_tx,
        })
    }

    async fn say(&self, message: Bytes) -> Result<(), Failure> {
        if self.closed.is_cancelled() {
            return Err(Failure::Closed);
        }
        let view = View::parse(&message)?;
        self.admit_answer(&view)?;
        match view.method() {
            Some("notifications/cancelled") => {
                let call = view
                    .cancelled_id()
                    .and_then(|raw| self.router.cancelled(raw));
                if let Some((_, outbound)) = call {
                    // To the call itself, so that it cannot overtake the request. Its end
                    // meanwhile is the usual race and no error.
                    let _ = outbound.send(message.clone()).await;
                }
                Ok(())
            }
            Some("notifications/initialized") => {
                *lock(&self.initialized) = Some(message.clone());
                self.send_now(message.clone()).await?;
                if let Some(link) = self.current() {
                    link.initialized();
                }
                Ok(())
            }
            _ => self.send_now(message.clone()).await,
        }
    }
}

#[async_trait]
impl McpSession for UpstreamSession {
    async fn request(&self, message: Bytes) -> Result<McpCall, SessionError> {
        let begun = self.inner.begin_request(message).await;
        begun.map_err(|failure| failure.at(&self.inner.server.name))
    }

    async fn send(&self, message: Bytes) -> Result<(), SessionError> {
        let said = self.inner.say(message).await;
        said.map_err(|failure| failure.at(&self.inner.server.name))
    }

    async fn defines_as(&self, tool: &str, digest: &Digest) -> Result<bool, SessionError> {
        let defines = self.inner.defines_as(tool, digest).await;
        defines.map_err(|failure| failure.at(&self.inner.server.name))
    }

    async fn close(&self) {
        self.inner.closed.cancel();
        self.inner.gone.cancelled().await;
    }
}

/// The raw id of an `initialize` request.
fn initialize_id(message: &Bytes) -> Result<String, Failure> {
    let view = View::parse(message)?;
    match (view.kind(), view.method(), view.id()) {
        (MessageKind::Request, Some("initialize"), Some(id)) => Ok(id.to_owned()),
        _ => Err(Failure::WrongKind {
            expected: "an `initialize` request",
        }),
    }
}

/// Sends this node's own request and waits for its response.
pub(super) async fn first_answer(
    mut own: Registered,
    link: &Link,
    message: &Bytes,
) -> Result<Bytes, Failure> {
    let ended_early = || Failure::Start {
        detail: "it ended before it answered".into(),
    };
    link.begin(message).await.map_err(|_| ended_early())?;
    let finish = link.finish(own.id, message);
    tokio::pin!(finish);
    let mut finished = false;
    let mut ended = false;
    loop {
        tokio::select! {
            biased;
            response = own.inbound.recv() => {
                return response.unwrap_or(Err(SessionError::new(
                    crate::session::ErrorKind::Upstream, "upstream_start_failed", "",
                ))).map_err(|_| ended_early());
            }
            end = &mut own.ended, if !ended => match end {
                Ok(super::router::End::Answered) => ended = true,
                Ok(super::router::End::Failed(Failure::Exited { detail })) => {
                    return Err(Failure::Start {
                        detail: format!("it ended before it answered: {detail}"),
                    });
                }
                Ok(super::router::End::Failed(failure)) => return Err(failure),
                Err(_) => return Err(ended_early()),
            },
            result = &mut finish, if !finished => match result {
                Ok(()) if ended => finished = true,
                Ok(()) => return own.inbound.try_recv().ok().and_then(Result::ok)
                    .ok_or_else(ended_early),
                Err(LinkError::NotSent) => return Err(Failure::SessionLost),
                Err(LinkError::Failed(failure)) => return Err(failure),
            },
        }
    }
}

/// Reads what the node must know of the answer: whether it accepts, and the version.
fn read_answer(response: Bytes) -> Result<Answer, Failure> {
    #[derive(serde::Deserialize)]
    struct Result<'a> {
        #[serde(borrow, rename = "protocolVersion")]
        version: std::borrow::Cow<'a, str>,
    }
    let view = View::parse(&response)?;
    let accepted = view.kind() == MessageKind::Response;
    let version = view
        .result()
        .and_then(|raw| serde_json::from_str::<Result<'_>>(raw).ok())
        .map(|result| result.version.into_owned());
    Ok(Answer {
        response,
        version,
        accepted,
    })
}

/// `notifications/cancelled` for a call nobody waits for any more, if the link still takes it.
pub(super) async fn tell_cancelled(inner: &Inner, id: super::router::CallId) {
    if let Some(message) = messages::cancelled(id) {
        // There is nobody left to tell of a failure.
        let _ = inner.send_now(message).await;
    }
}

impl Inner {
    /// Sends within a call; failures are the call's own affair.
    pub(super) async fn send_within(&self, message: Bytes) -> Result<(), Failure> {
        self.send_now(message).await
    }
}
