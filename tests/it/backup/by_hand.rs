//! A person with a key, access to the bucket and docs/backup-by-hand.md gets the data back: the commands on that page are
//! run as they stand there, with an S3 client and the programs age, zstd and tar, and with nothing of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use midship::backup::clock::Clock;
use midship::backup::keys::{Epoch, Kit, Recipient, SigningKey};
use midship::backup::repository::{Repository, Trust};
use midship::backup::store::S3;
use midship::backup::store::s3::Credentials;
use midship::backup::write::{EndMark, Settings, Writing};

use super::life::{request, source};
use super::servers::Server;

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The commands of a page that stand under this heading.
fn commands(page: &str, heading: &str) -> String {
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).expect("the heading");
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    blocks.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_person_restores_with_an_s3_client_age_zstd_and_tar_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = |name: &str| {
        let path = String::from_utf8(run(Command::new(root.join("tests/tools/tool")).arg(name))).expect("a path");
        PathBuf::from(path.trim())
    };
    let (age, aws) = (tool("age"), tool("aws"));
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);

    // the data, and a key as a person makes it
    fs::create_dir_all(at("data/sub")).expect("made");
    let numbers: Vec<u8> = (0..200_000u32).flat_map(|number| (number ^ number >> 9).to_le_bytes()).collect();
    fs::write(at("data/numbers"), &numbers).expect("written");
    fs::write(at("data/sub/note"), "hello\n").expect("written");
    let archive = run(Command::new("tar").args(["--create", "--file=-", "--directory"]).arg(at("data")).arg("."));
    run(Command::new(age.with_file_name("age-keygen")).arg("--output").arg(at("private-key")));
    let public = run(Command::new(age.with_file_name("age-keygen")).arg("-y").arg(at("private-key")));
    let recipient = Recipient::parse(&String::from_utf8(public).expect("text")).expect("a public key");

    let bucket = Server::start("seaweedfs", false).settings();
    let store = Arc::new(S3::new(&bucket).expect("the settings are fine"));
    let key = SigningKey::generate();
    let made = Repository::create(store, &key, &Trust::Anybody, Timestamp::now()).await.expect("made");
    let epoch = Epoch::begin(&made, &[recipient], &key, Timestamp::now()).await.expect("begun");
    let settings = Settings { chunk: 100_000, ..Settings::default() };
    let mut writing = Writing::begin(&made, &key, Clock::system(), request(&epoch), settings).await.expect("begun");
    writing
        .stream(source("config", b"maxmemory 1gb\nend".to_vec(), EndMark::Ends(b"end".to_vec())))
        .await
        .expect("written");
    writing.stream(source("data", archive, EndMark::Tar)).await.expect("written");
    let committed = writing.commit(None).await.expect("committed");
    fs::write(at("kit"), Kit::of(&made).await.expect("a kit").text(Timestamp::now())).expect("written");

    let of_backup = committed.place.folder();
    let of_backup = of_backup.trim_end_matches('/');
    let page = fs::read_to_string(root.join("docs/backup-by-hand.md")).expect("the page is there");
    let hand_to = |script: &str, work: &str| {
        let folders = [&age, &aws].map(|program| program.parent().expect("a folder").display().to_string());
        let path = format!("{}:/usr/bin:/bin", folders.join(":"));
        let Credentials::Keys { access_key_id, secret_access_key, .. } = &bucket.credentials else {
            panic!("the server has keys");
        };
        let mut bash = Command::new("bash");
        bash.args(["-c", script])
            .current_dir(at(work))
            .env_clear()
            .env("PATH", path)
            .env("HOME", folder.path())
            .env("AWS_ACCESS_KEY_ID", access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", secret_access_key.expose())
            .env("AWS_DEFAULT_REGION", bucket.region.as_deref().unwrap_or_default())
            .env("AWS_ENDPOINT_URL", bucket.endpoint.as_deref().unwrap_or_default())
            .env("STORE", format!("s3://{}/{}", bucket.bucket, bucket.prefix))
            .env("FOLDER", of_backup)
            .env("REPOSITORY", at("repository"))
            .env("KEY", at("private-key"))
            .env("KIT", at("kit"))
            .env("BACKUP", at("repository").join(of_backup))
            .env("STREAM", "data");
        bash.output().expect("bash runs")
    };
    let hand = |script: &str, work: &str| {
        fs::create_dir(at(work)).expect("made");
        let output = hand_to(script, work);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(fs::read(at(work).join("restored/numbers")).expect("restored") == numbers);
        assert_eq!(fs::read_to_string(at(work).join("restored/sub/note")).expect("restored"), "hello\n");
    };
    fs::create_dir(at("copying")).expect("made");
    let copied = hand_to(&format!("set -e\n{}", commands(&page, "Copy it from the bucket")), "copying");
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    assert_eq!(
        String::from_utf8_lossy(&copied.stdout),
        format!("{of_backup}/manifest.json\n"),
        "the backups there are"
    );
    let restore = format!("{}\n{}", commands(&page, "Join the chunks"), commands(&page, "Unpack"));
    hand(&format!("{}\n{restore}", commands(&page, "Open the key")), "work");

    // the slots are lost, the kit is not
    for slot in &epoch.slots {
        fs::remove_file(at("repository").join(format!("keys/{}/{slot}.age", epoch.name))).expect("removed");
    }
    hand(&format!("{}\n{restore}", commands(&page, "When the slots are lost")), "with-the-kit");

    // a chunk in the middle is missing: joining ends there, and what it made does not pass for the whole
    let chunks = at("repository").join(of_backup).join("chunks");
    let mut paths = fs::read_dir(chunks).expect("listed").map(|entry| entry.expect("an entry").path());
    let third = paths.find(|path| path.to_string_lossy().contains("/00000002-")).expect("a third chunk");
    fs::remove_file(third).expect("removed");
    let join = format!("{}\necho went on", commands(&page, "Join the chunks"));
    let output = hand_to(&join, "with-the-kit");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}
