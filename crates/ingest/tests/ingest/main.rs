//! The pipeline through its public door.

mod aligning;
mod browsing;
mod cameras;
mod feeds;
mod ffmpeg;
mod health;
mod modbus;
mod mqtt;
mod opcua;
mod peers;
mod plants;
mod real_recordings;
mod recording;
mod rtsp;
mod sample_files;
mod simulated;
