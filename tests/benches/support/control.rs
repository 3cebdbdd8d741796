//! The control API of a node, over its socket: what the commands do, without the time a command
//! takes to start.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Where a node listens for its operator.
pub(crate) struct Control {
    socket: PathBuf,
}

impl Control {
    /// Of the node with this state directory.
    pub(crate) fn of(state: &Path) -> Self {
        let socket = state.join("control.sock");
        Self { socket }
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> T {
        let text = self.ask(Method::GET, path, String::new()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) async fn submit<B: Serialize, T: DeserializeOwned>(&self, path: &str, b: &B) -> T {
        let text = self.ask(Method::POST, path, written(b)).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The last line of an answer of several.
    pub(crate) async fn last<B: Serialize, T: DeserializeOwned>(&self, path: &str, b: &B) -> T {
        let text = self.ask(Method::POST, path, written(b)).await;
        let last = text.lines().last().expect("a line");
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> String {
        let stream = UnixStream::connect(&self.socket).await.expect("it listens");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/1.1");
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "hedgerow")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(bytes::Bytes::from(body)))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a body");
        String::from_utf8_lossy(&body.to_bytes()).into_owned()
    }
}

fn written<B: Serialize>(body: &B) -> String {
    serde_json::to_string(body).expect("JSON")
}
