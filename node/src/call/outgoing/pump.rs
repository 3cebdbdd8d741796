//! A session's and a call's messages, carried until they end, and when a call is sent once more.

use std::sync::Arc;

use bytes::Bytes;
use protocol::envelope::stream::StreamError;
use tokio::sync::mpsc;

use super::{
    Begin, End, OF_THE_WAY, OTHER_KEY, OTHER_TOOL, RESTART_PAUSE, RESTART_RETRIES, RETRIED,
    Started, Tried, broken, explain, place,
};
use crate::call::conversation::{Broken, Listener, Speaker};
use crate::call::trace::{Trace, Traced};
use crate::enforcement::DELIVERERS_FAULTS;
use crate::session::SessionError;

pub(super) async fn pump_session(
    mut speaker: Speaker,
    mut listener: Listener,
    mut to_send: mpsc::Receiver<Bytes>,
    to_events: mpsc::Sender<Bytes>,
    end: Arc<End>,
) {
    let ended = {
        let speaking = async {
            let exchange = speaker.exchange();
            loop {
                tokio::select! {
                    biased;
                    refusal = exchange.refusal() => speaker.answer(&refusal).await?,
                    message = to_send.recv() => match message {
                        Some(message) => drop(speaker.pass_on(&message).await?),
                        None => return Ok::<(), Broken>(()),
                    },
                }
            }
        };
        let listening = async {
            while let Some(heard) = listener.hear().await? {
                if to_events.send(heard.body.into()).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            () = end.closed.cancelled() => Ok(()),
            ended = listening => ended,
            ended = speaking => ended,
        }
    };
    // Both set once, here.
    if let Err(Broken::Stopped(stopped)) = &ended {
        drop(end.why.set(stopped.clone()));
    }
    if !end.closed.is_cancelled() {
        let _ = end.by_itself.set(());
    }
    end.closed.cancel();
    match ended {
        Ok(()) => speaker.finish().await,
        Err(Broken::Stopped(stopped)) => {
            tracing::debug!(reason = stopped.reason(), "session stream stopped");
            speaker.refuse(&stopped).await;
        }
        Err(broken) => tracing::debug!(?broken, "session stream ended"),
    }
}

/// Carries one call to its end, from sending its first message on. The caller dropping its half,
/// or the session closing, drops the stream unfinished, which resets it.
///
/// The order within matters to a lone call, whose tasks wake one another in turn on one thread:
/// of two woken at once one waits for another thread to wake and take it. So this task, and not
/// the caller's, sends the first message, and it lets the caller go on before it ends the stream.
pub(super) async fn pump_call(
    begin: Begin,
    started: Started,
    to_caller: mpsc::Sender<Result<Bytes, SessionError>>,
    mut from_caller: mpsc::Receiver<Bytes>,
    end: &End,
) {
    let (mut started, mut attempt, mut renewed) = (started, 0, false);
    let result = loop {
        let trace = begin.trace.as_deref();
        let carried = carry(&mut started, &to_caller, &mut from_caller, trace);
        let ended = tokio::select! {
            biased;
            () = to_caller.closed() => return,
            ended = carried => ended,
            () = end.comes() => break Err(end.interrupted()),
        };
        let retry = match &ended {
            // Nothing begins any more in a session that has ended.
            Err(_) if started.listener.has_heard() || end.closed.is_cancelled() => Retry::No,
            Err(b) if other_tool(b) && !renewed => {
                renewed = true;
                Retry::anew_if(begin.tool_changed(started.tool_digest).await)
            }
            Err(b) if other_key(b) && !renewed => {
                renewed = true;
                let changed = begin.core.key_changed(&begin.server, started.sealed_to);
                Retry::anew_if(changed.await)
            }
            Err(b) if again(b, &mut attempt) => {
                tokio::time::sleep(RESTART_PAUSE).await;
                Retry::Anew
            }
            Err(b) if elsewhere(b, &started) => Retry::Elsewhere,
            _ => Retry::No,
        };
        match retry {
            Retry::No => break ended.map_err(|b| started.explain(b)),
            Retry::Anew => match begin.start(Tried::default()).await {
                Ok(fresh) => started = fresh,
                Err(b) => break Err(b),
            },
            Retry::Elsewhere => {
                let Err(failed) = ended else { break ended };
                let in_doubt = started.tried.in_doubt;
                match begin.start(started.tried_once(&failed)).await {
                    Ok(copy) => started = copy,
                    Err(_) => break Err(explain(failed, in_doubt)),
                }
            }
        }
    };
    // The caller may be gone; then there is nobody to tell.
    match result {
        Ok(response) => {
            drop(to_caller.send(Ok(response)).await);
            tokio::task::yield_now().await;
            started.speaker.finish().await;
        }
        Err(b) => {
            if let Broken::Stopped(stopped) = &b {
                started.speaker.refuse(stopped).await;
            }
            let error = place(broken(b), &begin.server);
            drop(to_caller.send(Err(error)).await);
        }
    }
}

/// Sends the first message and carries what follows, both ways, up to the final response.
async fn carry(
    started: &mut Started,
    to_caller: &mpsc::Sender<Result<Bytes, SessionError>>,
    from_caller: &mut mpsc::Receiver<Bytes>,
    trace: Option<&Trace>,
) -> Result<Bytes, Broken> {
    started.send().await?;
    let Started {
        speaker, listener, ..
    } = started;
    tokio::select! {
        biased;
        ended = listen(listener, to_caller, trace) => ended,
        ended = speak(speaker, from_caller) => ended,
    }
}

/// Hands on what is heard before the final response, and returns that.
async fn listen(
    listener: &mut Listener,
    to_caller: &mpsc::Sender<Result<Bytes, SessionError>>,
    trace: Option<&Trace>,
) -> Result<Bytes, Broken> {
    if trace.is_some_and(Trace::keeps_bytes) {
        listener.keep_payloads();
    }
    loop {
        let Some(heard) = listener.hear().await? else {
            return Err(listener.ended_early().await);
        };
        if heard.ends {
            if let Some(trace) = trace {
                trace.response(Traced {
                    id: heard.id,
                    issuer: heard.issuer,
                    bytes: &heard.envelope,
                    sealed: heard.sealed.as_ref(),
                });
                trace.carried(&heard.records);
            }
            return Ok(heard.body.into());
        }
        if to_caller.send(Ok(heard.body.into())).await.is_err() {
            return Err(Broken::Transport("the caller left".to_owned()));
        }
    }
}

async fn speak(
    speaker: &mut Speaker,
    from_caller: &mut mpsc::Receiver<Bytes>,
) -> Result<Bytes, Broken> {
    let (exchange, mut says) = (speaker.exchange(), true);
    loop {
        tokio::select! {
            biased;
            refusal = exchange.refusal() => speaker.answer(&refusal).await?,
            message = from_caller.recv(), if says => match message {
                Some(message) => drop(speaker.say(&message, None).await?),
                // A caller that says no more still waits for its response.
                None => says = false,
            },
        }
    }
}

pub(super) fn again(broken: &Broken, attempt: &mut u32) -> bool {
    let Broken::Stopped(stopped) = broken else {
        return false;
    };
    *attempt += 1;
    *attempt <= RESTART_RETRIES && RETRIED.contains(&stopped.reason())
}

/// Whether, and how, a request that failed is sent once more.
enum Retry {
    No,
    /// As another request: this one was refused before anything acted on it.
    Anew,
    /// As a copy over another route, which its far end starts only if it has not yet.
    Elsewhere,
}

impl Retry {
    const fn anew_if(changed: bool) -> Self {
        if changed { Self::Anew } else { Self::No }
    }
}

/// Whether the way of a call has failed it, so that another may do.
pub(super) fn elsewhere(broken: &Broken, started: &Started) -> bool {
    let relayed = started.sealed_to.is_some();
    let of_the_way = match broken {
        Broken::Transport(_) | Broken::Stream(StreamError::EndedEarly) => true,
        Broken::Stopped(stopped) => {
            let reason = stopped.reason();
            let fault = !stopped.by_policy && DELIVERERS_FAULTS.contains(&reason);
            fault || OF_THE_WAY.contains(&reason)
        }
        Broken::Unreachable(_) | Broken::Stream(_) => false,
    };
    relayed && of_the_way
}

/// Whether it was sealed to a key that its far end has no more.
pub(super) fn other_key(broken: &Broken) -> bool {
    matches!(broken, Broken::Stopped(stopped) if stopped.reason() == OTHER_KEY)
}

/// Whether the call was refused because the tool's digest is another at its own node.
pub(super) fn other_tool(broken: &Broken) -> bool {
    matches!(broken, Broken::Stopped(stopped) if stopped.reason() == OTHER_TOOL)
}
