//! Only numbers are multiplied: elsewhere a text or a list would be repeated as often as somebody likes, and all at once in
//! memory. The language has no say in what `*` does, so it is written as the filter [`times`] before a template is compiled.

use std::borrow::Cow;

use minijinja::{Error, ErrorKind, Value};

use super::growth::{after_quote, spans};

/// Words that end what could be multiplied.
const WORDS: [&str; 14] =
    ["and", "or", "not", "in", "if", "else", "elif", "for", "set", "with", "include", "recursive", "filter", "do"];

/// `a * b`, for numbers.
pub fn times(a: &Value, b: &Value) -> Result<Value, Error> {
    let wrong = |reason: &str| Error::new(ErrorKind::InvalidOperation, reason.to_owned());
    if a.is_undefined() || b.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "in a product"));
    }
    if !a.is_number() || !b.is_number() {
        return Err(wrong("only numbers can be multiplied; to repeat something, use a loop over range()"));
    }
    if let (true, true) = (a.is_integer(), b.is_integer()) {
        let product = i128::try_from(a.clone()).ok().zip(i128::try_from(b.clone()).ok());
        let product = product.and_then(|(a, b)| a.checked_mul(b)).ok_or_else(|| wrong("the product is too large"))?;
        return Ok(i64::try_from(product).map_or_else(|_| Value::from(product), Value::from));
    }
    Ok(Value::from(f64::try_from(a.clone())? * f64::try_from(b.clone())?))
}

/// A template with every `*` within its tags as a filter.
pub fn template(source: &str) -> Cow<'_, str> {
    if !source.contains('*') {
        return Cow::Borrowed(source);
    }
    let (mut out, mut at) = (String::with_capacity(source.len() + 64), 0);
    for (_, inner) in spans(source) {
        out.push_str(&source[at..inner.start]);
        at = inner.end;
        out.push_str(&expression(&source[inner]));
    }
    out.push_str(&source[at..]);
    Cow::Owned(out)
}

/// What stands between two brackets, as far as it was read.
struct Term {
    /// Where what could be multiplied begins.
    start: usize,
    /// Whether the filter waits for the end of its argument.
    open: bool,
    /// Whether there is anything to be multiplied.
    some: bool,
}

/// An expression with every `*` as a filter.
pub fn expression(source: &str) -> Cow<'_, str> {
    if !source.contains('*') {
        return Cow::Borrowed(source);
    }
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len() + 32);
    let mut terms = vec![Term { start: 0, open: false, some: false }];
    let mut at = 0;
    while at < bytes.len() {
        let Some(term) = terms.last_mut() else { break };
        let end = match bytes[at] {
            quote @ (b'"' | b'\'') => {
                term.some = true;
                after_quote(bytes, at + 1, quote)
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let word = |byte: &u8| !(byte.is_ascii_alphanumeric() || *byte == b'_');
                let end = bytes[at..].iter().position(word).map_or(bytes.len(), |length| at + length);
                let is_attribute = source[..at].trim_end().ends_with('.');
                if WORDS.contains(&&source[at..end]) && !is_attribute {
                    term.close(&mut out);
                    out.push_str(&source[at..end]);
                    *term = Term { start: out.len(), open: false, some: false };
                    at = end;
                    continue;
                }
                term.some = true;
                end
            }
            b'(' | b'[' | b'{' => {
                term.some = true;
                out.push(char::from(bytes[at]));
                terms.push(Term { start: out.len(), open: false, some: false });
                at += 1;
                continue;
            }
            b')' | b']' | b'}' => {
                term.close(&mut out);
                if terms.len() > 1 {
                    terms.pop();
                }
                at + 1
            }
            // a power belongs to what is multiplied
            b'*' if bytes.get(at + 1) == Some(&b'*') => at + 2,
            // a list that is spread out as arguments; all else is multiplied, also what is called as a word of the language
            b'*' if matches!(out.trim_end().bytes().next_back(), None | Some(b'(' | b',')) => at + 1,
            b'*' => {
                term.close(&mut out);
                out.insert(term.start, '(');
                out.push_str(")|times(");
                (term.open, term.some) = (true, false);
                at += 1;
                continue;
            }
            b'/' | b'%' => {
                term.close(&mut out);
                at + 1
            }
            // the sign of what is multiplied
            b'-' | b'+' if term.open && !term.some => at + 1,
            b'+' | b'-' | b'~' | b',' | b':' | b'=' | b'!' | b'<' | b'>' => {
                term.close(&mut out);
                out.push(char::from(bytes[at]));
                *term = Term { start: out.len(), open: false, some: false };
                at += 1;
                continue;
            }
            _ => at + source[at..].chars().next().map_or(1, char::len_utf8),
        };
        out.push_str(&source[at..end]);
        at = end;
    }
    for term in terms.iter_mut().rev() {
        term.close(&mut out);
    }
    Cow::Owned(out)
}

impl Term {
    fn close(&mut self, out: &mut String) {
        if std::mem::take(&mut self.open) {
            out.push(')');
            self.some = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_written_as_a_filter_wherever_it_stands() {
        for (source, expected) in [
            ("a", "a"),
            ("a * b", "(a )|times( b)"),
            ("a + b * c + d", "a +( b )|times( c )+ d"),
            ("a * b * c", "((a )|times( b ))|times( c)"),
            ("a / b * c", "(a / b )|times( c)"),
            ("a * -b", "(a )|times( -b)"),
            ("a ** 2 * 3", "(a ** 2 )|times( 3)"),
            ("(a * 0.5) | int", "((a )|times( 0.5)) | int"),
            ("a | default(3) * 2", "(a | default(3) )|times( 2)"),
            ("params['x*y'] * f(a * 2, '*')", "(params['x*y'] )|times( f((a )|times( 2), '*'))"),
            ("2 * a if b * 2 > c else [d * 2]", "(2 )|times( a )if( b )|times( 2 )> c else [(d )|times( 2)]"),
            ("f(*all)", "f(*all)"),
            ("do * 2", "do( )|times( 2)"),
            ("a.if * 2", "(a.if )|times( 2)"),
        ] {
            assert_eq!(expression(source), expected, "{source}");
        }
        let source = "* {{ a * 2 }} * {# b * 2 #} {% raw %}{{ c * 2 }}{% endraw %}{% set d = 2 * e -%} '*'";
        let expected =
            "* {{( a )|times( 2 )}} * {# b * 2 #} {% raw %}{{ c * 2 }}{% endraw %}{% set d =( 2 )|times( e )-%} '*'";
        assert_eq!(template(source), expected);
    }
}
