//! What the daemon reads by itself: frames, call streams, its configuration; and the sample server.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use node::call::wire::{EnvelopeFrame, RefusalFrame};
use node::config::Config;
use node::sample::{Table, serve};
use node::transport::frame::{FrameReader, FrameType};
use protocol::mcp::View;

use crate::seeds;

/// A stream of frames that has all arrived.
pub fn frame(data: &[u8]) {
    let mut reader = FrameReader::new(data);
    let mut read = 0;
    loop {
        let next = pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(next) = next else {
            panic!("memory is never pending")
        };
        let Ok(Some(frame)) = next else { return };
        assert!(frame.payload.len() <= frame.kind.max_len());
        read += frame.payload.len() + 1;
        assert!(read <= data.len(), "more was read than there is");
    }
}

pub fn frames() -> Vec<Vec<u8>> {
    let one = |kind: FrameType| [&[kind.byte(), 0, 0, 0, 3], &b"abc"[..]].concat();
    vec![one(FrameType::Envelope), one(FrameType::Refusal)]
}

pub fn call_wire(data: &[u8]) {
    if let Ok(frame) = EnvelopeFrame::decode(data) {
        assert_eq!(frame.encode(), data);
    }
    if let Ok(frame) = RefusalFrame::decode(data) {
        let _ = frame.into_stopped();
    }
}

pub fn call_wires() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = seeds::envelopes()
        .into_iter()
        .map(|e| EnvelopeFrame::direct(e).encode())
        .collect();
    all.push(RefusalFrame::named("expired", "it expired").encode());
    all
}

pub fn config(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Err(error) = Config::parse(Path::new("config.toml"), text) {
        let message = error.to_string();
        assert!(!message.contains('\n'), "an error is one line: {message:?}");
        let _ = error.hint();
    }
}

pub fn configs() -> Vec<Vec<u8>> {
    let example = Config::example();
    let enabled: String = example
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|l| l.contains(" = "))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    vec![example.as_bytes().to_vec(), enabled.into_bytes()]
}

/// Whatever comes in, what goes out is one message per line.
pub fn sample_server(data: &[u8]) {
    let mut output = Vec::new();
    let served = serve(data, &mut output, &mut Table::in_memory());
    assert!(served.is_ok());
    for line in output
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
    {
        assert!(View::parse(line).is_ok(), "an answer is a message");
    }
}
