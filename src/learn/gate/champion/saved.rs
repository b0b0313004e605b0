//! The gate in a checkpoint.
//!
//! Invariant: a gate that was saved goes on as one that never was.

use super::{Constancy, FrozenState, Gate};
use crate::learn::gate::anchor_slices::AnchorSlices;
use crate::learn::gate::blame::{Blame, RecentErrors};
use crate::learn::gate::differences::Differences;
use crate::learn::gate::evidence::Veto;
use crate::learn::gate::incident::Incidents;
use crate::learn::gate::losses::LossScale;
use crate::learn::records::saved::{put_texts, take_texts};
use crate::model::Spec;
use crate::model::weights::{Error, Tensors};

impl Gate {
    pub(crate) fn save(&self, tensors: &mut Tensors) {
        let mut all = Tensors::default();
        self.champion.save("champion", &mut all);
        if let Some(contender) = &self.contender {
            contender.save("contender", &mut all);
        }
        self.promotion.save("promotion", &mut all);
        self.decline.save("decline", &mut all);
        self.scale.save(&mut all);
        let numbers = vec![
            self.n_contenders,
            self.n_declines,
            self.n_labels,
            self.taken_at,
            self.rewound_at.map_or(0, |at| at + 1),
            u64::from(self.is_frozen),
            self.watched_until,
            self.n_retrainings,
            self.looked_at,
            self.silences[0] as u64,
            self.silences[1] as u64,
            self.rests_until,
        ];
        all.put_u64("numbers", &[numbers.len()], numbers);
        let mut frozen_by = Tensors::default();
        put_texts(&mut frozen_by, self.frozen_by.iter().map(String::as_str));
        all.nest("frozen_by", frozen_by);
        self.blame.save("blame", &mut all);
        self.contender_blame.save("contender_blame", &mut all);
        self.errors.save("errors", &mut all);
        self.constancy.save(&mut all);
        if let Some(veto) = &self.veto {
            save_veto(veto, &mut all);
        }
        self.anchor_slices.save(&mut all);
        self.incidents.save(&mut all);
        tensors.nest("gate", all);
    }

    /// The saved gate; none where nothing was saved.
    pub(crate) fn load(spec: &Spec, tensors: &mut Tensors) -> Result<Option<Gate>, Error> {
        let mut all = tensors.unnest("gate");
        let Some(champion) = FrozenState::load("champion", spec, &mut all)? else {
            return Ok(None);
        };
        let numbers = all.take_u64("numbers", &[None])?;
        let (numbers, later) = numbers
            .split_at_checked(6)
            .ok_or_else(|| Error::value("numbers", "fewer than a gate has"))?;
        let frozen_by = take_texts(&mut all.unnest("frozen_by"))?;
        let two = |_| Error::value("frozen_by", "not a person and a reason");
        Ok(Some(Gate {
            champion,
            contender: FrozenState::load("contender", spec, &mut all)?,
            n_contenders: numbers[0],
            promotion: Differences::load("promotion", &mut all)?,
            decline: Differences::load("decline", &mut all)?,
            scale: LossScale::load(&mut all)?,
            n_declines: numbers[1],
            n_labels: numbers[2],
            taken_at: numbers[3],
            rewound_at: numbers[4].checked_sub(1),
            is_frozen: numbers[5] == 1,
            frozen_by: frozen_by.try_into().map_err(two)?,
            blame: Blame::load("blame", &mut all)?,
            contender_blame: Blame::load("contender_blame", &mut all)?,
            errors: RecentErrors::load("errors", &mut all)?,
            constancy: Constancy::load(&mut all)?,
            watched_until: later.first().copied().unwrap_or(0),
            n_retrainings: later.get(1).copied().unwrap_or(0),
            looked_at: later.get(2).copied().unwrap_or(0),
            silences: [3, 4].map(|place| later.get(place).copied().unwrap_or(0) as i64),
            rests_until: later.get(5).copied().unwrap_or(0),
            has_drifted: false,
            veto: load_veto(&mut all)?,
            anchor_slices: AnchorSlices::load(&mut all)?,
            incidents: Incidents::load(&mut all)?,
        }))
    }
}

fn save_veto(veto: &Veto, tensors: &mut Tensors) {
    let numbers = vec![veto.version, veto.anchors, veto.right[0], veto.right[1]];
    let mut saved = Tensors::default();
    saved.put_u64("numbers", &[4], numbers);
    put_texts(&mut saved, [&veto.class[..], &veto.slice].into_iter());
    tensors.nest("veto", saved);
}

fn load_veto(tensors: &mut Tensors) -> Result<Option<Veto>, Error> {
    let mut saved = tensors.unnest("veto");
    if saved.0.is_empty() {
        return Ok(None);
    }
    let numbers = saved.take_u64("numbers", &[Some(4)])?;
    let two = |_| Error::value("veto", "not a class and a slice");
    let [class, slice] = take_texts(&mut saved)?.try_into().map_err(two)?;
    Ok(Some(Veto {
        version: numbers[0],
        class,
        slice,
        anchors: numbers[1],
        right: [numbers[2], numbers[3]],
    }))
}
