//! The local socket on which windows ask.
//!
//! One request, one reply, in the order of each connection. A message is postcard behind a length of four bytes. The
//! socket lies in the data folder, so that a window finds the engine by the folder alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
use sightglass_history::History;
use sightglass_ingest::player::Player;
use sightglass_protocol::PlantInfo;
use sightglass_protocol::message::{Envelope, MESSAGE_BYTES_MAX, Reply, Request};
use sightglass_protocol::socket;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::live::Live;
use crate::{EngineError, view};

/// Connections served at once; more wait.
const CONNECTIONS_MAX: usize = 32;
/// The longest socket path that Unix systems accept (`sun_path` less its end).
#[cfg(unix)]
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What answers are made of.
pub(crate) struct Shared {
    pub plant: PlantInfo,
    pub history: History,
    /// Absent while only a recording is shown.
    pub live: Option<Arc<Live>>,
    pub data: PathBuf,
    /// For pictures out of recorded video.
    pub player: Arc<Player>,
    pub mode: String,
    pub device: String,
}

/// Serves windows until the returned task is aborted.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn start(runtime: &Runtime, shared: Arc<Shared>) -> Result<JoinHandle<()>, EngineError> {
    let path = socket::address(&shared.data);
    let listener = runtime.block_on(async { listen(&path) })?;
    Ok(runtime.spawn(accept(listener, shared)))
}

fn listen(path: &Path) -> Result<Listener, EngineError> {
    #[cfg(unix)]
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(EngineError::Usage(format!(
            "the path of the engine's socket, {}, is longer than the {SOCKET_PATH_BYTES_MAX} bytes that this system \
             allows; choose a data folder with a shorter path",
            path.display()
        )));
    }
    // The history's lock says that no other engine runs on this folder: a socket that is there is a dead one's.
    #[cfg(unix)]
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(EngineError::io("removing the old socket", path)(error)),
    }
    let name = path.to_fs_name::<GenericFilePath>().map_err(EngineError::io("naming the socket", path))?;
    ListenerOptions::new().name(name).create_tokio().map_err(EngineError::io("opening the socket", path))
}

async fn accept(listener: Listener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(stream) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &shared).await {
                        tracing::info!("a window left: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::error!("the engine's socket does not accept windows any more: {error}");
                return;
            }
        }
    }
}

async fn serve(stream: Stream, shared: &Shared) -> std::io::Result<()> {
    let codec = LengthDelimitedCodec::builder().max_frame_length(MESSAGE_BYTES_MAX).new_codec();
    let mut framed = Framed::new(stream, codec);
    while let Some(frame) = framed.next().await {
        let reply = match Envelope::<Request>::decode(&frame?) {
            Ok(Envelope { id, body }) => Envelope { id, body: view::answer(shared, body).await },
            Err(error) => Envelope {
                id: 0,
                body: Reply::Refused {
                    reason: format!(
                        "this is no message of this engine's protocol ({error}); use the window of the same version"
                    ),
                },
            },
        };
        let bytes = reply.encode().map_err(std::io::Error::other)?;
        framed.send(Bytes::from(bytes)).await?;
    }
    Ok(())
}
