//! [`SplitMix64`]: what a seed says, at each place that a decision is made.

/// A generator of pseudorandom numbers (splitmix64), which is all that decides: no test depends on time or threads.
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts at a place that all of `numbers` name, in their order.
    pub(super) fn at<const N: usize>(numbers: [u64; N]) -> Self {
        let mut random = Self(0);
        for number in numbers {
            random.0 = random.next() ^ number;
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns true with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a float holds.
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }

    /// Returns a number below `end`, which is taken for 1 if it is 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            items.swap(end - 1, self.below(end as u64) as usize);
        }
    }
}
