//! A capped table with generations: an id of a freed slot never meets its next tenant.

/// Slots that are made at once: no more, as memory that is new costs time (see [`crate::units::OwnMap`]).
const BLOCK: usize = 256;

#[derive(Debug)]
pub(super) struct Slab<T> {
    blocks: Vec<Vec<Slot<T>>>,
    free: Vec<u32>,
    used: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// In a box, so that a table that was full once is small again.
    value: Option<Box<T>>,
}

impl<T> Slab<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { blocks: Vec::new(), free: Vec::new(), used: 0, capacity }
    }

    /// None: full.
    pub(super) fn insert(&mut self, value: T) -> Option<(u32, u32)> {
        if self.used >= self.capacity {
            return None;
        }
        let number = match self.free.pop() {
            Some(number) => number,
            // Whatever is not free is used.
            None => self.add(self.used)?,
        };
        let slot = self.slot_mut(number)?;
        slot.value = Some(Box::new(value));
        let generation = slot.generation;
        self.used += 1;
        Some((number, generation))
    }

    fn add(&mut self, place: usize) -> Option<u32> {
        if place.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        self.blocks.last_mut()?.push(Slot { generation: 0, value: None });
        u32::try_from(place).ok()
    }

    pub(super) fn get(&self, number: u32, generation: u32) -> Option<&T> {
        let slot = self.blocks.get(number as usize / BLOCK)?.get(number as usize % BLOCK)?;
        slot.value.as_deref().filter(|_| slot.generation == generation)
    }

    /// All there are, by number and generation.
    pub(super) fn iter(&self) -> impl Iterator<Item = ((u32, u32), &T)> {
        let slots = (0_u32..).zip(self.blocks.iter().flatten());
        slots.filter_map(|(number, slot)| Some(((number, slot.generation), slot.value.as_deref()?)))
    }

    pub(super) fn get_mut(&mut self, number: u32, generation: u32) -> Option<&mut T> {
        self.slot_mut(number).filter(|slot| slot.generation == generation)?.value.as_deref_mut()
    }

    pub(super) fn remove(&mut self, number: u32, generation: u32) -> Option<T> {
        let slot = self.slot_mut(number).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(number);
        self.used -= 1;
        Some(*value)
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot<T>> {
        self.blocks.get_mut(number as usize / BLOCK)?.get_mut(number as usize % BLOCK)
    }

    /// How many it takes in all.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many more it takes.
    pub(super) fn room(&self) -> usize {
        self.capacity - self.used
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_as_many_as_it_may_and_forgets_what_has_left() {
        let capacity = 2 * BLOCK + 1;
        let mut slab = Slab::new(capacity);
        let ids: Vec<_> = (0..capacity).map(|value| slab.insert(value).unwrap()).collect();
        assert_eq!((slab.insert(0), slab.len(), slab.room()), (None, capacity, 0));
        for (value, &(number, generation)) in ids.iter().enumerate() {
            assert_eq!(slab.get(number, generation), Some(&value));
        }
        for &(number, generation) in &ids[1..BLOCK + 2] {
            assert!(slab.remove(number, generation).is_some());
            assert!(slab.remove(number, generation).is_none());
        }

        let again: Vec<_> = (0..=BLOCK).map(|value| slab.insert(value).unwrap()).collect();

        assert_eq!(slab.insert(0), None);
        assert_eq!(slab.iter().count(), capacity);
        assert!(slab.iter().all(|((number, generation), value)| slab.get(number, generation) == Some(value)));
        assert!(ids[1..BLOCK + 2].iter().all(|&(number, generation)| slab.get(number, generation).is_none()));
        assert!(
            again.iter().enumerate().all(|(value, &(number, generation))| slab.get(number, generation) == Some(&value))
        );
        assert_eq!(slab.get(ids[0].0, ids[0].1), Some(&0));
    }
}
