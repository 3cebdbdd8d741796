//! The client of a running node's control socket.
//!
//! One connection per request. Answers are bounded; what does not parse is an error that says
//! which version mismatch is likely, never a guess.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::control::{
    CallEvent, CallReply, CallRequest, Failure, MAX_REPLY_BYTES, Spread, SpreadEvent, SpreadQuery,
    route,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::net::UnixStream;

use crate::exit::{Exit, Failed};
use crate::state::State;

/// A way to ask the node of one state directory.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the node of this state directory; nothing is connected yet.
    pub(crate) fn new(state: &State) -> Self {
        Self {
            socket: state.control_socket(),
        }
    }

    /// `GET path`.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let body = self.ask(Method::GET, path, Bytes::new()).await?;
        parsed(&body)
    }

    /// `POST path` with a body.
    pub(crate) async fn submit<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failed> {
        let body = self.ask(Method::POST, path, encoded(body)?).await?;
        parsed(&body)
    }

    /// `DELETE path/name`. A name is inert in a path.
    pub(crate) async fn remove(
        &self,
        path: &str,
        name: &protocol::name::Name,
    ) -> Result<(), Failed> {
        let path = format!("{path}/{name}");
        self.ask(Method::DELETE, &path, Bytes::new()).await?;
        Ok(())
    }

    /// `DELETE path/id`. An id in hexadecimal is inert in a path.
    pub(crate) async fn forget(&self, path: &str, id: &protocol::id::Digest) -> Result<(), Failed> {
        let path = format!("{path}/{id}");
        self.ask(Method::DELETE, &path, Bytes::new()).await?;
        Ok(())
    }

    /// Calls a tool; `notify` is given the server's notifications as they come. Dropping the
    /// future abandons the call.
    pub(crate) async fn call(
        &self,
        call: &CallRequest,
        mut notify: impl FnMut(&RawValue),
    ) -> Result<CallReply, Failed> {
        let mut lines = self.lines(route::CALL, call).await?;
        while let Some(line) = lines.next().await? {
            match parsed(&line)? {
                CallEvent::Notification(notification) => notify(&notification),
                CallEvent::Reply(reply) => return Ok(reply),
                CallEvent::Failure(failure) => return Err(failure.into()),
            }
        }
        Err(Failed::new(
            Exit::Failure,
            "the node ended the call without saying what came of it",
        ))
    }

    /// Asks how far a revocation has spread; `progress` is given what is known while it grows.
    pub(crate) async fn spread(
        &self,
        query: &SpreadQuery,
        mut progress: impl FnMut(&Spread),
    ) -> Result<Spread, Failed> {
        let mut lines = self.lines(route::SPREAD, query).await?;
        while let Some(line) = lines.next().await? {
            match parsed(&line)? {
                SpreadEvent::Progress(spread) => progress(&spread),
                SpreadEvent::Done(spread) => return Ok(spread),
                SpreadEvent::Failure(failure) => return Err(failure.into()),
            }
        }
        Err(Failed::new(
            Exit::Failure,
            "the node ended its answer early",
        ))
    }

    /// `POST path` with a body, for an answer of lines.
    async fn lines<B: Serialize>(&self, path: &str, body: &B) -> Result<Answer, Failed> {
        let response = self.send(Method::POST, path, encoded(body)?).await?;
        if response.status() != StatusCode::OK {
            return Err(refused(&collected(response).await?));
        }
        Ok(Answer {
            body: response.into_body(),
            lines: Lines::default(),
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failed> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let body = collected(response).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(refused(&body))
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failed> {
        let stream = connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // Ends with the response's body, or when `sender` and the body are dropped.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "hedgerow")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failed::input(format!("`{path}` cannot be asked for: {error}")))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))
    }
}

/// Connects to a socket of a running node.
pub(crate) async fn connect(socket: &Path) -> Result<UnixStream, Failed> {
    UnixStream::connect(socket).await.map_err(|error| {
        let shown = socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failed::new(
                Exit::Failure,
                format!("no node is running here: nothing answers on `{shown}`"),
            )
            .with_reason("no_node")
            .with_hint(
                "start one with `hedgerow up`, or name its state directory with `--state-dir`",
            ),
            io::ErrorKind::PermissionDenied => Failed::new(
                Exit::Denied,
                format!("this user may not connect to `{shown}`"),
            )
            .with_hint("run the command as the user the node runs as, or as root"),
            _ => Failed::new(
                Exit::Failure,
                format!("cannot connect to `{shown}`: {error}"),
            ),
        }
    })
}

fn encoded<B: Serialize>(body: &B) -> Result<Bytes, Failed> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| Failed::input(format!("the request cannot be written as JSON: {error}")))
}

async fn collected(response: Response<Incoming>) -> Result<Bytes, Failed> {
    match Limited::new(response.into_body(), MAX_REPLY_BYTES)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Failed::new(
            Exit::Failure,
            format!("the node's answer broke off: {error}"),
        )),
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!("the node's answer is not understood: {error}"),
        )
        .with_hint("use the `hedgerow` command of the version the node runs")
    })
}

fn refused(body: &[u8]) -> Failed {
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => failure.into(),
        Err(_) => Failed::new(Exit::Failure, "the node refused without saying why"),
    }
}

fn broken(error: &hyper::Error) -> Failed {
    Failed::new(
        Exit::Failure,
        format!("the connection to the node broke: {error}"),
    )
    .with_hint("see whether it still runs: `hedgerow status`")
}

fn too_large() -> Failed {
    Failed::new(
        Exit::Failure,
        format!("the node's answer is larger than {MAX_REPLY_BYTES} bytes"),
    )
}

/// An answer of lines that is still coming.
struct Answer {
    body: Incoming,
    lines: Lines,
}

impl Answer {
    /// The next line, or none at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failed> {
        loop {
            if let Some(line) = self.lines.next() {
                return Ok(Some(line));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                self.lines.extend(&data)?;
            }
        }
    }
}

/// Lines out of a stream of chunks, none longer than [`MAX_REPLY_BYTES`].
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
    /// How much of `pending` is known to hold no line break.
    searched: usize,
}

impl Lines {
    fn extend(&mut self, data: &[u8]) -> Result<(), Failed> {
        if self.pending.len().saturating_add(data.len()) > MAX_REPLY_BYTES {
            return Err(too_large());
        }
        self.pending.extend_from_slice(data);
        Ok(())
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.pending.get(self.searched..).unwrap_or_default();
        let Some(at) = rest.iter().position(|&byte| byte == b'\n') else {
            self.searched = self.pending.len();
            return None;
        };
        let rest = self.pending.split_off(self.searched + at + 1);
        let mut line = core::mem::replace(&mut self.pending, rest);
        self.searched = 0;
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_chunks() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for chunk in ["{\"a\"", ":1}\n{", "}", "\n\nrest"] {
            lines.extend(chunk.as_bytes()).unwrap();
            while let Some(line) = lines.next() {
                seen.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(seen, ["{\"a\":1}", "{}", ""]);
        assert!(lines.extend(&vec![0; MAX_REPLY_BYTES]).is_err());
    }
}
