//! Files that `midship.yaml` leaves out: what commands say of them.

use super::team;
use crate::harness::{Output, midship};

const FILE: &str = "instances/shop/orders.yaml";

fn on(repository: &crate::api::git_source::repository::Repository, args: &[&str]) -> Output {
    midship().args(args).arg(repository.path()).output()
}

#[test]
fn files_of_other_programs_are_left_out_and_named() {
    let repository = team();
    repository.write("charts/app/values.yaml", "replicas: 3\n");
    let output = on(&repository, &["validate"]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.contains("name it under ignore in midship.yaml"), "{output}");
    repository.write("midship.yaml", "# ours\nignore:\n  - charts/\n");
    let output = on(&repository, &["validate"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stderr.contains("note: charts/app/values.yaml is ignored by midship.yaml:3\n"), "{output}");
    let output = on(&repository, &["validate", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(value["ignored"]["charts/app/values.yaml"], "midship.yaml:3", "{output}");
    repository.write("midship.yaml", "ignore:\n  - charts/\n  - ./ci/\n");
    let output = on(&repository, &["validate"]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.contains("midship.yaml:3:5"), "{output}");
}

#[test]
fn an_instance_whose_file_is_left_out_is_shown_as_going_and_why() {
    let repository = team();
    repository.write("midship.yaml", "ignore: [/instances/shop/orders.yaml]\n");
    let output = on(&repository, &["diff"]);
    assert_eq!(output.code, 2, "{output}");
    assert!(output.stdout.contains("delete Instance shop/orders"), "{output}");
    assert!(output.stdout.contains(&format!("{FILE} is ignored by midship.yaml:1")), "{output}");
    let output = midship().arg("render").arg(repository.path().join(FILE)).output();
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stderr.contains(&format!("{FILE} is ignored by midship.yaml:1")), "{output}");
    let output = midship().arg("validate").arg(repository.path().join(FILE)).output();
    assert!(output.stdout.starts_with("all is well: 0 files, 0 objects"), "{output}");
    assert!(output.stderr.contains(&format!("note: {FILE} is ignored by midship.yaml:1")), "{output}");
}
