//! Tables by names that we give ourselves.

use std::collections::HashMap;

/// A table whose keys nobody outside can choose: a quick hash will do. It is seeded all the same. What a peer chooses (a
/// Call-ID, an address) belongs into a [`HashMap`] with the standard one.
pub type OwnMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
