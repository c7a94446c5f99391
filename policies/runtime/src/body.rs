//! Bodies under policies: held as a whole, or passed through as they come.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;

use crate::Failure;

/// A body that has come as a whole.
#[derive(Debug, Clone, Default)]
pub struct Buffered {
    /// All of it.
    pub bytes: Bytes,
    /// The trailers behind it.
    pub trailers: Option<HeaderMap>,
    /// Whether a policy put another in its place.
    pub replaced: bool,
    /// The largest it may become.
    pub max: usize,
}

/// What is between the body that comes, the guest and the body that goes.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// What has come and was not read.
    pub(crate) input: Option<Bytes>,
    /// Nothing more comes.
    pub(crate) ended: bool,
    /// The trailers that came.
    pub(crate) trailers: Option<HeaderMap>,
    /// The guest waits for more.
    pub(crate) wants: bool,
    /// What the guest has written.
    pub(crate) output: Option<Bytes>,
    /// The memory the guest had when it ended, in bytes.
    pub(crate) memory: usize,
}

/// What a body that comes gives next.
#[derive(Debug)]
pub enum Feed {
    /// Bytes.
    Data(Bytes),
    /// The trailers, and with them the end.
    Trailers(HeaderMap),
    /// The end.
    End,
}

/// What passing a body through comes to next.
#[derive(Debug)]
pub enum Step {
    /// The policy waits for what comes: [`Transform::feed`] it.
    Wants,
    /// It has written these.
    Data(Bytes),
    /// It has ended, with the trailers as it leaves them.
    End(Option<HeaderMap>),
}

type Run = dyn Future<Output = Result<Option<HeaderMap>, Failure>> + Send;

/// A body on its way through a policy. Dropped, the call ends.
pub struct Transform {
    run: Pin<Box<Run>>,
    pipe: Arc<Mutex<Pipe>>,
    /// How it ended.
    end: Option<Result<Option<HeaderMap>, Failure>>,
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform").finish_non_exhaustive()
    }
}

impl Transform {
    pub(crate) fn new(run: Pin<Box<Run>>, pipe: Arc<Mutex<Pipe>>) -> Self {
        Self {
            run,
            pipe,
            end: None,
        }
    }

    /// Runs the policy until it has written something, waits for something or ends. Pending while
    /// others have their turn: it is woken then.
    ///
    /// # Errors
    /// When the policy fails, after what it had written before.
    pub fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Failure>> {
        if self.end.is_none()
            && let Poll::Ready(end) = self.run.as_mut().poll(cx)
        {
            self.end = Some(end);
        }
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = pipe.output.take() {
            return Poll::Ready(Ok(Step::Data(bytes)));
        }
        if let Some(end) = &mut self.end {
            let end = match end {
                Ok(trailers) => Ok(Step::End(trailers.take())),
                Err(failure) => Err(failure.clone()),
            };
            return Poll::Ready(end);
        }
        if pipe.wants {
            return Poll::Ready(Ok(Step::Wants));
        }
        Poll::Pending
    }

    /// The memory the instance had in bytes, once it has ended.
    #[must_use]
    pub fn memory(&self) -> Option<usize> {
        let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        self.end.is_some().then_some(pipe.memory)
    }

    /// Gives the policy what it waits for.
    pub fn feed(&mut self, feed: Feed) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        match feed {
            // The guest is promised at least a byte.
            Feed::Data(bytes) if bytes.is_empty() => return,
            Feed::Data(bytes) => pipe.input = Some(bytes),
            Feed::Trailers(trailers) => (pipe.trailers, pipe.ended) = (Some(trailers), true),
            Feed::End => pipe.ended = true,
        }
        pipe.wants = false;
    }
}
