//! A package's files, wherever they came from: a map from path to bytes with one digest.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// The file that makes a directory a package.
pub const MANIFEST: &str = "extension.yaml";

/// Whether a file is a template rather than taken as it is.
pub fn is_template(path: &str) -> bool {
    path.rsplit('.').next() == Some("j2")
}

/// Files of a package, by path.
///
/// A directory, a Git tree, ConfigMaps and an OCI artifact that hold the same files give equal values and so the same
/// [`digest`](Self::digest).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageFiles(BTreeMap<String, Vec<u8>>);

impl PackageFiles {
    /// Most files a package may have.
    pub const MAX_FILES: usize = 512;
    /// Most bytes of one file. A ConfigMap has to be able to hold it.
    pub const MAX_FILE: usize = 512 * 1024;
    /// Most bytes of all files together.
    pub const MAX_TOTAL: usize = 4 * 1024 * 1024;

    /// Checks names and sizes before anything is read from the files.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut kept = BTreeMap::new();
        let mut total = 0usize;
        for (path, bytes) in files {
            if let Some(reason) = bad_path(&path) {
                problems.push(Problem::in_file(path.escape_default().to_string(), reason));
                continue;
            }
            if bytes.len() > Self::MAX_FILE {
                let reason = format!("has {} bytes, at most {} are allowed", bytes.len(), Self::MAX_FILE);
                problems.push(Problem::in_file(&path, reason));
                continue;
            }
            total += bytes.len();
            if kept.insert(path.clone(), bytes).is_some() {
                problems.push(Problem::in_file(path, "is there twice"));
            }
        }
        if total > Self::MAX_TOTAL {
            let reason = format!("the package has {total} bytes in all, at most {} are allowed", Self::MAX_TOTAL);
            problems.push(Problem::in_file(MANIFEST, reason));
        }
        if kept.len() > Self::MAX_FILES {
            let reason = format!("the package has {} files, at most {} are allowed", kept.len(), Self::MAX_FILES);
            problems.push(Problem::in_file(MANIFEST, reason));
        }
        if problems.is_empty() { Ok(Self(kept)) } else { Err(problems) }
    }

    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(Vec::as_slice)
    }

    /// A file as text.
    pub fn text(&self, path: &str) -> Result<&str, Problem> {
        let bytes = self
            .get(path)
            .ok_or_else(|| Problem::in_file(path, super::problem::unknown("file", path, self.paths())))?;
        std::str::from_utf8(bytes)
            .map_err(|error| Problem::in_file(path, format!("is no text: byte {} is not UTF-8", error.valid_up_to())))
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// The paths below a folder.
    pub fn below(&self, folder: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{folder}/");
        self.0.keys().map(String::as_str).filter(move |path| path.starts_with(&prefix))
    }

    /// `sha256:` and the hash over each file in the order of the paths' bytes: the path's length as eight bytes, most
    /// significant first, the path, the contents' length likewise, the contents.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, bytes) in &self.0 {
            hash.update((path.len() as u64).to_be_bytes());
            hash.update(path.as_bytes());
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }
}

fn bad_path(path: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if path.is_empty() || path.len() > 200 {
        return Some("a path has 1 to 200 characters");
    }
    if path.split('/').count() > 5 {
        return Some("lies deeper than four folders");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == ".." || !part.bytes().all(plain)) {
        return Some("a path is made of names of letters, digits, '.', '_' and '-', joined by '/'");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Result<PackageFiles, Vec<Problem>> {
        PackageFiles::new(list.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())))
    }

    #[test]
    fn the_digest_depends_on_paths_and_bytes_and_not_on_their_order() {
        let one = files(&[("a", "1"), ("b", "2")]).expect("plain");
        let same = files(&[("b", "2"), ("a", "1")]).expect("plain");
        let shifted = files(&[("a", "1b"), ("c", "2")]).expect("plain");
        assert_eq!(one.digest(), same.digest());
        assert_ne!(one.digest(), shifted.digest());
        assert_eq!(
            files(&[]).expect("empty").digest(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn paths_that_climb_or_hide_are_refused() {
        for path in ["../a", "/a", "a//b", "a/./b", "", "a\nb", "a b", "a/b/c/d/e/f"] {
            assert!(files(&[(path, "")]).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_named() {
        let problems = files(&[("big", &"x".repeat(PackageFiles::MAX_FILE + 1))]).expect_err("too large");
        assert_eq!(problems[0].to_string(), "big: has 524289 bytes, at most 524288 are allowed");
    }
}
