//! Chance that can be repeated: the seed is printed, and taken from `MIDSHIP_SEED` where that is set.

use std::time::SystemTime;

pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let given = std::env::var("MIDSHIP_SEED").ok().map(|text| text.parse().expect("MIDSHIP_SEED is a number"));
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        println!("MIDSHIP_SEED={seed}");
        Self(seed | 1)
    }

    /// A number below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
