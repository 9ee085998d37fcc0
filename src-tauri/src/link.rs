//! The way of a message to the engine and back.
//!
//! One message in, one message out, as opaque bytes; on the socket each stands behind its length in 4 bytes
//! (big-endian). A slow answer must not hold up the others, so up to [`CONNECTIONS_MAX`] connections are kept, each
//! with one message on its way at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use interprocess::local_socket::GenericFilePath;
use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::tokio::prelude::*;
use sightglass_protocol::message::MESSAGE_BYTES_MAX;
use sightglass_protocol::socket;
use tokio::sync::Semaphore;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Connections to the engine at most: the pictures of two cameras, the signals, and one to spare.
pub(crate) const CONNECTIONS_MAX: usize = 4;
/// Messages on their way or waiting for a connection, at most; a page that asks for more is told so.
pub(crate) const REQUESTS_MAX: usize = 64;
/// How long an answer may take.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

type Connection = Framed<Stream, LengthDelimitedCodec>;

/// Why a message did not get through. Each is a sentence for the person before the window.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("No engine answers at {address} ({source}). Is it running?")]
    Unreachable { address: String, source: io::Error },
    #[error("The engine at {address} went away before it answered ({reason}).")]
    Lost { address: String, reason: String },
    #[error("The engine at {address} did not answer within {after:?}.")]
    Silent { address: String, after: Duration },
    #[error("A message of {bytes} bytes is larger than the {MESSAGE_BYTES_MAX} bytes that the engine accepts.")]
    TooLarge { bytes: usize },
    #[error("More than {REQUESTS_MAX} requests wait for the engine already; it does not keep up.")]
    TooMany,
}

/// The connections to the engine of one data folder. They are made when needed, so the engine may start later than
/// the window and may be restarted under it.
#[derive(Debug)]
pub(crate) struct EngineLink {
    data: PathBuf,
    /// How long an answer may take: [`ANSWER_TIME_MAX`].
    answer_time_max: Duration,
    /// Bounds how many requests are inside [`EngineLink::exchange`].
    requests: Semaphore,
    /// Bounds how many connections are in use.
    in_use: Semaphore,
    /// Connections that wait for the next message: at most [`CONNECTIONS_MAX`], because only one that held a permit of
    /// `in_use` comes here.
    idle: Mutex<Vec<Connection>>,
}

impl EngineLink {
    /// A link to the engine of the data folder `data`; connects to nothing yet.
    pub(crate) fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            answer_time_max: ANSWER_TIME_MAX,
            requests: Semaphore::new(REQUESTS_MAX),
            in_use: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::new(Vec::with_capacity(CONNECTIONS_MAX)),
        }
    }

    /// Whether an engine answers. The connection is kept for the first message.
    pub(crate) async fn probe(&self) -> Result<(), LinkError> {
        let connection = self.connect().await?;
        self.keep(connection);
        Ok(())
    }

    /// Sends `message` and waits for the answer to it.
    ///
    /// Where the engine was restarted since the last message, the message goes over a new connection. A message that
    /// may have reached the engine is never sent twice.
    ///
    /// # Errors
    /// See [`LinkError`]; the next message tries anew.
    pub(crate) async fn exchange(&self, message: Bytes) -> Result<Bytes, LinkError> {
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(LinkError::TooLarge { bytes: message.len() });
        }
        let _request = self.requests.try_acquire().map_err(|_| LinkError::TooMany)?;
        let in_use = async { self.in_use.acquire().await.map_err(|closed| self.lost(closed)) };
        let answered = tokio::time::timeout(self.answer_time_max, async {
            let _permit = in_use.await?;
            let (mut connection, answer) = self.send_and_receive(message).await?;
            // Nothing was asked that could have a second answer: what lies in the buffer belongs to nobody.
            if connection.read_buffer_mut().is_empty() {
                self.keep(connection);
            }
            Ok(answer)
        });
        match answered.await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(LinkError::Silent { address: self.address(), after: self.answer_time_max }),
        }
    }

    async fn send_and_receive(&self, message: Bytes) -> Result<(Connection, Bytes), LinkError> {
        while let Some(mut kept) = self.take_idle() {
            // A send that fails has not delivered a whole message, so the engine cannot have acted on it.
            if kept.send(message.clone()).await.is_ok() {
                return self.receive(kept).await;
            }
        }
        let mut fresh = self.connect().await?;
        fresh.send(message).await.map_err(|error| self.lost(error))?;
        self.receive(fresh).await
    }

    async fn receive(&self, mut connection: Connection) -> Result<(Connection, Bytes), LinkError> {
        match connection.next().await {
            Some(Ok(answer)) => Ok((connection, answer.freeze())),
            Some(Err(error)) => {
                self.forget_idle();
                Err(self.lost(error))
            }
            None => {
                // The engine stopped: the connections that lie idle lead nowhere either.
                self.forget_idle();
                Err(self.lost("it closed the connection"))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, LinkError> {
        let unreachable = |source| LinkError::Unreachable { address: self.address(), source };
        let name = socket::address(&self.data).to_fs_name::<GenericFilePath>().map_err(unreachable)?;
        let stream = Stream::connect(name).await.map_err(unreachable)?;
        let codec = LengthDelimitedCodec::builder()
            .big_endian()
            .length_field_length(4)
            .max_frame_length(MESSAGE_BYTES_MAX)
            .new_codec();
        Ok(Framed::new(stream, codec))
    }

    /// As people read it.
    fn address(&self) -> String {
        socket::address(&self.data).display().to_string()
    }

    fn lost(&self, reason: impl ToString) -> LinkError {
        LinkError::Lost { address: self.address(), reason: reason.to_string() }
    }

    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if idle.len() < CONNECTIONS_MAX {
            idle.push(connection);
        }
    }

    fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests;
