//! Listing a folder as a store does: keys in the order of their bytes, a page at a time.

use std::fs;
use std::io;
use std::path::Path;

use super::modified;
use crate::backup::store::{Key, List, ObjectInfo, Page};

const PAGE: usize = 1000;

pub fn page(root: &Path, list: &List) -> io::Result<Page> {
    let mut walk = Walk { list, limit: list.limit.unwrap_or(PAGE).max(1), page: Page::default(), last: String::new() };
    // begin where the prefix is, not at the root
    let inside = list.prefix.rfind('/').map_or("", |end| &list.prefix[..=end]);
    match walk.folder(&root.join(inside), inside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::NotADirectory => {
            return Err(error);
        }
        _ => {}
    }
    Ok(walk.page)
}

struct Walk<'a> {
    list: &'a List,
    limit: usize,
    page: Page,
    last: String,
}

impl Walk<'_> {
    /// Whether the page is full.
    fn full(&mut self) -> bool {
        if self.page.objects.len() + self.page.folders.len() < self.limit {
            return false;
        }
        self.page.next = Some(self.last.clone());
        true
    }

    /// Returns whether there is room for more.
    fn folder(&mut self, folder: &Path, prefix: &str) -> io::Result<bool> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            // a folder sorts as its keys do: with the slash that follows its name
            names.push(if entry.file_type()?.is_dir() { name + "/" } else { name });
        }
        names.sort_unstable();
        for name in names {
            let path = folder.join(name.trim_end_matches('/'));
            let key = format!("{prefix}{name}");
            let more = if name.ends_with('/') { self.inner(&path, key)? } else { self.object(&path, key)? };
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn inner(&mut self, path: &Path, key: String) -> io::Result<bool> {
        let wanted = key.starts_with(&self.list.prefix);
        if !wanted && !self.list.prefix.starts_with(&key) {
            return Ok(true);
        }
        let after = self.list.after.as_deref().unwrap_or_default();
        if wanted && self.list.folders {
            if key.as_str() <= after {
                return Ok(true);
            }
            if self.full() {
                return Ok(false);
            }
            let name = key[self.list.prefix.len()..].trim_end_matches('/').to_owned();
            self.page.folders.push(name);
            self.last = key;
            return Ok(true);
        }
        if after > key.as_str() && !after.starts_with(&key) {
            return Ok(true);
        }
        match self.folder(path, &key) {
            // emptied and removed meanwhile
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            done => done,
        }
    }

    fn object(&mut self, path: &Path, key: String) -> io::Result<bool> {
        let after = self.list.after.as_deref().unwrap_or_default();
        if !key.starts_with(&self.list.prefix) || key.as_str() <= after {
            return Ok(true);
        }
        // what is no key was not put there by us
        let Ok(parsed) = Key::parse(&key) else { return Ok(true) };
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        if self.full() {
            return Ok(false);
        }
        self.page.objects.push(ObjectInfo { key: parsed, size: found.len(), modified: modified(&found)? });
        self.last = key;
        Ok(true)
    }
}
