//! The last words of a stream: why it ends, and that the other side has them.

use std::time::Duration;

use super::BoxWrite;
use super::wire::{MAX_REFUSAL_FRAME, RefusalFrame};
use crate::enforcement::Stopped;
use crate::transport::frame::{FrameType, FrameWriter};

/// How long a call that was answered or refused waits for the other side to have heard.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Writes a refusal frame and ends the stream; the peer may be gone already.
pub(super) async fn refuse(writer: &mut FrameWriter<BoxWrite>, stopped: &Stopped) {
    let frame = RefusalFrame::of(stopped).encode();
    debug_assert!(frame.len() <= MAX_REFUSAL_FRAME);
    if writer.write(FrameType::Refusal, &frame).await.is_ok() {
        drop(writer.finish().await);
    }
}

/// Writes a refusal frame, ends the stream and waits until that was heard.
pub(super) async fn tell(writer: &mut FrameWriter<BoxWrite>, stopped: &Stopped) {
    refuse(writer, stopped).await;
    told(writer).await;
}

/// Waits until the other side has a refusal, which is nothing to answer: a node that closes its links
/// before has told nobody why.
pub(super) async fn told(writer: &mut FrameWriter<BoxWrite>) {
    // One that takes none holds up nothing but this stream, and that not for long.
    drop(tokio::time::timeout(LINGER, writer.inner_mut().delivered()).await);
}

#[cfg(test)]
mod tests {
    use core::pin::Pin;
    use core::task::{Context, Poll};
    use std::io;

    use async_trait::async_trait;
    use tokio::io::AsyncWrite;
    use tokio_util::sync::CancellationToken;

    use super::super::Outbound;
    use super::*;

    /// A stream to a peer that says when it has everything.
    struct Slow(CancellationToken);

    impl AsyncWrite for Slow {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[async_trait]
    impl Outbound for Slow {
        async fn delivered(&mut self) {
            self.0.cancelled().await;
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_once_the_peer_has_it() {
        let has_it = CancellationToken::new();
        let mut writer = FrameWriter::new(Box::new(Slow(has_it.clone())) as BoxWrite);
        let stopped = Stopped::refuse("node_stopping", "it stops");
        let mut telling = Box::pin(tell(&mut writer, &stopped));
        assert!(futures::poll!(&mut telling).is_pending());
        has_it.cancel();
        telling.await;
    }
}
