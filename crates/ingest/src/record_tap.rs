//! Takes a camera's encoded pictures out of the pipeline, for the recorder.

use std::sync::Arc;

use gst::prelude::*;

use crate::{
    picture_tap::{StreamTime, Wanted},
    recorder::Recorder,
};

pub(crate) struct RecordTap {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) time: StreamTime,
    /// Whether another stream may follow when this one has ended.
    pub(crate) lasting: bool,
    /// Called once pictures can flow.
    pub(crate) on_attach: Box<dyn FnOnce(Arc<Recorder>) + Send>,
}

impl RecordTap {
    /// Lets pictures flow from `sink` to the recorder.
    pub(crate) fn attach(self, sink: &gst_app::AppSink) {
        let Self { recorder, time, lasting, on_attach } = self;
        on_attach(Arc::clone(&recorder));
        // Pictures before the presentation begins are needed to decode the others.
        sink.set_drop_out_of_segment(false);
        if let Some(pad) = sink.static_pad("sink") {
            // The sink would wait for its first buffer over a gap.
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
                match info.event().map(|event| event.view()) {
                    Some(gst::EventView::Gap(_)) => gst::PadProbeReturn::Handled,
                    _ => gst::PadProbeReturn::Ok,
                }
            });
        }
        let on_end = Arc::clone(&recorder);
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    match (time.place(&sample), sample.caps(), sample.buffer()) {
                        (Some(Wanted::Within(captured)), Some(caps), Some(buffer)) => {
                            recorder.push(captured, caps, buffer);
                        }
                        (Some(Wanted::After), _, _) => recorder.close(),
                        // A picture without a time is told by the branch that decodes it.
                        _ => {}
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .eos(move |_| if lasting { on_end.pause() } else { on_end.close() })
                .build(),
        );
    }
}
