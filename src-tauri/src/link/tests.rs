//! The link against an engine that is nothing but a socket: what it reads and writes is checked byte by byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use interprocess::local_socket::ListenerOptions;
use interprocess::local_socket::tokio::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

fn listen(data: &Path) -> Listener {
    // A stopped engine leaves its socket file behind, as after `kill -9`.
    let address = socket::address(data);
    let _ = std::fs::remove_file(&address);
    ListenerOptions::new().name(address.to_fs_name::<GenericFilePath>().unwrap()).create_tokio().unwrap()
}

/// Reads one message by hand: 4 bytes of length, big-endian, and the message.
async fn read_message(stream: &mut Stream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn write_message(stream: &mut Stream, message: &[u8]) {
    stream.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).await.unwrap();
    stream.write_all(message).await.unwrap();
}

/// An engine that answers every message with the message reversed, and counts its connections.
fn reversing_engine(data: &Path) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    let listener = listen(data);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let task = tokio::spawn(async move {
        let mut served = tokio::task::JoinSet::new();
        while let Ok(mut stream) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            served.spawn(async move {
                while let Some(mut message) = read_message(&mut stream).await {
                    message.reverse();
                    write_message(&mut stream, &message).await;
                }
            });
        }
    });
    (task, connections)
}

#[tokio::test]
async fn a_message_arrives_behind_its_length_and_the_answer_comes_back_without() {
    let data = tempfile::tempdir().unwrap();
    let (_engine, _) = reversing_engine(data.path());
    let link = EngineLink::new(data.path());
    let every_byte: Vec<u8> = (0..=255).collect();
    let reversed: Vec<u8> = (0..=255).rev().collect();
    assert_eq!(link.exchange(Bytes::from(every_byte)).await.unwrap(), reversed);
    assert_eq!(link.exchange(Bytes::new()).await.unwrap(), Bytes::new());
}

#[tokio::test]
async fn messages_one_after_another_share_one_connection() {
    let data = tempfile::tempdir().unwrap();
    let (_engine, connections) = reversing_engine(data.path());
    let link = EngineLink::new(data.path());
    for number in 0..20_u8 {
        assert_eq!(link.exchange(Bytes::from(vec![number, 1])).await.unwrap(), vec![1, number]);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_slow_answer_does_not_hold_up_the_others() {
    let data = tempfile::tempdir().unwrap();
    let listener = listen(data.path());
    let release = Arc::new(Notify::new());
    let gate = Arc::clone(&release);
    let _engine = tokio::spawn(async move {
        let mut served = tokio::task::JoinSet::new();
        while let Ok(mut stream) = listener.accept().await {
            let gate = Arc::clone(&gate);
            served.spawn(async move {
                while let Some(message) = read_message(&mut stream).await {
                    if message == b"slow" {
                        gate.notified().await;
                    }
                    write_message(&mut stream, &message).await;
                }
            });
        }
    });
    let link = Arc::new(EngineLink::new(data.path()));
    let slow = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.exchange(Bytes::from_static(b"slow")).await }
    });
    assert_eq!(link.exchange(Bytes::from_static(b"quick")).await.unwrap(), "quick");
    assert!(!slow.is_finished(), "the slow answer is still held back");
    release.notify_one();
    assert_eq!(slow.await.unwrap().unwrap(), "slow");
}

#[tokio::test]
async fn many_messages_at_once_use_no_more_connections_than_allowed() {
    let data = tempfile::tempdir().unwrap();
    let (_engine, connections) = reversing_engine(data.path());
    let link = Arc::new(EngineLink::new(data.path()));
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..u8::try_from(REQUESTS_MAX).unwrap() {
        let link = Arc::clone(&link);
        asked.spawn(async move { (number, link.exchange(Bytes::from(vec![number, 0])).await.unwrap()) });
    }
    let answers = asked.join_all().await;
    assert!(answers.iter().all(|(number, answer)| answer == &vec![0, *number]));
    assert!(connections.load(Ordering::SeqCst) <= CONNECTIONS_MAX);
}

#[tokio::test]
async fn the_link_comes_back_when_the_engine_was_restarted() {
    let data = tempfile::tempdir().unwrap();
    let link = EngineLink::new(data.path());
    let (engine, _) = reversing_engine(data.path());
    link.exchange(Bytes::from_static(b"ab")).await.unwrap();
    engine.abort();
    assert!(engine.await.unwrap_err().is_cancelled());
    let (_engine, connections) = reversing_engine(data.path());
    // At most one message finds out that the old engine is gone; from then on all is well.
    let _ = link.exchange(Bytes::from_static(b"ab")).await;
    assert_eq!(link.exchange(Bytes::from_static(b"ab")).await.unwrap(), "ba");
    assert!(connections.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn without_an_engine_the_message_says_where_it_was_looked_for() {
    let data = tempfile::tempdir().unwrap();
    let problem = EngineLink::new(data.path()).exchange(Bytes::new()).await.unwrap_err().to_string();
    assert!(problem.contains(data.path().to_str().unwrap()), "{problem}");
    assert!(problem.starts_with("No engine answers"), "{problem}");
}

#[tokio::test]
async fn an_engine_that_dies_before_it_answers_is_reported_and_not_asked_twice() {
    let data = tempfile::tempdir().unwrap();
    let listener = listen(data.path());
    let link = EngineLink::new(data.path());
    let engine = async {
        let mut stream = listener.accept().await.unwrap();
        read_message(&mut stream).await.unwrap()
    };
    let (message, answer) = tokio::join!(engine, link.exchange(Bytes::from_static(b"once")));
    assert_eq!(message, b"once");
    assert!(matches!(answer, Err(LinkError::Lost { .. })), "{answer:?}");
}

#[tokio::test]
async fn an_answer_longer_than_the_protocol_allows_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let listener = listen(data.path());
    let link = EngineLink::new(data.path());
    let engine = async {
        let mut stream = listener.accept().await.unwrap();
        read_message(&mut stream).await.unwrap();
        stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        stream
    };
    let (_stream, answer) = tokio::join!(engine, link.exchange(Bytes::from_static(b"x")));
    assert!(matches!(answer, Err(LinkError::Lost { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_message_longer_than_the_protocol_allows_is_refused_before_it_is_sent() {
    let data = tempfile::tempdir().unwrap();
    let link = EngineLink::new(data.path());
    let answer = link.exchange(Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1])).await;
    assert!(matches!(answer, Err(LinkError::TooLarge { .. })), "{answer:?}");
}

#[tokio::test]
async fn an_engine_that_never_answers_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let listener = listen(data.path());
    let link = EngineLink { answer_time_max: Duration::from_millis(50), ..EngineLink::new(data.path()) };
    let engine = async {
        let mut stream = listener.accept().await.unwrap();
        read_message(&mut stream).await.unwrap();
        stream
    };
    let (_stream, answer) = tokio::join!(engine, link.exchange(Bytes::from_static(b"x")));
    assert!(matches!(answer, Err(LinkError::Silent { .. })), "{answer:?}");
}
