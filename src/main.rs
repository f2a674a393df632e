//! The `midship` program: controller, command line and (later) console.
fn main() {
    for k in midship::api::Kind::ALL {
        let y = serde_saphyr::to_string(&k.crd()).unwrap();
        eprintln!("{} {}", k.as_str(), y.len());
        println!("---\n{y}");
    }
}
