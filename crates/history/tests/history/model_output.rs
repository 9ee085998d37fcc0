use sightglass_protocol::{
    Band, CameraId, Forecast, LineId, PatchMap, ScorePart, Surprise, TagForecast, TagId, TagSurprise, UtcNanos,
    time::SECOND,
};

use crate::{at, folder, open, run};

const LINE: LineId = LineId(0);

fn band(value: f32) -> Band {
    Band { low: value - 1.0, mid: value, high: value + 1.0 }
}

pub(crate) fn output(second: i64) -> (Option<Forecast>, Surprise) {
    let value = second as f32;
    let forecast = Forecast {
        line: LINE,
        time: at(second),
        tick_ns: SECOND,
        tags: [1, 0]
            .map(|tag| TagForecast { tag: TagId(tag), bands: std::array::from_fn(|h| band(value + h as f32)) })
            .to_vec(),
    };
    let surprise = Surprise {
        line: LINE,
        time: at(second),
        score: if second == 777 { 9.0 } else { (second % 10) as f32 / 10.0 },
        parts: vec![(ScorePart::Latent, 0.5), (ScorePart::Drift, value)],
        tags: vec![
            TagSurprise {
                tag: TagId(0),
                score: 0.1,
                part: ScorePart::Residual,
                predicted: Some(band(value)),
                actual: Some(1.5),
            },
            TagSurprise { tag: TagId(1), score: 0.2, part: ScorePart::Drift, predicted: None, actual: None },
        ],
        patches: if second % 3 == 0 {
            vec![PatchMap {
                camera: CameraId(0),
                rows: 8,
                cols: 8,
                scores: (0..64).map(|patch| patch as f32 + value).collect(),
                part: ScorePart::Appearance,
            }]
        } else {
            Vec::new()
        },
        unknown_ground: Vec::new(),
        settled: second > 30,
    };
    // Some ticks have no forecast.
    ((second % 50 != 0).then_some(forecast), surprise)
}

#[test]
fn what_the_model_said_is_found_again_at_its_moment() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for second in (0..1000).step_by(4) {
            let ticks: Vec<_> = (second..second + 4).map(output).collect();
            history.put_outputs(&ticks).await.unwrap();
        }
        for merged in [false, true] {
            if merged {
                assert!(history.merge(at(900)).await.unwrap().outputs > 200);
            }
            for second in [1, 2, 333, 640, 777, 999] {
                let later = at(second) + SECOND / 2;
                assert_eq!(history.surprise_at(LINE, later).await.unwrap(), Some(output(second).1));
                let mut found = history.forecast_at(LINE, later).await.unwrap().unwrap();
                let expected = output(second).0.unwrap();
                found.tags.sort_by_key(|tag| std::cmp::Reverse(tag.tag));
                assert_eq!(found, expected);
            }
            assert_eq!(history.forecast_at(LINE, at(-1)).await.unwrap(), None);
            assert_eq!(history.surprise_at(LineId(1), at(100)).await.unwrap(), None);
            assert_eq!(history.summary().await.unwrap().ticks, 1000);
            assert_eq!(history.verify().await.unwrap(), []);
        }
        // A tick without a forecast shows the one before.
        assert_eq!(history.forecast_at(LINE, at(100)).await.unwrap().unwrap().time, at(99));
    });
}

#[test]
fn a_band_stands_at_the_tick_that_it_speaks_of() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        let ticks: Vec<_> = (0..300).map(output).collect();
        history.put_outputs(&ticks[..200]).await.unwrap();
        history.put_outputs(&ticks[200..]).await.unwrap();
        let tags = [TagId(0), TagId(2)];
        let bands = history.bands(LINE, &tags, at(100), at(110), 500).await.unwrap();
        let times: Vec<_> = bands[0].iter().map(|(time, _)| *time).collect();
        // The tick 100 made no forecast, so that 101 has none.
        let expected: Vec<_> = (100..=110).filter(|second| *second != 101).map(at).collect();
        assert_eq!(times, expected);
        assert_eq!(bands[0][0].1, band(99.0));
        assert!(bands[1].is_empty(), "a setpoint is not predicted");
        let coarse = history.bands(LINE, &tags, at(0), at(300), 5).await.unwrap();
        assert!(coarse[0].len() <= 10 && coarse[0].len() >= 3);
        // The last step begins with the last tick.
        let (_, whole) = coarse[0].split_last().unwrap();
        assert!(whole.iter().all(|(_, band)| band.high - band.low > 10.0), "the band of many ticks spans them");
    });
}

#[test]
fn a_peak_of_the_score_is_seen_at_every_zoom() {
    run(async {
        let dir = folder();
        let history = open(&dir).await;
        for second in (0..2000).step_by(8) {
            history.put_outputs(&(second..second + 8).map(output).collect::<Vec<_>>()).await.unwrap();
        }
        for up_to in [0, 1500] {
            history.merge(at(up_to)).await.unwrap();
            for pixels in [1, 10, 300, 4000] {
                let scores = history.scores(LINE, at(0), at(1999), pixels).await.unwrap();
                assert!(scores.len() <= 2 * pixels as usize);
                assert_eq!(scores.iter().map(|(_, score)| *score).fold(0.0, f32::max), 9.0);
                assert!(scores.is_sorted_by_key(|(time, _)| *time));
            }
            let scores = history.scores(LINE, at(778), at(790), 1000).await.unwrap();
            assert_eq!(scores.len(), 13);
            assert!(scores.iter().all(|(_, score)| *score < 1.0), "the peak lies before the range");
        }
        assert_eq!(history.range(LINE).await.unwrap(), Some((at(0), at(1999))));
        assert_eq!(history.range(LineId(1)).await.unwrap(), None);
        let all = history.scores(LINE, UtcNanos::MIN, UtcNanos::MAX, 100).await.unwrap();
        assert_eq!(all.len(), 1);
    });
}
