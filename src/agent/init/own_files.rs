//! The files that PID 1 itself lives from: output there would be read as something else, or end what others reach it by.

use std::fs;
use std::path::{Path, PathBuf};

use super::config::Output;

/// Refuses output that goes to one of these files, with the field and the reason.
pub fn check(output: &Output, own: &[(&str, PathBuf)]) -> Result<(), (String, String)> {
    for (index, file) in output.files.iter().enumerate() {
        if let Some((what, _)) = own.iter().find(|(_, own)| same(&file.path, own)) {
            let message = format!("{} is {what}; output needs a file of its own", file.path.display());
            return Err((format!("output.files[{index}].path"), message));
        }
    }
    Ok(())
}

/// Output is written to no link, so that it goes to another file wherever its name is another one: only where it is not,
/// somebody else's disk is asked, which may not answer.
fn same(output: &Path, own: &Path) -> bool {
    if std::path::absolute(own).is_ok_and(|own| own == output) {
        return true;
    }
    let real = fs::canonicalize(own).ok();
    let named = [Some(own), real.as_deref()].into_iter().flatten().any(|own| own.file_name() == output.file_name());
    named && place(output).is_some_and(|found| place(own).as_ref() == Some(&found) || real.as_ref() == Some(&found))
}

/// Where a file is or would be, if its directory is there.
fn place(path: &Path) -> Option<PathBuf> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(fs::canonicalize(dir).ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_the_same_by_whatever_way_one_gets_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // as the kubelet lays a configuration out
        fs::create_dir(at("..1")).unwrap();
        fs::write(at("..1/process.json"), "{}").unwrap();
        symlink("..1", at("..data")).unwrap();
        symlink("..data/process.json", at("process.json")).unwrap();
        fs::create_dir(at("other")).unwrap();
        symlink("..", at("other/back")).unwrap();
        let own = at("process.json");
        for name in [
            "process.json",
            "./process.json",
            "other/../process.json",
            "other/back/process.json",
            "..data/process.json",
        ] {
            assert!(same(&at(name), &own), "{name}");
        }
        for name in ["process.json.log", "other/process.json", "process", "missing/process.json"] {
            assert!(!same(&at(name), &own), "{name}");
        }
        // one that is not there yet
        assert!(same(&at("other/back/init.state.json"), &at("init.state.json")));
        assert!(same(Path::new("/nowhere/./init.sock"), Path::new("/nowhere/init.sock")));
    }
}
