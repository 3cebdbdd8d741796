//! Who is connected with whom at the beginning: a random graph in which every node has about the
//! same number of peers, and every node reaches every other.

use crate::rng::Rng;

/// The pairs of a connected graph over `nodes` nodes of about `degree` peers each: the union of
/// random rings, and half a ring where `degree` is odd. Each pair once, the smaller number first,
/// sorted.
pub(crate) fn connect(rng: &mut Rng, nodes: usize, degree: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::with_capacity(nodes * degree / 2 + nodes);
    for ring in 0..degree.div_ceil(2) {
        let order = shuffled(rng, nodes);
        let half = degree % 2 == 1 && ring + 1 == degree.div_ceil(2) && ring > 0;
        let next = order.iter().cycle().skip(1);
        for (i, (&a, &b)) in order.iter().zip(next).enumerate() {
            if a != b && !(half && i % 2 == 1) {
                pairs.push((a.min(b), a.max(b)));
            }
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The numbers below `count` in random order (Fisher and Yates).
pub(crate) fn shuffled(rng: &mut Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        let j = rng.between(0, i as u64);
        order.swap(i, usize::try_from(j).unwrap_or(0));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_reaches_every_other_and_has_about_as_many_peers() {
        for (nodes, degree) in [(4, 2), (5, 3), (100, 12), (1000, 7)] {
            let pairs = connect(&mut Rng::new(3), nodes, degree);
            let mut group: Vec<usize> = (0..nodes).collect();
            fn find(group: &mut [usize], mut i: usize) -> usize {
                while group[i] != i {
                    group[i] = group[group[i]];
                    i = group[i];
                }
                i
            }
            let mut peers = vec![0; nodes];
            for &(a, b) in &pairs {
                assert!(a < b);
                peers[a] += 1;
                peers[b] += 1;
                let (a, b) = (find(&mut group, a), find(&mut group, b));
                group[a] = b;
            }
            let first = find(&mut group, 0);
            assert!((0..nodes).all(|n| find(&mut group, n) == first));
            assert!(
                peers.iter().all(|&p| p >= 2 && p <= degree + 1),
                "{peers:?}"
            );
        }
    }
}
