//! Feedback with its bytes.

use std::collections::BTreeMap;

use super::Sample;
use crate::event::*;

/// Without optional fields.
fn bare(feedback_id: &str, subject: Subject, signal: Signal) -> Feedback {
    Feedback {
        feedback_id: feedback_id.into(),
        subject,
        signal,
        source: String::new(),
        event_time: None,
        tags: BTreeMap::new(),
        actor: String::new(),
        weight: 1.0,
        comment: String::new(),
        may_correct: false,
    }
}

/// Samples about a prediction, with all fields; about inputs, without optional fields.
pub(super) fn feedback_by_subject() -> Vec<Sample> {
    let prediction = |id| Subject::Prediction(PredictionId(id));
    let all = Feedback {
        source: "web".into(),
        event_time: Some(Time(-1)),
        tags: BTreeMap::from([("a".into(), "1".into()), ("b".into(), String::new())]),
        actor: "ops".into(),
        ..bare("f", prediction(0x1122), Signal::Label("yes".into()))
    };
    let inputs = Subject::Inputs {
        batch: Batch {
            n_rows: 1,
            columns: vec![Column::Numbers(vec![1.0])],
        },
        decision: Some(Decision {
            action: "left".into(),
            propensity: 0.5,
        }),
    };
    let dwell = Signal::Named {
        name: "dwell".into(),
        value: 2.0,
    };
    let preferred = Signal::PreferredOver(PredictionId(0x1122));
    vec![
        (
            Event::Feedback(all),
            "01000000 66 01 22110000000000000000000000000000 01 03000000 796573 \
             03000000 776562 01 ffffffffffffffff \
             02000000 01000000 61 01000000 31 01000000 62 00000000 03000000 6f7073",
        ),
        (
            Event::Feedback(bare("g", inputs, dwell)),
            "01000000 67 02 01000000 01000000 01 01000000 000000000000f03f \
             01 04000000 6c656674 000000000000e03f \
             04 05000000 6477656c6c 0000000000000040 \
             00000000 00 00000000 00000000",
        ),
        (
            Event::Feedback(bare("h", prediction(1), preferred)),
            "01000000 68 01 01000000000000000000000000000000 \
             05 22110000000000000000000000000000 00000000 00 00000000 00000000",
        ),
    ]
}

/// Feedback with a weight and a comment, and of a sender who may correct others.
pub(super) fn weighted() -> Vec<Sample> {
    let subject = || Subject::Prediction(PredictionId(1));
    let weighted = Feedback {
        weight: 0.5,
        comment: "é".into(),
        ..bare("w", subject(), Signal::Value(2.0))
    };
    let corrected = Feedback {
        may_correct: true,
        ..bare("w", subject(), Signal::Value(2.0))
    };
    vec![
        (
            Event::Feedback(weighted),
            "01000000 77 01 01000000000000000000000000000000 02 0000000000000040 \
             00000000 00 00000000 00000000 000000000000e03f 02000000 c3a9",
        ),
        (
            Event::Feedback(corrected),
            "01000000 77 01 01000000000000000000000000000000 02 0000000000000040 \
             00000000 00 00000000 00000000 000000000000f03f 00000000",
        ),
    ]
}
