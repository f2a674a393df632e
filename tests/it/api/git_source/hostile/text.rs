//! Files whose text is wrong before it says anything.

use super::Case;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("utf16.yaml", b"\xff\xfea\x00:\x00".to_vec(), "1:1 not-utf8: the file is UTF-16; save it as UTF-8"),
        Case::new(
            "latin1.yaml",
            b"a: caf\xe9\n".to_vec(),
            "1:7 not-utf8: the byte 0xe9 is not UTF-8; save the file as UTF-8",
        ),
        Case::new(
            "nul.yaml",
            b"a: b\x00c\n".to_vec(),
            "1:5 control-character: the file contains the control character U+0000; remove it, or write it as an escape in double quotes",
        ),
        Case::new(
            "escape.yaml",
            b"a: \x1b[31mred\n".to_vec(),
            "1:4 control-character: the file contains the control character U+001B; remove it, or write it as an escape in double quotes",
        ),
        Case::new("tab.yaml", b"a:\n\tb: 1\n".to_vec(), "2:2 yaml-syntax: a tab cannot indent YAML; use spaces"),
        Case::new("unclosed.yaml", b"a: [1, 2\n".to_vec(), "1:4 yaml-syntax: unclosed bracket '['"),
        Case::new(
            "quote.yaml",
            b"a: \"open\n".to_vec(),
            "2:1 yaml-syntax: invalid indentation in multiline quoted scalar",
        ),
        Case::new(
            "json.json",
            b"{\"a\": 1,,}\n".to_vec(),
            "1:9 yaml-syntax: unexpected EOF while parsing an implicit flow mapping",
        ),
        Case::new(
            "duplicate-key.yaml",
            b"a: 1\nb: 2\na: 3\n".to_vec(),
            "3:1 duplicate-key: the key `a` is there twice, first in line 1; remove one of them",
        ),
        Case::new(
            "deep-flow.yaml",
            format!("a: {}{}\n", "[".repeat(100), "]".repeat(100)).into_bytes(),
            "1:68 too-deep: more than 64 mappings and lists inside one another",
        ),
        Case::new(
            "deep-block.yaml",
            (0..80).flat_map(|depth| format!("{}a:\n", "  ".repeat(depth)).into_bytes()).collect(),
            "65:129 too-deep: more than 64 mappings and lists inside one another",
        ),
        Case::new(
            "laughs.yaml",
            laughs(),
            "5:26 alias-bomb: anchors and aliases repeat more than a file may contain; write the values out or use fewer aliases",
        ),
        Case::new("no-anchor.yaml", b"a: *nobody\n".to_vec(), "1:4 unknown-anchor: there is no such anchor above"),
        Case::new(
            "self-anchor.yaml",
            b"a: &a [*a]\n".to_vec(),
            "1:8 unknown-anchor: the alias is used inside its own anchor",
        ),
        Case::new(
            "python-tag.yaml",
            b"a: !!python/object:os.system x\n".to_vec(),
            "1:30 unknown-tag: this tag has no meaning here; remove it, or put the value in quotes where it begins with a !",
        ),
        Case::new(
            "own-tag.yaml",
            b"a: !include /etc/passwd\n".to_vec(),
            "1:13 unknown-tag: this tag has no meaning here; remove it, or put the value in quotes where it begins with a !",
        ),
        Case::new(
            "octal.yaml",
            b"a: 0644\n".to_vec(),
            "1:4 bad-number: a number with a leading zero is octal to some programs and decimal to others; write 0o644 for octal, or put it in quotes",
        ),
        Case::new(
            "huge-number.yaml",
            b"a: 99999999999999999999999\n".to_vec(),
            "1:4 bad-number: this number is too large to be kept exactly; put it in quotes if it is text",
        ),
        Case::new(
            "infinity.yaml",
            b"a: .inf\n".to_vec(),
            "1:4 bad-number: infinity and not-a-number cannot be kept in an object; put it in quotes if it is text",
        ),
        Case::new(
            "template.yaml",
            b"a: {{ .Values.x }}\n".to_vec(),
            "1:5 bad-key: a key cannot be a mapping or a list; if this is a template like {{ x }}, put it in quotes; if the file is for another program, name it under ignore in midship.yaml",
        ),
        Case::new("empty-key.yaml", b"\"\": 1\n".to_vec(), "1:1 bad-key: a key is empty"),
        Case::new(
            "merge.yaml",
            b"a:\n  <<: 3\n".to_vec(),
            "2:3 bad-merge: only a mapping, or a list of mappings, can be merged with `<<`",
        ),
        Case::new(
            "many-documents.yaml",
            "---\na: 1\n".repeat(1001).into_bytes(),
            "2001:1 too-many-documents: the file has more than 1000 documents",
        ),
    ]
}

/// Nine letters, each ten of the one before.
fn laughs() -> Vec<u8> {
    let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (before, letter) in ('a'..'h').zip('b'..='h') {
        let ten = vec![format!("*{before}"); 10].join(",");
        text.push_str(&format!("{letter}: &{letter} [{ten}]\n"));
    }
    text.into_bytes()
}
