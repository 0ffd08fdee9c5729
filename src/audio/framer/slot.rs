//! A frame in the making.

use crate::audio::FRAME_SAMPLES;
use crate::audio::g711::Law;

/// A frame in the making. What came as G.711 waits as it came and is decoded when the frame goes out: in half the
/// memory, so that a packet touches three lines of the cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    coded: [u8; FRAME_SAMPLES],
    /// Of `coded`.
    law: Law,
    /// Samples of `coded` that have come; what has not is silent.
    from: u8,
    to: u8,
    /// How many samples have come; those that came twice count twice.
    pub(super) filled: u32,
    /// The whole frame decoded, where it is not one run of samples of one law.
    linear: Option<Box<[i16; FRAME_SAMPLES]>>,
}

/// Samples of a packet that go into one frame.
pub(super) enum Run<'a> {
    Coded(Law, &'a [u8]),
    Linear(&'a [i16]),
}

impl Run<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Coded(_, coded) => coded.len(),
            Self::Linear(linear) => linear.len(),
        }
    }
}

impl Slot {
    pub(super) const EMPTY: Self =
        Self { coded: [0; FRAME_SAMPLES], law: Law::A, from: 0, to: 0, filled: 0, linear: None };

    /// Samples from `offset` on, which end within the frame.
    pub(super) fn put(&mut self, offset: usize, run: &Run<'_>) {
        let end = offset + run.len();
        let (from, to) = (usize::from(self.from), usize::from(self.to));
        let untouched = self.linear.is_none() && from == to;
        self.filled = self.filled.saturating_add(run.len() as u32);
        match run {
            Run::Coded(law, coded) if untouched || self.joins(*law, offset, end) => {
                if let Some(place) = self.coded.get_mut(offset..end) {
                    place.copy_from_slice(coded);
                }
                self.law = *law;
                let (from, to) = if untouched { (offset, end) } else { (from.min(offset), to.max(end)) };
                // A frame's samples are fewer than 256.
                (self.from, self.to) = (from as u8, to as u8);
                return;
            }
            Run::Coded(..) | Run::Linear(_) => {}
        }
        let Some(place) = self.linear().get_mut(offset..end) else { return };
        match run {
            Run::Coded(law, coded) => law.decode_into(coded, place),
            Run::Linear(linear) => place.copy_from_slice(linear),
        }
    }

    /// Do these samples and what is there make one run of one law?
    fn joins(&self, law: Law, offset: usize, end: usize) -> bool {
        self.linear.is_none() && self.law == law && offset <= self.to.into() && end >= self.from.into()
    }

    fn linear(&mut self) -> &mut [i16; FRAME_SAMPLES] {
        if self.linear.is_none() {
            let mut linear = Box::new([0; FRAME_SAMPLES]);
            self.read(&mut linear);
            self.linear = Some(linear);
        }
        self.linear.get_or_insert_with(|| Box::new([0; FRAME_SAMPLES]))
    }

    pub(super) fn read(&self, samples: &mut [i16; FRAME_SAMPLES]) {
        if let Some(linear) = &self.linear {
            *samples = **linear;
            return;
        }
        let range = usize::from(self.from)..usize::from(self.to);
        if range.len() < FRAME_SAMPLES {
            samples.fill(0);
        }
        if let (Some(coded), Some(samples)) = (self.coded.get(range.clone()), samples.get_mut(range)) {
            self.law.decode_into(coded, samples);
        }
    }
}
