//! The local socket on which windows ask.
//!
//! One request, one reply, in the order of each connection. A message is postcard behind a length of four bytes. The
//! socket lies in the data folder, so that a window finds the engine by the folder alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::tokio::{Listener as _, Stream as _};
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
/// How long nobody may have come in before it is looked whether the socket is still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
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
    let door = runtime.block_on(async { Door::open(socket::address(&shared.data)) })?;
    Ok(runtime.spawn(accept(door, shared)))
}

/// The socket where windows come in.
struct Door {
    path: PathBuf,
    /// Absent while it cannot be made.
    listener: Option<Listener>,
}

impl Door {
    fn open(path: PathBuf) -> Result<Self, EngineError> {
        let listener = Some(listen(&path)?);
        Ok(Self { path, listener })
    }

    /// The next window that comes in; `None` when it is time to [look](Self::look) instead.
    async fn next(&self) -> Option<Stream> {
        let coming = async {
            if let Some(listener) = &self.listener {
                match listener.accept().await {
                    Ok(stream) => return stream,
                    // Such as too many open files: it does not pass at once.
                    Err(error) => tracing::warn!("the engine's socket did not let a window in: {error}"),
                }
            }
            std::future::pending().await
        };
        tokio::time::timeout(LOOK_EVERY, coming).await.ok()
    }

    /// Makes the socket again where windows do not find it any more: a data folder that was away and came back has none,
    /// or one behind which nobody listens.
    async fn look(&mut self) {
        let name = self.path.as_path().to_fs_name::<GenericFilePath>();
        let answer = match name {
            Ok(name) => Stream::connect(name).await.map(drop),
            Err(error) => Err(error),
        };
        match answer {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            _ => return,
        }
        // In this order: one that is dropped takes the name away with it.
        self.listener = None;
        match listen(&self.path) {
            Ok(listener) => {
                tracing::info!("the engine's socket was gone; windows find it again");
                self.listener = Some(listener);
            }
            Err(error) => tracing::debug!("the engine's socket cannot be made yet: {error}"),
        }
    }
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
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(EngineError::io("removing the old socket", path)(error)),
    }
    let name = path.to_fs_name::<GenericFilePath>().map_err(EngineError::io("naming the socket", path))?;
    ListenerOptions::new().name(name).create_tokio().map_err(EngineError::io("opening the socket", path))
}

async fn accept(mut door: Door, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some(stream) = door.next().await else {
            door.look().await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = serve(stream, &shared).await {
                tracing::info!("a window left: {error}");
            }
            drop(place);
        });
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    async fn comes_in(door: &Door) -> bool {
        let name = door.path.as_path().to_fs_name::<GenericFilePath>().expect("a name");
        let Ok(_window) = Stream::connect(name).await else { return false };
        door.next().await.is_some()
    }

    #[tokio::test]
    async fn a_socket_that_is_gone_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("the folder is made");
        let mut door = Door::open(socket::address(&data)).expect("the socket is made");
        assert!(comes_in(&door).await);
        let inode = |door: &Door| std::os::unix::fs::MetadataExt::ino(&door.path.metadata().expect("a socket"));
        let first = inode(&door);
        door.look().await;
        assert_eq!(inode(&door), first, "one that windows find stays");
        // The look itself came in.
        assert!(door.next().await.is_some());

        std::fs::remove_file(&door.path).expect("the socket is removed");
        assert!(!comes_in(&door).await);
        door.look().await;
        assert!(comes_in(&door).await);

        let away = folder.path().join("away");
        std::fs::rename(&data, &away).expect("the folder goes away");
        door.look().await;
        assert!(!comes_in(&door).await, "its folder is away");
        std::fs::rename(&away, &data).expect("the folder comes back");
        door.look().await;
        assert!(comes_in(&door).await);
    }
}
