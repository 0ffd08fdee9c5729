//! The hosts behind a trunk's name, in the order in which a call tries them (RFC 2782, RFC 3263 §4.2).

use super::Dice;
use crate::sip::flow::Hop;

/// One host of a trunk.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// Lower ones first.
    pub priority: u16,
    /// Share among those of one priority; 0: hardly ever first.
    pub weight: u16,
    /// Where and how.
    pub hop: Hop,
}

impl Target {
    /// The only one.
    #[must_use]
    pub fn only(hop: Hop) -> Self {
        Self { priority: 0, weight: 0, hop }
    }
}

/// `targets` in the order of one call: by priority, and inside one by lot according to weight (RFC 2782).
#[must_use]
pub fn in_order(targets: &[Target], dice: &mut Dice) -> Vec<Hop> {
    let mut left: Vec<Target> = targets.to_vec();
    // Those of weight 0 first inside a priority, so that a draw of 0 may take them.
    left.sort_by_key(|target| (target.priority, target.weight, target.hop));
    let mut order = Vec::with_capacity(left.len());
    while let Some(priority) = left.first().map(|target| target.priority) {
        let same = left.iter().take_while(|target| target.priority == priority);
        let total: u64 = same.map(|target| u64::from(target.weight)).sum();
        let drawn = dice.below(total + 1);
        let mut sum = 0;
        let chosen = left.iter().position(|target| {
            sum += u64::from(target.weight);
            sum >= drawn
        });
        order.push(left.remove(chosen.unwrap_or(0)).hop);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn target(priority: u16, weight: u16, last: u8) -> Target {
        Target { priority, weight, hop: Hop::udp(SocketAddr::from(([192, 0, 2, last], 5_060))) }
    }

    #[test]
    fn priority_comes_first_and_weight_is_a_share() {
        let targets = [target(20, 0, 9), target(10, 30, 1), target(10, 10, 2), target(10, 0, 3)];
        let mut dice = Dice::new([3; 16]);
        let mut first = [0_u32; 10];
        for _ in 0..4_000 {
            let order = in_order(&targets, &mut dice);
            assert_eq!(order.len(), 4);
            assert_eq!(order[3], targets[0].hop);
            let SocketAddr::V4(address) = order[0].address else { panic!("no such address") };
            first[usize::from(address.ip().octets()[3])] += 1;
        }

        // 30 : 10 : hardly ever. 4000 draws: 3 standard deviations are about 85.
        assert!((2_800..3_100).contains(&first[1]), "{first:?}");
        assert!((850..1_150).contains(&first[2]), "{first:?}");
        assert!((40..200).contains(&first[3]), "{first:?}");
    }
}
