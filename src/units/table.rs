//! Tables by names that we give ourselves.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::RandomState;

/// Parts of a table.
const PARTS: usize = 64;

/// A table whose keys nobody outside can choose: a quick hash will do. It is seeded all the same. What a peer chooses
/// (a Call-ID, an address) belongs into a [`HashMap`] with the standard one.
///
/// It grows a part at a time. One of 14,000 entries that doubles at once copies them into memory that the machine has
/// to find and clear first, 10 to 30 ms on a busy one, and every packet waits.
#[derive(Debug)]
pub struct OwnMap<K, V> {
    hasher: RandomState,
    parts: Box<[HashMap<K, V, RandomState>; PARTS]>,
}

impl<K, V> Default for OwnMap<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), parts: Box::new(std::array::from_fn(|_| HashMap::default())) }
    }
}

impl<K: Eq + Hash, V> OwnMap<K, V> {
    /// What is kept under this key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.parts[self.part(key)].get(key)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let part = self.part(key);
        self.parts[part].get_mut(key)
    }

    /// Is there something under this key?
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Keeps it, in place of what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let part = self.part(&key);
        self.parts[part].insert(key, value)
    }

    /// Takes out what is there.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let part = self.part(key);
        self.parts[part].remove(key)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(HashMap::len).sum()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(HashMap::is_empty)
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.parts.iter().flat_map(HashMap::keys)
    }

    /// All that is kept, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.parts.iter().flat_map(HashMap::values)
    }

    /// Takes out those that are `wanted`.
    pub fn extract(&mut self, wanted: impl Fn(&V) -> bool) -> Vec<(K, V)> {
        self.parts.iter_mut().flat_map(|part| part.extract_if(|_, value| wanted(value))).collect()
    }

    fn part(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_as_one_map_does() {
        let (mut ours, mut one) = (OwnMap::default(), HashMap::new());
        assert!(ours.is_empty());
        for number in 0_u64..5_000 {
            assert_eq!(ours.insert(number % 3_000, number), one.insert(number % 3_000, number));
            assert_eq!(ours.remove(&(number / 2)), one.remove(&(number / 2)));
        }

        assert_eq!(ours.len(), one.len());
        assert_eq!(ours.keys().filter(|key| one.contains_key(key)).count(), one.len());
        assert_eq!(ours.values().sum::<u64>(), one.values().sum::<u64>());
        assert!(
            (0..5_000).all(|key| ours.get(&key) == one.get(&key) && ours.contains_key(&key) == one.contains_key(&key))
        );
        let odd = ours.extract(|value| value % 2 == 1);
        assert!(!odd.is_empty() && odd.iter().all(|(key, value)| one.remove(key) == Some(*value)));
        assert_eq!(ours.len(), one.len());
        *ours.get_mut(&2_998).unwrap() = 0;
        assert_eq!(ours.get(&2_998), Some(&0));
    }

    /// The point of it: no part holds more than a few of what all hold together.
    #[test]
    fn spreads_over_its_parts() {
        let mut table = OwnMap::default();
        for number in 0_u64..64_000 {
            table.insert((number << 24, 7_u32), ());
        }
        let largest = table.parts.iter().map(HashMap::len).max();
        assert!(largest < Some(1_200), "{largest:?}");
    }
}
