//! A camera whose stream ffmpeg makes: its encoders, its packets, its sender reports.
//!
//! ffmpeg sends RTP and RTCP but serves no RTSP, so the few answers that lead a camera's reader to it are given here.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use sightglass_plant::{CameraFeed, RtspCamera, RtspTransport};
use sightglass_protocol::{Quality, time::SECOND};

use crate::{
    peers::{Live, Process, left_out},
    plants::{plant, with_camera},
};

/// A line of a request or its head is at most so long; a reader that sends more is none.
const HEAD_LINES_MAX: usize = 64;

/// What ffmpeg is to send.
#[derive(Clone, Copy)]
struct Stream {
    encoder: &'static [&'static str],
    /// The session description's lines on the payload.
    described: &'static str,
}

const H264: Stream = Stream {
    encoder: &["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"],
    described: "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n",
};
const H265: Stream = Stream {
    encoder: &["-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"],
    described: "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n",
};
const JPEG: Stream = Stream {
    encoder: &["-c:v", "mjpeg", "-huffman", "default", "-pix_fmt", "yuvj420p"],
    described: "m=video 0 RTP/AVP 26\r\n",
};

/// Answers one reader after the other, on a thread of its own.
struct Camera {
    port: u16,
    ends: Arc<AtomicBool>,
    reader: Arc<Mutex<Option<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    fn serve(stream: Stream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("its address").port();
        let ends = Arc::new(AtomicBool::new(false));
        let reader = Arc::new(Mutex::new(None));
        let (has_ended, reads) = (ends.clone(), reader.clone());
        let thread = std::thread::spawn(move || {
            for accepted in listener.incoming() {
                let accepted = accepted.expect("a reader");
                *reads.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted.try_clone().expect("a handle"));
                // After the handle is there, so that either this sees the end or the end sees the handle.
                if has_ended.load(Ordering::SeqCst) {
                    return;
                }
                // A reader may go at any moment; that is the end of its session.
                let _gone = answer(&accepted, port, stream);
            }
        });
        Self { port, ends, reader, thread: Some(thread) }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may be closed already.
            let _closed = reader.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the thread where it waits for the next reader.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the answers end");
        }
    }
}

/// Answers a reader until it goes; ffmpeg sends from its PLAY on.
fn answer(reader: &TcpStream, port: u16, stream: Stream) -> std::io::Result<()> {
    let mut lines = BufReader::new(reader).lines();
    let mut ports = None;
    let mut sends = None;
    loop {
        let mut head = Vec::new();
        loop {
            let Some(line) = lines.next().transpose()? else { return Ok(()) };
            if line.is_empty() {
                break;
            }
            assert!(head.len() < HEAD_LINES_MAX, "a request without an end: {head:?}");
            head.push(line);
        }
        let Some(method) = head.first().and_then(|line| line.split(' ').next()) else { continue };
        let field = |name: &str| {
            let named = head.iter().find(|line| line.to_ascii_lowercase().starts_with(name));
            named.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
        };
        let number = field("cseq:").expect("a request has a number");
        let mut code = "200 OK";
        let mut more = String::new();
        let mut body = String::new();
        match method {
            "OPTIONS" => more.push_str("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"),
            "DESCRIBE" => {
                more.push_str(&format!(
                    "Content-Type: application/sdp\r\nContent-Base: rtsp://127.0.0.1:{port}/eye/\r\n"
                ));
                body = format!(
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{}a=control:video\r\n",
                    stream.described
                );
            }
            "SETUP" => match field("transport:").and_then(udp_ports) {
                Some(asked) => {
                    ports = Some(asked);
                    more = format!("Session: 1\r\nTransport: RTP/AVP;unicast;client_port={}-{}\r\n", asked.0, asked.1);
                }
                None => code = "461 Unsupported Transport",
            },
            "PLAY" => {
                let (rtp, rtcp) = ports.expect("it is set up");
                more.push_str("Session: 1\r\n");
                sends = Some(send(stream, rtp, rtcp));
            }
            "TEARDOWN" => {
                sends = None;
                more.push_str("Session: 1\r\n");
            }
            _ => code = "501 Not Implemented",
        }
        let length = body.len();
        write!(&mut &*reader, "RTSP/1.0 {code}\r\nCSeq: {number}\r\n{more}Content-Length: {length}\r\n\r\n{body}")?;
        if method == "TEARDOWN" {
            drop(sends);
            return Ok(());
        }
    }
}

/// The reader's ports for RTP and RTCP, where it wants them by UDP.
fn udp_ports(transport: &str) -> Option<(u16, u16)> {
    let ports = transport.split(';').find_map(|part| part.strip_prefix("client_port="))?;
    let (rtp, rtcp) = ports.split_once('-')?;
    Some((rtp.parse().ok()?, rtcp.parse().ok()?))
}

fn send(stream: Stream, rtp: u16, rtcp: u16) -> Process {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=15"]);
    ffmpeg.args(stream.encoder).args(["-g", "15", "-f", "rtp"]);
    ffmpeg.arg(format!("rtp://127.0.0.1:{rtp}?rtcpport={rtcp}")).stdout(Stdio::null());
    Process::start(&mut ffmpeg)
}

#[test]
fn what_ffmpeg_sends_comes_in_with_its_own_time() {
    if Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status().is_err() {
        left_out("there is no ffmpeg");
        return;
    }
    for (stream, codec) in [(H264, "H.264"), (H265, "H.265"), (JPEG, "JPEG")] {
        let camera = Camera::serve(stream);
        let feed = CameraFeed::Rtsp(RtspCamera {
            uri: format!("rtsp://127.0.0.1:{}/eye", camera.port),
            transport: RtspTransport::Udp,
            user: None,
            password: None,
            latency_ns: SECOND / 5,
        });
        let mut live = Live::start(&with_camera(plant(), "eye", feed, None));
        let told = format!("{codec}, 320 x 240; capture times are the camera's own (RTCP)");
        live.until(&told, |outcome| {
            let camera = outcome.ticks.last().map(|tick| &tick.cameras[0]);
            camera.is_some_and(|camera| camera.quality == Quality::Good && !camera.frames.is_empty())
                && outcome.health.iter().any(|health| health.reason.contains(&told))
        });
        let last = live.outcome.ticks.last().expect("a tick");
        let frame = last.cameras[0].frames.last().expect("a picture");
        let age_s = last.time.since(frame.time) as f64 / 1e9;
        assert!((-0.5..1.5).contains(&age_s), "{codec}: a picture of {age_s} s at its tick");
        assert!(live.stop().as_secs() < 5, "{codec}");
    }
}
