//! For tests alone: how those that draw their cases by chance draw them, the same ones in each run.

use proptest::test_runner::{Config, RngSeed};

/// As many cases as is usual.
pub fn fixed() -> Config {
    Config { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
}

/// So many cases, where one takes long or the usual number shows little.
pub fn cases(cases: u32) -> Config {
    Config { cases, ..fixed() }
}
