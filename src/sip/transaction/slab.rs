//! A capped table with generations: an id of a freed slot never meets its next tenant.

#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
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
        Self { slots: Vec::new(), free: Vec::new(), used: 0, capacity }
    }

    /// None: full.
    pub(super) fn insert(&mut self, value: T) -> Option<(u32, u32)> {
        if self.used >= self.capacity {
            return None;
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.slots.push(Slot { generation: 0, value: None });
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        let slot = self.slots.get_mut(number as usize)?;
        slot.value = Some(Box::new(value));
        self.used += 1;
        Some((number, slot.generation))
    }

    pub(super) fn get(&self, number: u32, generation: u32) -> Option<&T> {
        self.slots.get(number as usize).filter(|slot| slot.generation == generation)?.value.as_deref()
    }

    pub(super) fn get_mut(&mut self, number: u32, generation: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize).filter(|slot| slot.generation == generation)?.value.as_deref_mut()
    }

    pub(super) fn remove(&mut self, number: u32, generation: u32) -> Option<T> {
        let slot = self.slots.get_mut(number as usize).filter(|slot| slot.generation == generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(number);
        self.used -= 1;
        Some(*value)
    }

    /// How many more it takes.
    pub(super) fn room(&self) -> usize {
        self.capacity - self.used
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }
}
