//! Trees that no work tree could have made: names and kinds of entries that lead elsewhere or hide something.

use super::super::repository::{Repository, instance};

/// One entry, and what is said of it; the path is that in the message.
pub struct Odd {
    pub mode: &'static str,
    pub name: Vec<u8>,
    /// The object; a link where none is given.
    pub object: String,
    pub says: String,
}

pub fn entries(repository: &Repository) -> Vec<Odd> {
    let blob = |text: &str| repository.store("blob", text.as_bytes());
    let file = |name: &[u8], says: &str| Odd {
        mode: "100644",
        name: name.to_vec(),
        object: blob(&instance("odd", "1")),
        says: says.to_owned(),
    };
    let of = |mode, name: &str, object: String, says: &str| Odd {
        mode,
        name: name.as_bytes().to_vec(),
        object,
        says: format!("{name} {says}"),
    };
    let long = "n".repeat(401);
    let mut deep = repository.tree(&[("100644", b"x.yaml", &blob(&instance("deep", "1")))]);
    for _ in 0..20 {
        deep = repository.tree(&[("40000", b"d", &deep)]);
    }
    let bottom = vec!["d"; 20].join("/");
    let large = "# ".repeat(1 << 19) + "#\n";
    vec![
        of("120000", "passwd.yaml", blob("/etc/passwd"), "symlink: is a symbolic link; put the file itself here"),
        of("120000", "loop", blob("."), "symlink: is a symbolic link; put the file itself here"),
        of("160000", "module", repository.head(), "submodule: is a submodule; submodules are not followed"),
        file(b"..", ".. name-unsafe: the name would lead elsewhere"),
        file(b".", ". name-unsafe: the name would lead elsewhere"),
        file(b"a/../../b.yaml", "a/../../b.yaml name-unsafe: the name would lead elsewhere"),
        file(b".git", ".git name-unsafe: `.git` cannot be a name inside a repository"),
        file(b".GiT", ".GiT name-unsafe: `.git` cannot be a name inside a repository"),
        file(b"bad\xff.yaml", "bad\\xff.yaml name-not-utf8: the name is not UTF-8; rename it"),
        file(
            b"bell\x07.yaml",
            "bell\\x07.yaml name-control: the name contains the invisible character U+0007; rename it",
        ),
        file(
            b"line\nbreak.yaml",
            "line\\nbreak.yaml name-control: the name contains the invisible character U+000A; rename it",
        ),
        file(
            "zero\u{200b}width.yaml".as_bytes(),
            "zero\\xe2\\x80\\x8bwidth.yaml name-control: the name contains the invisible character U+200B; rename it",
        ),
        file(
            "right\u{202e}lmay.yaml".as_bytes(),
            "right\\xe2\\x80\\xaelmay.yaml name-control: the name contains the invisible character U+202E; rename it",
        ),
        Odd { mode: "100644", name: b"twice.txt".to_vec(), object: blob("a"), says: String::new() },
        of("100644", "twice.txt", blob("b"), "duplicate-name: is in this folder more than once"),
        of("100644", &long, blob("x"), "path-too-long: the path has 401 bytes, more than 400"),
        Odd {
            mode: "40000",
            name: b"d".to_vec(),
            object: deep,
            says: format!("d/{bottom} too-deep: is more than 20 folders deep"),
        },
        of(
            "100644",
            "large.yaml",
            blob(&large),
            &format!("too-large: has {} bytes, more than 1048576; split it or raise the limit", large.len()),
        ),
    ]
}
