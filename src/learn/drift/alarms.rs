//! Alarms as tensors, and back.
//!
//! Invariant: none takes no tensor.

use crate::event::{Alarm, Change, WatchedStream};
use crate::model::weights::{Error, Tensors};

/// Saves alarms as `NAME`, `NAME.evidence` and `NAME.inputs`.
pub(crate) fn save_alarms(alarms: &[Alarm], name: &str, tensors: &mut Tensors) {
    if alarms.is_empty() {
        return;
    }
    let row = |alarm: &Alarm| {
        let [watched, change] = [alarm.watched as u64, alarm.change as u64];
        [alarm.position, watched, change, alarm.input.len() as u64]
    };
    let evidence = alarms.iter().map(|alarm| alarm.evidence);
    let inputs: String = alarms.iter().map(|alarm| alarm.input.as_str()).collect();
    tensors.put_u64(
        name,
        &[alarms.len(), 4],
        alarms.iter().flat_map(row).collect(),
    );
    tensors.put_f64(
        format!("{name}.evidence"),
        &[alarms.len()],
        evidence.collect(),
    );
    tensors.put_u8(
        format!("{name}.inputs"),
        &[inputs.len()],
        inputs.into_bytes(),
    );
}

/// The alarms that were saved under a name.
pub(crate) fn load_alarms(name: &str, tensors: &mut Tensors) -> Result<Vec<Alarm>, Error> {
    if !tensors.0.contains_key(name) {
        return Ok(Vec::new());
    }
    let rows = tensors.take_u64(name, &[None, Some(4)])?;
    let evidence = tensors.take_f64(&format!("{name}.evidence"), &[Some(rows.len() / 4)])?;
    let inputs = tensors.take_u8(&format!("{name}.inputs"), &[None])?;
    let wrong = || Error::value(name, "these are no alarms");
    let mut inputs = String::from_utf8(inputs).map_err(|_| wrong())?;
    let alarm = |(row, evidence): (&[u64], f64)| {
        let watched = WatchedStream::ALL
            .into_iter()
            .find(|one| *one as u64 == row[1]);
        let change = Change::ALL.into_iter().find(|one| *one as u64 == row[2]);
        let length = row[3] as usize;
        if !inputs.is_char_boundary(length) {
            return Err(wrong());
        }
        let rest = inputs.split_off(length);
        Ok(Alarm {
            position: row[0],
            watched: watched.ok_or_else(wrong)?,
            change: change.ok_or_else(wrong)?,
            input: std::mem::replace(&mut inputs, rest),
            evidence,
        })
    };
    let alarms = rows.chunks_exact(4).zip(evidence).map(alarm);
    let alarms = alarms.collect::<Result<_, _>>()?;
    if inputs.is_empty() {
        Ok(alarms)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_loaded_as_they_were_saved() {
        let alarm = |position, watched, input: &str| Alarm {
            position,
            watched,
            input: input.to_owned(),
            change: Change::Wider,
            evidence: 1.5e6,
        };
        let alarms = vec![
            alarm(3, WatchedStream::Input, "höhe"),
            alarm(9, WatchedStream::Error, ""),
            alarm(9, WatchedStream::InputWords, "text"),
        ];
        let mut tensors = Tensors::default();
        save_alarms(&alarms, "a", &mut tensors);
        assert_eq!(load_alarms("a", &mut tensors), Ok(alarms));
        assert_eq!(load_alarms("a", &mut tensors), Ok(Vec::new()));
        save_alarms(&[], "a", &mut tensors);
        assert_eq!(tensors, Tensors::default());
        tensors.put_u64("a", &[1, 4], vec![1, 0, 0, 1]);
        tensors.put_f64("a.evidence", &[1], vec![1.0]);
        tensors.put_u8("a.inputs", &[2], "ü".into());
        assert!(load_alarms("a", &mut tensors).is_err());
    }
}
