//! Middleware from the test images answers its own client.

use std::time::Instant;

use super::SOON;
use super::images;
use crate::harness::{e2e_test, wait_for};

#[test]
fn a_redis_pod_answers_its_own_client() {
    e2e_test(async |scene| {
        let started = Instant::now();
        let image = images::load("redis-7.0");
        let loaded = started.elapsed();
        let image = format!("--image={image}");
        scene.kubectl(["run", "redis", image.as_str(), "--image-pull-policy=IfNotPresent"]).stdout();
        let answer = wait_for("the server to answer", SOON, async || {
            let output = scene.kubectl(["exec", "redis", "--", "redis-cli", "ping"]).output();
            if output.code == 0 { Ok(output.stdout) } else { Err(output.to_string()) }
        })
        .await;
        assert_eq!(answer.trim(), "PONG");
        let (loaded, all) = (loaded.as_secs_f64(), started.elapsed().as_secs_f64());
        println!("an image on the nodes after {loaded:.1} s, its server answers after {all:.1} s");
    });
}
