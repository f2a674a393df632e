//! Middleware versions: their order, and which of them a requirement such as `>=7.0, <8` names.

use std::cmp::Ordering;

/// Compares versions part by part: numbers as numbers, the rest as text. 6.2 < 7 < 7.0 < 7.0.1 < 10.
pub fn order(left: &str, right: &str) -> Ordering {
    let mut left_parts = left.split(['.', '-', '_']);
    let mut right_parts = right.split(['.', '-', '_']);
    loop {
        match (left_parts.next(), right_parts.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let ordering = match (a.parse::<u64>(), b.parse::<u64>()) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    _ => a.cmp(b),
                };
                if ordering != Ordering::Equal {
                    return ordering;
                }
            }
        }
    }
}

/// Whether a version fulfils a requirement; an error says why the requirement is none.
pub fn fulfils(version: &str, requirement: &str) -> Result<bool, String> {
    for part in requirement.split(',').map(str::trim) {
        let (operator, bound) = ["<=", ">=", "<", ">", "="]
            .iter()
            .find_map(|operator| part.strip_prefix(operator).map(|bound| (*operator, bound.trim())))
            .ok_or_else(|| format!("\"{part}\" is no requirement; write it like >=7.0, <8"))?;
        if bound.is_empty() {
            return Err(format!("\"{part}\" names no version"));
        }
        // 7.0.5 counts as 7.0 where 7.0 is asked for
        let same_depth: Vec<&str> = version.split('.').take(bound.split('.').count()).collect();
        let ordering = order(&same_depth.join("."), bound);
        let holds = match operator {
            "<=" => ordering != Ordering::Greater,
            ">=" => ordering != Ordering::Less,
            "<" => ordering == Ordering::Less,
            ">" => ordering == Ordering::Greater,
            _ => ordering == Ordering::Equal,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        for (less, more) in [("6.2", "7.0"), ("9", "10"), ("7.0", "7.0.1"), ("7.0.9", "7.0.10"), ("1.9-a", "1.9-b")] {
            assert_eq!(order(less, more), Ordering::Less, "{less} {more}");
        }
        assert_eq!(order("7.0", "7.0"), Ordering::Equal);
    }

    #[test]
    fn a_requirement_bounds_versions_at_its_own_depth() {
        assert_eq!(fulfils("7.0.5", ">=7.0, <8"), Ok(true));
        assert_eq!(fulfils("7.0.5", "=7.0"), Ok(true));
        assert_eq!(fulfils("6.2", ">=7"), Ok(false));
        assert!(fulfils("7", "7.x").is_err());
        assert!(fulfils("7", ">=").is_err());
    }
}
