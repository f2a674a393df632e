//! What rendering costs, and that it grows with the number of instances and nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use midship::extension::{Asked, Package, PackageFiles, Surroundings, cases};
use midship::names::{InstanceName, NamespaceName};
use serde_json::json;

use crate::harness::files_below;

fn shipped(path: &str) -> Package {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions").join(path);
    Package::load(PackageFiles::new(files_below(&root)).expect("plain files"))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// Resolves and renders so many instances, each of a name of its own.
fn render(package: &Package, topology: &str, number: usize) -> Duration {
    let namespace = NamespaceName::parse("shop").expect("a name");
    let manifest = &package.manifest;
    let spec = json!({ "type": manifest.type_, "extensionVersion": manifest.version, "version": manifest.versions[0].version,
        "topology": topology });
    let spec = serde_json::from_value(spec).expect("a spec");
    let begun = Instant::now();
    for count in 0..number {
        let name = InstanceName::parse(&format!("instance-{count}")).expect("a name");
        let asked = Asked { name: &name, namespace: &namespace, spec: &spec };
        cases::preview(package, asked, &Surroundings::default()).unwrap_or_else(|refusals| panic!("{refusals}"));
    }
    begun.elapsed()
}

#[test]
fn rendering_grows_with_the_number_of_instances() {
    for (path, topologies) in [
        ("redis/1.1.0", &["replication", "cluster"][..]),
        ("postgresql/1.1.0", &["replication"]),
        ("memcached/1.0.0", &["standalone"]),
    ] {
        let package = shipped(path);
        for topology in topologies {
            render(&package, topology, 10);
            // the quicker of three: whatever else runs here only slows it down
            let few = (0..3).map(|_| render(&package, topology, 100)).min().expect("three");
            let many = (0..3).map(|_| render(&package, topology, 1000)).min().expect("three");
            let ratio = many.as_secs_f64() / few.as_secs_f64();
            println!(
                "{path} {topology}: {:.2} ms each of 100, {:.2} s for 1000 (x{ratio:.1} for ten times as many)",
                few.as_secs_f64() * 10.0,
                many.as_secs_f64()
            );
            assert!(ratio < 20.0, "a thousand instances take {ratio:.1} times as long as a hundred");
        }
    }
}

/// What rendering an instance, and a thousand of them, may take.
const ONE: Duration = Duration::from_millis(5);
const THOUSAND: Duration = Duration::from_secs(2);

#[test]
fn bench_rendering_an_instance_and_a_thousand() {
    for (path, topology) in [("redis/1.1.0", "replication"), ("postgresql/1.1.0", "replication")] {
        let package = shipped(path);
        for (number, target) in [(1, ONE), (1000, THOUSAND)] {
            let took = (0..3).map(|_| render(&package, topology, number)).min().expect("three");
            let ratio = took.as_secs_f64() / target.as_secs_f64();
            println!("{path} {topology}: {number} rendered in {took:.2?}, {ratio:.2} × the target");
        }
    }
}
